"""Small installations for tests of stewardship: two patients in one delivery, drawings on both."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from medillus_pipeline.automation.instance import local_instance
from medillus_pipeline.automation.stewardship import STEWARDSHIP_JOBS
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline_tests.deidentification.delivered_files import COLUMNS, ROWS, encoded, image
from medillus_pipeline_tests.site import Site, drawing

LEAVES, STAYS = "MRN-0077", "MRN-0088"
FIRST = {LEAVES: 1000, STAYS: 3000}


class Stewarded(Site):
    """A site on an instance that remembers, in SQLite below its home."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.instance = local_instance(home)

    def act(self, job: str, op: str, **config: Any) -> dg.ExecuteInProcessResult:
        """Run a job of stewardship."""
        definitions = dg.Definitions(
            jobs=STEWARDSHIP_JOBS,
            resources={"store": StoreResource.of(self.settings), "mlflow": MLflowResource.of(self.settings)},
        )
        return definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, run_config={"ops": {op: {"config": config}}}, raise_on_error=False
        )

    def of(self, patient: str, number: int) -> str:
        """Name of a slice of a patient."""
        uid = self.settings.pseudonymiser().uid(image(number=FIRST[patient] + number).SOPInstanceUID)
        return slice_name(uid, 1)


def scan(patient: str, slices: int = 3) -> dict[str, bytes]:
    """CT slices of a patient as files of a delivery; no two have the same pixels."""
    first, files = FIRST[patient], {}
    uids = {"SeriesInstanceUID": f"1.2.826.0.1.97.{first}", "StudyInstanceUID": f"1.2.826.0.1.98.{first}"}
    for number in range(first, first + slices):
        ramp = np.linspace(1000, 2000, ROWS * COLUMNS).astype("<u2") + number % 1000 - first // 200
        made = image(number=number, patient=patient, PixelData=ramp.tobytes(), **uids)
        files[f"{patient[-2:]}/IM{number}"] = encoded(made)
    return files


def ingested(home: Path) -> Stewarded:
    """One delivery of both patients, one batch with a drawing on a slice of each; published."""
    site = Stewarded(home)
    site.arrive("images", "both", scan(LEAVES) | scan(STAYS))
    result = site.run("ingest_delivery", "both")
    assert result.success, site.said[-5:]
    drawn = {LEAVES: drawing("liver"), STAYS: drawing("liver", "spleen")}
    files = {f"{site.of(who, 1)}.json": data for who, data in drawn.items()}
    site.arrive("annotations", "drawn", files)
    assert site.run("ingest_annotations", "drawn").success, site.said[-5:]
    return site
