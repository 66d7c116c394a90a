"""The three zones as a Dagster resource. Which asset may open which: see the README's table of zones."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr

from medillus_pipeline import access_log
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.settings import (
    Settings,
    key_from_environment,
    load_policy,
    load_pseudonymiser,
    load_reidentification_tables,
    load_signing_key,
)
from medillus_pipeline.tables import TableStore
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    from medillus_pipeline.annotation.vocabulary import Vocabulary
    from medillus_pipeline.deidentification.policy import Policy
    from medillus_pipeline.deidentification.reidentification import ReidentificationTables
    from medillus_pipeline.illustration.signing import SigningKey
    from medillus_pipeline.review.roster import Roster


class StoreResource(dg.ConfigurableResource):
    """Where the zones are, where the secrets lie, and which gates hold here."""

    landing_url: str = Field(description="Restricted zone where deliveries and annotation batches arrive.")
    vault_url: str = Field(description="Restricted zone of the ledger and the mappings.")
    clean_url: str = Field(description="Pseudonymous zone of tables and payloads.")
    key_file: str = Field(description="File with the pseudonym key.")
    split_salt_file: str = Field(description="File with the split salt.")
    signing_key_file: str = Field(default="", description="File with the key that figures are signed with.")
    deidentification: str = Field(default="", description="TOML file of de-identification choices; empty: defaults.")
    reidentification_key_file: str = Field(
        default="", description="File with the key of the re-identification tables; empty: none are written."
    )
    vocabulary_file: str = Field(default="", description="TOML file of a site's own names of structures; empty: none.")
    reviewers_file: str = Field(default="", description="TOML file of the roster of reviewers; empty: nobody reviews.")
    cache: str = Field(description="Local folder for copies of remote payloads.")
    work: str = Field(description="Local scratch of long steps.")
    profile: str = Field(description="Gates that models are held against: demo, research or clinical-education.")

    _who: str = PrivateAttr(default="no-run")
    _purpose: str = PrivateAttr(default="sensor-or-command")

    @classmethod
    def of(cls, settings: Settings) -> "StoreResource":
        """The resource that these settings describe."""
        return cls(
            landing_url=settings.landing_url,
            vault_url=settings.vault_url,
            clean_url=settings.clean_url,
            key_file=str(settings.key_file),
            split_salt_file=str(settings.split_salt_file),
            signing_key_file=str(settings.signing_key_file),
            deidentification=str(settings.deidentification or ""),
            reidentification_key_file=str(settings.reidentification_key_file or ""),
            vocabulary_file=str(settings.vocabulary or ""),
            reviewers_file=str(settings.reviewers or ""),
            cache=str(settings.cache),
            work=str(settings.work),
            profile=settings.profile,
        )

    def vocabulary(self) -> "Vocabulary":
        """The vocabulary with the site's own names. Raises ConfigurationError for a file with a mistake."""
        from medillus_pipeline.annotation import vocabulary

        return vocabulary.load(Path(self.vocabulary_file) if self.vocabulary_file else None)

    def roster(self) -> "Roster":
        """Who may review, by pseudonym; nobody without a file. Raises ConfigurationError for a file with a mistake."""
        from medillus_pipeline.review.roster import Roster, read_roster

        if not self.reviewers_file:
            return Roster()
        return read_roster(Path(self.reviewers_file), self.pseudonymiser().key)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Dagster's door: which run opens the zones, and what for."""
        if context.run is not None:
            self._who, self._purpose = f"run {context.run.run_id}", context.run.job_name

    def _write_down(self, zone: str) -> None:
        access_log.opened(Zone(self.vault_url), zone, who=self._who, purpose=self._purpose)

    @property
    def landing(self) -> Zone:
        """Restricted: arrivals. Its opening is written down."""
        self._write_down("landing")
        return Zone(self.landing_url)

    @property
    def vault(self) -> Zone:
        """Restricted: ledger and mappings. Its opening is written down."""
        self._write_down("vault")
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
        """The installation's pseudonymiser, for the readers of restricted zones. A key in the environment is taken from
        there at the moment of use: resource configuration is stored and shown.
        """
        return load_pseudonymiser(
            Path(self.key_file), Path(self.split_salt_file), self.vault, key=key_from_environment()
        )

    def signing_key(self) -> "SigningKey":
        """The key that this installation signs figures with; made at first use. Raises ConfigurationError where the
        resource names no file.
        """
        if not self.signing_key_file:
            raise ConfigurationError("figures are signed: set MEDILLUS_SIGNING_KEY_FILE, or leave the default")
        return load_signing_key(Path(self.signing_key_file))

    def policy(self) -> "Policy":
        """What the installation chose about de-identification."""
        return load_policy(Path(self.deidentification) if self.deidentification else None)

    def reidentification_tables(self) -> "ReidentificationTables | None":
        """The vault's re-identification tables; None where the installation does not keep any."""
        if not self.reidentification_key_file:
            return None
        key = self.pseudonymiser().key
        return load_reidentification_tables(Path(self.reidentification_key_file), self.vault, other_than=key)
