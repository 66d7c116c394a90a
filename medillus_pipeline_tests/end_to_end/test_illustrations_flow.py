"""What comes after the champion: requests from landing to figures, a volume, the case library, and the two models that
read sketches and sentences; with tiny models, on a synthetic cohort.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from medillus_pipeline import landings, published
from medillus_pipeline.automation.instance import local_instance
from medillus_pipeline.definitions import build_defs
from medillus_pipeline.dicom.png import decode_png, encode_png
from medillus_pipeline.illustration import compliance
from medillus_pipeline.illustration.signing import SignedManifest
from medillus_pipeline.partitions import request_batches
from medillus_pipeline.run_all import StageRun
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import (
    ILLUSTRATION_RECORDS,
    ILLUSTRATION_REQUESTS,
    ILLUSTRATIONS,
    LEDGER,
    MASKS,
    VOLUME_ILLUSTRATIONS,
    TableStore,
)
from medillus_pipeline_tests.flow import flow, land_cohort, lower_gates, settings_at
from medillus_pipeline_tests.site import check, failure

pytestmark = pytest.mark.slow
SECRET = "Vogelweide"


@dataclass
class Office:
    """A home after the tiny flow, with a folder of requests landed and answered."""

    settings: Settings
    runs: dict[str, StageRun]
    instance: dg.DagsterInstance
    trained: dg.ExecuteInProcessResult
    answered: dg.ExecuteInProcessResult

    @property
    def tables(self) -> TableStore:
        return TableStore(self.settings.clean)

    def run(self, job: str, key: str | None = None, **ops: Any) -> dg.ExecuteInProcessResult:
        return _run(self.settings, self.instance, job, key, **ops)


def _run(settings: Settings, instance: dg.DagsterInstance, job: str, key: str | None = None, **ops: Any) -> Any:
    return (
        build_defs(settings)
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance,
            partition_key=key,
            run_config={"ops": {name: {"config": given} for name, given in ops.items()}},
            raise_on_error=False,
        )
    )


def _requests(settings: Settings) -> dict[str, bytes]:
    """A mask, a sketch that is its outline, and what must be put aside."""
    tables = TableStore(settings.clean)
    row = max(tables.read_all(MASKS).to_pylist(), key=lambda row: (len(row["labels"]), row["slice_name"]))
    ids = decode_png(settings.clean.read(row["path"]))
    edge = np.zeros(ids.shape, bool)
    edge[:-1] |= ids[:-1] != ids[1:]
    edge[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    sheet = np.where(edge, 0, 255).astype(np.uint8)
    sheet = np.kron(sheet, np.ones((4, 4), np.uint8))
    once = {"candidates": 1, "formats": ["svg", "png", "pdf"]}
    return {
        "mask.json": json.dumps({"name": f"for-{SECRET}", "mask": "drawn/mask.png", **once}).encode(),
        "drawn/mask.png": encode_png(ids),
        "sketch.json": json.dumps({"sketch": f"{SECRET}.png", "complete": False, **once}).encode(),
        f"{SECRET}.png": encode_png(sheet),
        "scan.toml": f'scan = "{row["slice_name"]}"\n'.encode(),
        "name.json": json.dumps({"text": f"axial CT of {SECRET}, liver", **once}).encode(),
        "unknown.json": json.dumps({"mask": "drawn/mask.png", "patient": SECRET}).encode(),
        "away.json": json.dumps({"mask": "../../images/x.png"}).encode(),
        "table.csv": b"text,seed\n,3\n",
    }


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    home = tmp_path_factory.mktemp("illustrations")
    settings = settings_at(home / "home")
    land_cohort(settings, home / "cohort")
    with pytest.MonkeyPatch.context() as patch:
        lower_gates(patch)
        loose = replace(compliance.FLOORS["demo"], share=0.0, calibrated=0.0, agreement=0.0, errors=1.0, similarity=0.0)
        patch.setitem(compliance.FLOORS, "demo", loose)
        done = flow(settings)
        with local_instance(settings.home) as instance:
            trained = _run(settings, instance, "train_illustrators", sketch_segmenter={"preset": "tiny"},
                           text_encoder={"preset": "tiny"})  # fmt: skip
            for name, data in _requests(settings).items():
                settings.landing.write(f"requests/{SECRET}/{name}", data)
            landings.close(settings.landing, "requests", SECRET, {"label": "first", "synthetic": True})
            landings.register(settings.landing, settings.vault, settings.pseudonymiser(), "requests")
            assert request_batches.name is not None
            instance.add_dynamic_partitions(request_batches.name, ["first"])
            answered = _run(settings, instance, "ingest_requests", "first")
            yield Office(settings, {run.job: run for run in done.runs}, instance, trained, answered)


def test_the_flow_ends_with_a_volume_and_a_library(office: Office) -> None:
    for job in ("illustrate_volumes", "make_case_library"):
        assert office.runs[job].failure is None, office.runs[job].failure
    assert published.require(office.settings.clean, "case_library")["index"]


def test_requests_become_figures_and_those_that_cannot_leave_are_counted_by_reason(office: Office) -> None:
    assert office.answered.success, failure(office.answered)
    rows = office.tables.read(ILLUSTRATION_REQUESTS, "first").to_pylist()
    assert {"mask", "scan"} <= {way for row in rows for way in row["ways"]}
    ledger = TableStore(office.settings.vault).read(LEDGER, "requests.first").to_pylist()
    reason_of = {row["source"]: row["reason"] for row in ledger}
    assert reason_of["name.json"] == "text_not_understood"
    assert reason_of["unknown.json"] == "request_not_valid"
    assert reason_of["away.json"] == "drawing_missing"
    assert reason_of["table.csv"] == "request_not_valid"
    assert reason_of["mask.json"] == reason_of["scan.toml"] == ""
    assert reason_of["sketch.json"] in ("", "sketch_refused")
    assert not check(office.answered, "requests_accepted").passed
    records = office.tables.read(ILLUSTRATION_RECORDS, "requests.first").to_pylist()
    assert {record["request"] for record in records} <= {row["request"] for row in rows}
    assert all(".pdf" in record["endings"] for record in records if record["slice_name"].startswith("mask-"))


def test_nothing_that_somebody_wrote_into_a_request_leaves_landing(office: Office) -> None:
    clean = office.settings.clean
    holding = [path for path in clean.files() if SECRET.encode() in path.encode() + clean.read(path)]
    assert holding == []
    folders = [office.settings.home / name for name in ("dagster", "mlflow")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_every_file_of_a_figure_stands_in_a_manifest_that_this_site_signed(office: Office) -> None:
    clean, public = office.settings.clean, office.settings.signing_key().public
    records = office.tables.read(ILLUSTRATION_RECORDS, "champion").to_pylist()
    rows = {row["figure"]: row for row in office.tables.read(ILLUSTRATIONS, "champion").to_pylist()}
    assert records
    for record in records:
        paths = dict(zip(record["endings"], record["paths"], strict=True))
        assert {".svg", ".png", ".pdf", ".dcm", ".html", ".json", ".manifest.json"} <= paths.keys()
        signed = SignedManifest.from_bytes(clean.read(paths[".manifest.json"]))
        assert signed.is_whole() and signed.is_by([public])
        assert record["approved_by"] == []
        sidecar = json.loads(clean.read(rows[record["figure"]]["sidecar_path"]))
        assert sidecar["approval"]["approved_by"] == "not reviewed"


def test_figures_made_again_are_the_same_bytes(office: Office) -> None:
    before = {key: office.tables.version(ILLUSTRATION_RECORDS, key) for key in ("champion", "volumes")}
    assert (
        _run(office.settings, office.instance, "promote", illustrations={"figures": 2}).success
        and office.run("illustrate_volumes").success
    )
    assert {key: office.tables.version(ILLUSTRATION_RECORDS, key) for key in before} == before


def test_figures_for_publication_are_refused_without_an_approval(office: Office) -> None:
    result = office.run("promote", illustrations={"figures": 1, "publication": True})
    assert "need 1 approvals" in failure(result)


def test_a_volume_opens_in_other_readers(office: Office, tmp_path: Path) -> None:
    import nibabel
    import trimesh
    from pydicom import dcmread

    clean = office.settings.clean
    (row,) = office.tables.read(VOLUME_ILLUSTRATIONS, "volumes").to_pylist()
    (tmp_path / "volume.nii.gz").write_bytes(clean.read(row["nifti_path"]))
    assert nibabel.load(tmp_path / "volume.nii.gz").shape[2] == row["slices"]  # type: ignore[attr-defined]
    with zipfile.ZipFile(io.BytesIO(clean.read(row["dicom_path"]))) as archive:
        assert len(archive.namelist()) == row["slices"]
        assert dcmread(io.BytesIO(archive.read(archive.namelist()[0]))).PatientName == "SYNTHETIC^NOT A PATIENT"
    scene = trimesh.load(io.BytesIO(clean.read(row["surfaces_path"])), file_type="glb")
    assert len(scene.geometry) == len(row["labels"])  # type: ignore[attr-defined]
    assert office.tables.read(ILLUSTRATION_RECORDS, "volumes").num_rows == 3
    assert row["flicker"] is not None


def test_the_models_beside_the_generator_are_trained_once(office: Office) -> None:
    assert office.trained.success, failure(office.trained)
    before = {name: published.require(office.settings.clean, name) for name in ("sketch_segmenter", "text_encoder")}
    again = office.run("train_illustrators", sketch_segmenter={"preset": "tiny"}, text_encoder={"preset": "tiny"})
    assert again.success
    assert {name: published.require(office.settings.clean, name) for name in before} == before
    assert 0 <= before["sketch_segmenter"]["figures"]["mean_dice"] <= 1
    assert before["text_encoder"]["figures"]["recall_at_5"] >= before["text_encoder"]["figures"]["recall_at_1"]


def test_a_setting_that_a_model_does_not_have_is_refused_by_name(office: Office) -> None:
    result = office.run("train_illustrators", sketch_segmenter={"settings": {"stepss": 3}},
                        text_encoder={"preset": "tiny"})  # fmt: skip
    assert "stepss" in failure(result)


def test_the_library_has_a_page_for_each_structure_that_a_figure_shows(office: Office) -> None:
    assert office.run("make_case_library").success
    clean = office.settings.clean
    index = published.require(clean, "case_library")["index"]
    folder = index.rsplit("/", 1)[0]
    assert {path.split("/")[1] for path in clean.files("case_library")} == {folder.split("/")[1]}
    pages = [path for path in clean.files(folder) if "/structures/" in path]
    html = clean.read(index).decode()
    assert pages and all(path.removeprefix(f"{folder}/") in html for path in pages)
    assert "http" not in html.replace("http-equiv", "")
