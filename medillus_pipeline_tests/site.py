"""A small installation for tests of single jobs: a home, an instance, deliveries of a few slices, drawings on them."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from medillus_pipeline import landings
from medillus_pipeline.definitions import build_defs
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.partitions import annotation_batches, deliveries, request_batches
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.run_all import StageRun, failure_of, run_all
from medillus_pipeline.settings import Settings
from medillus_pipeline_tests.deidentification.delivered_files import COLUMNS, ROWS, encoded, image
from medillus_pipeline_tests.flow import settings_at

PARTITIONS: dict[landings.Kind, str] = {
    "images": str(deliveries.name),
    "annotations": str(annotation_batches.name),
    "requests": str(request_batches.name),
}
FAR = 1000
"""Distance between the UIDs of two series."""


class Site:
    """One installation below a folder, with an instance that forgets; `said` is what steps wrote to their log."""

    def __init__(self, home: Path) -> None:
        self.settings: Settings = settings_at(home)
        self.instance = dg.DagsterInstance.ephemeral()
        self.said: list[str] = []
        self.definitions = build_defs(self.settings, loggers={"console": _listener(self.said)})

    @property
    def store(self) -> StoreResource:
        return StoreResource.of(self.settings)

    def land(self, kind: landings.Kind, label: str, files: Mapping[str, bytes], *, synthetic: bool = True) -> str:
        """A closed landing folder whose partition key is `label`, not registered yet; returns the label."""
        for name, data in files.items():
            self.settings.landing.write(f"{kind}/{label} of Vogelweide/{name}", data)
        landings.close(self.settings.landing, kind, f"{label} of Vogelweide", {"label": label, "synthetic": synthetic})
        return label

    def arrive(self, kind: landings.Kind, label: str, files: Mapping[str, bytes]) -> str:
        """Land a folder and register it, as the landing sensor does."""
        self.land(kind, label, files)
        self.register(kind)
        return label

    def register(self, kind: landings.Kind) -> None:
        """Give keys to what is in landing and add the partitions."""
        landings.register(self.settings.landing, self.settings.vault, self.settings.pseudonymiser(), kind)
        self.instance.add_dynamic_partitions(PARTITIONS[kind], landings.known_keys(self.settings.vault, kind))

    def run(self, job: str, partition: str | None = None, **further: Any) -> dg.ExecuteInProcessResult:
        """Execute a job, or with `asset_selection` a part of it."""
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=partition,
            run_config={"loggers": {"console": {}}, **further.pop("run_config", {})},
            raise_on_error=False,
            **further,
        )

    def run_all(self) -> list[StageRun]:
        """What `medillus run-all` does; its runs."""
        return run_all(self.settings, self.instance, say=self.said.append).runs

    def tables(self) -> dict[str, bytes]:
        """Every published table file and pointer of the clean zone."""
        clean = self.settings.clean
        return {path: clean.read(path) for path in [*clean.files("tables"), *clean.files("published")]}

    def slice_name(self, number: int) -> str:
        """Name of the slice of `ct(number)`."""
        return slice_name(self.settings.pseudonymiser().uid(image(number=number).SOPInstanceUID), 1)


def ct(number: int) -> bytes:
    """A CT slice of the series number // FAR, its pixels a ramp from water to bone: all of it is body."""
    series = f"1.2.826.0.1.97.{number // FAR}"
    ramp = np.linspace(1000, 2000, ROWS * COLUMNS).astype("<u2") + number % FAR
    return encoded(image(number=number, SeriesInstanceUID=series, PixelData=ramp.tobytes()))


def series(first: int, slices: int = 4) -> dict[str, bytes]:
    """That many slices as files of a delivery."""
    return {f"IM{number}": ct(number) for number in range(first, first + slices)}


def drawing(*labels: str, **changes: Any) -> bytes:
    """A LabelMe file of rectangles, one under the other, with these labels."""
    shapes = [
        {"label": label, "shape_type": "rectangle", "points": [[2, 1 + 3 * row], [9, 3 + 3 * row]]}
        for row, label in enumerate(labels)
    ]
    document = {"version": "5.4.1", "imageHeight": ROWS, "imageWidth": COLUMNS, "shapes": shapes}
    return json.dumps(document | changes).encode()


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The message of a run that failed, as `medillus run-all` shows it."""
    assert not result.success
    return failure_of(result)


def check(result: dg.ExecuteInProcessResult, name: str) -> Any:
    """The evaluation of a check in a run."""
    (found,) = [evaluation for evaluation in result.get_asset_check_evaluations() if evaluation.check_name == name]
    return found


class _Listener(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


def _listener(said: list[str]) -> dg.LoggerDefinition:
    @dg.logger
    def listener(_context: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("medillus.tests", logging.DEBUG)
        logger.addHandler(_Listener(said))
        return logger

    return listener
