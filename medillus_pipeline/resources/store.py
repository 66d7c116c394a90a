"""The three zones as a Dagster resource. Which asset may open which: see the README's table of zones."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from medillus_pipeline.dicom.pseudonyms import Pseudonymiser
from medillus_pipeline.settings import Settings, load_pseudonymiser
from medillus_pipeline.tables import TableStore
from medillus_pipeline.zones import Zone


class StoreResource(dg.ConfigurableResource):
    """Where the zones are, where the secrets lie, and which gates hold here."""

    landing_url: str = Field(description="Restricted zone where deliveries and annotation batches arrive.")
    vault_url: str = Field(description="Restricted zone of the ledger and the mappings.")
    clean_url: str = Field(description="Pseudonymous zone of tables and payloads.")
    key_file: str = Field(description="File with the pseudonym key.")
    split_salt_file: str = Field(description="File with the split salt.")
    cache: str = Field(description="Local folder for copies of remote payloads.")
    work: str = Field(description="Local scratch of long steps.")
    profile: str = Field(description="Gates that models are held against: demo, research or clinical-education.")

    @classmethod
    def of(cls, settings: Settings) -> "StoreResource":
        """The resource that these settings describe."""
        return cls(
            landing_url=settings.landing_url,
            vault_url=settings.vault_url,
            clean_url=settings.clean_url,
            key_file=str(settings.key_file),
            split_salt_file=str(settings.split_salt_file),
            cache=str(settings.cache),
            work=str(settings.work),
            profile=settings.profile,
        )

    @property
    def landing(self) -> Zone:
        """Restricted: arrivals."""
        return Zone(self.landing_url)

    @property
    def vault(self) -> Zone:
        """Restricted: ledger and mappings."""
        return Zone(self.vault_url)

    @property
    def clean(self) -> Zone:
        """Pseudonymous: everything else."""
        return Zone(self.clean_url, cache=self.cache)

    @property
    def tables(self) -> TableStore:
        """The clean zone's tables."""
        return TableStore(self.clean)

    def pseudonymiser(self) -> Pseudonymiser:
        """The installation's pseudonymiser, for the readers of restricted zones."""
        return load_pseudonymiser(Path(self.key_file), Path(self.split_salt_file), self.vault)
