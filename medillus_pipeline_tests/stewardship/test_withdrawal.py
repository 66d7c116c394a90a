"""A patient is withdrawn: nothing of theirs is left on the clean side, everything of the other patient is as it was."""

import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from medillus_pipeline import published
from medillus_pipeline.assets.promotion import registry_of
from medillus_pipeline.errors import PermanentError
from medillus_pipeline.resources import promotions, revocation
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.stewardship import records, withdrawal
from medillus_pipeline.stewardship.references import in_force
from medillus_pipeline.stewardship.subject import belongings
from medillus_pipeline.tables import (
    ILLUSTRATION_RECORDS,
    ILLUSTRATION_REQUESTS,
    ILLUSTRATIONS,
    INSTANCES,
    LEDGER,
    MASK_ITEMS,
    MASKS,
    SLICES,
    TRAINING_SLICES,
    VOLUME_ILLUSTRATIONS,
    TableStore,
    to_parquet,
)
from medillus_pipeline_tests.assets.registries import validated
from medillus_pipeline_tests.site import failure
from medillus_pipeline_tests.stewardship.scenes import LEAVES, STAYS, Stewarded, ingested, scan
from medillus_pipeline_tests.traces import clean_side, traces


@pytest.fixture(scope="module")
def published_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both patients in a delivery, again in an archive, and in a snapshot that version 2 learned from; 1 is older."""
    site = ingested(tmp_path_factory.mktemp("published"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in (scan(LEAVES) | scan(STAYS)).items():
            archive.writestr(name, data)
    site.arrive("images", "packed", {"all.zip": packed.getvalue()})
    assert site.run("ingest_delivery", "packed").success
    _models(site)
    return site.settings.home


def _models(site: Stewarded) -> None:
    """Versions 1 and 2, champions one after the other; only 2 learned from the patient who leaves."""
    clean, mlflow = site.settings.clean, MLflowResource.of(site.settings)
    client = mlflow.client()
    client.create_registered_model(mlflow.model)
    experiment = client.create_experiment(mlflow.experiment, artifact_location=mlflow.artifacts)
    for version, who in (("1", [STAYS]), ("2", [LEAVES, STAYS])):
        row = dict.fromkeys(column.name for column in TRAINING_SLICES.columns)
        rows = [
            row | {"row": i, "slice_name": site.of(name, 1), "patient": pseudonym(site, name), "split": "train",
                   "series_instance_uid": "2.25.1", "annotator": "a-00000000", "modality": "CT", "pathology": [],
                   "level": 0.5, "affine": [0.0] * 16, "labels": [1], "body_fraction": 1.0, "mean": 0.0,
                   "source_value_sha256": "0" * 64}
            for i, name in enumerate(who)
        ]  # fmt: skip
        index = clean.put("datasets", to_parquet(TRAINING_SLICES.to_arrow(rows)), ".parquet").path
        values = clean.put("datasets", f"values of {version}".encode(), ".npy").path
        fingerprint = hashlib.sha256(version.encode()).hexdigest()
        manifest = {"fingerprint": fingerprint, "index": index, "values": values, "format": 2, "config": {}}
        path = clean.put("datasets", json.dumps(manifest).encode(), ".json").path
        tags = {"dataset_fingerprint": fingerprint}
        run = client.create_run(experiment, tags=tags).info
        for folder in revocation.PICTURES:
            client.log_text(run.run_id, "an image", f"{folder}/shown.html")
        client.create_model_version(mlflow.model, "file:///nowhere", run_id=run.run_id, tags=tags)
        validated(site.settings, version, dataset_fingerprint=fingerprint)
        checkpoint = {"version": version, "run_id": run.run_id, **tags, "dataset_manifest": path}
        published.publish(clean, "generator_checkpoint", checkpoint)
        document = {"fingerprint": fingerprint, "manifest": path, "inputs": {}}
        published.publish(clean, "training_dataset", document)
        promotions.promote(registry_of(site.store, mlflow), run_id=f"promotion-{version}")


def pseudonym(site: Stewarded, patient: str) -> str:
    return site.settings.pseudonymiser().patient(patient)


@pytest.fixture
def site(published_home: Path, tmp_path: Path) -> Stewarded:
    site = Stewarded(Path(shutil.copytree(published_home, tmp_path / "home")))
    return site


def rows(site: Stewarded, table: object, patient: str) -> int:
    data = site.store.tables.read_all(table)  # pyright: ignore[reportArgumentType]
    return data["patient"].to_pylist().count(pseudonym(site, patient))


def withdrawn(site: Stewarded) -> str:
    name = withdrawal.request(site.settings.vault, pseudonym(site, LEAVES), by="a test")
    result = site.act("withdraw_patient", "withdraw", request=name)
    assert result.success, failure(result)
    return name


def test_nothing_of_the_patient_is_left_and_the_other_patient_is_untouched(site: Stewarded) -> None:
    settings, clean = site.settings, site.settings.clean
    leaving = belongings(clean, pseudonym(site, LEAVES))
    before = {table: rows(site, table, STAYS) for table in (INSTANCES, SLICES, MASKS)}
    assert all(before.values()) and rows(site, MASKS, LEAVES)
    name = withdrawn(site)
    assert traces({*leaving.names, *leaving.shared}, clean_side(settings)) == set()
    assert {table: rows(site, table, STAYS) for table in before} == before
    assert [path for path in in_force(clean) if path.split("/")[0] in ("instances", "slices", "masks")
            and not clean.exists(path)] == []  # fmt: skip
    assert not set(leaving.shared) & set(clean.files())
    receipt = site.store.tables.read(MASK_ITEMS, "drawn").to_pylist()
    assert sorted(row["structure"] for row in receipt) == ["liver", "spleen"]
    record = records.read(settings.vault, "withdrawals", name, "record")
    assert record is not None and records.holds(settings.pseudonymiser().key, record)
    assert (record["versions_revoked"], record["champion"], record["left"]) == (["2"], "1", 0)
    assert LEAVES not in json.dumps(record)


def test_figures_of_their_masks_go_with_their_records_and_the_library_that_shows_them(site: Stewarded) -> None:
    clean, tables = site.settings.clean, site.store.tables
    name, figure = pseudonym(site, LEAVES), "f-0123456789ab"
    shown = {ending: clean.put("figures", f"of {name}{ending}".encode(), ending).path for ending in (".svg", ".png")}
    seen: dict[str, Any] = {"figure": figure, "slice_name": site.of(LEAVES, 1), "patient": name}
    for table, more in (
        (ILLUSTRATIONS, {"labels": [1], "confidences": [], "svg_path": shown[".svg"], "png_path": shown[".png"],
                         "sidecar_path": shown[".svg"]}),
        (ILLUSTRATION_RECORDS, {"pathologies": [], "endings": list(shown), "paths": list(shown.values()),
                                "failed_checks": [], "approved_by": [], "publication": False}),
    ):  # fmt: skip
        row = {column.name: "" if column.type == "string" else None for column in table.columns} | seen | more
        tables.publish(table, "champion", table.to_arrow([row]))
    request = {"request": "q-0123456789ab", "ways": ["scan"], "mask_path": None, "mask_sha256": "", "remarks": []}
    asked = [request | {"document": json.dumps({"scan": site.of(who, 1)})} for who in (LEAVES, STAYS)]
    tables.publish(ILLUSTRATION_REQUESTS, "asked", ILLUSTRATION_REQUESTS.to_arrow(asked))
    clean.write("case_library/0123/liver.html", b"a page that names nobody")
    published.publish(clean, "case_library", {"index": "case_library/0123/index.html", "figures": [figure]})
    record = records.read(site.settings.vault, "withdrawals", withdrawn(site), "record")
    assert record is not None and record["figures_to_recall"] == [figure]
    assert [tables.keys(table) for table in (ILLUSTRATIONS, ILLUSTRATION_RECORDS)] == [[], []]
    assert not [path for path in (*shown.values(), *clean.files("case_library")) if clean.exists(path)]
    assert published.current(clean, "case_library") is None
    assert tables.read(ILLUSTRATION_REQUESTS, "asked")["document"].to_pylist() == [asked[1]["document"]]


def test_volumes_drawn_from_their_labels_go_with_their_files(site: Stewarded) -> None:
    clean, tables = site.settings.clean, site.store.tables
    rows, files = [], {}
    for who, volume in ((LEAVES, "v-0123456789ab"), (STAYS, "v-ba9876543210")):
        paths = {
            column.name: clean.put("volume_files", f"{column.name} {who}".encode(), ".nii.gz").path
            for column in VOLUME_ILLUSTRATIONS.columns
            if column.name.endswith("_path")
        }
        lists = {"spacing": [3.0, 1.0, 1.0], "labels": [1], "failed_checks": [], "approved_by": []}
        row = {column.name: "" if column.type == "string" else 1 for column in VOLUME_ILLUSTRATIONS.columns}
        rows.append(row | {"volume": volume, "patient": pseudonym(site, who)} | lists | paths)
        files[who] = paths.values()
    tables.publish(VOLUME_ILLUSTRATIONS, "volumes", VOLUME_ILLUSTRATIONS.to_arrow(rows))
    withdrawn(site)
    assert tables.read(VOLUME_ILLUSTRATIONS, "volumes")["volume"].to_pylist() == ["v-ba9876543210"]
    assert [[clean.exists(path) for path in files[who]] for who in (LEAVES, STAYS)] == [[False] * 7, [True] * 7]


def test_landing_and_ledger_lose_their_files_and_an_archive_is_written_again_without_them(site: Stewarded) -> None:
    landing = site.settings.landing
    others = {path: landing.read(path) for path in landing.files() if "/88/" in path or path.endswith("_READY")}
    withdrawn(site)
    for path, data in others.items():
        assert landing.read(path) == data
    files = landing.files("images/both of Vogelweide")
    assert [path for path in files if "/77/" in path] == []
    with zipfile.ZipFile(io.BytesIO(landing.read("images/packed of Vogelweide/all.zip"))) as archive:
        assert archive.namelist() == list(scan(STAYS))
        assert archive.read("88/IM3000") == scan(STAYS)["88/IM3000"]
    assert [path for path in landing.files("annotations") if site.of(LEAVES, 1) in path] == []
    assert [path for path in landing.files("annotations") if site.of(STAYS, 1) in path]
    ledgers = TableStore(site.settings.vault).read_all(LEDGER).to_pylist()
    assert [row["source"] for row in ledgers if "/77/" in row["source"] + row["member"]] == []
    assert [row["source"] for row in ledgers if "/88/" in row["source"]]


def test_the_version_that_learned_from_them_is_revoked_and_the_champion_falls_back(site: Stewarded) -> None:
    mlflow = MLflowResource.of(site.settings)
    assert mlflow.alias("champion") == "2"
    withdrawn(site)
    assert (mlflow.alias("champion"), mlflow.alias("previous")) == ("1", None)
    tags = {str(version.version): version.tags for version in mlflow.versions()}
    assert "revoked" in tags["2"] and "revoked" not in tags["1"]
    assert promotions.history(site.settings.clean).revoked == {"2"}
    assert promotions.alias_changes(registry_of(site.store, mlflow)) == []
    assert published.require(site.settings.clean, "promoted_generator")["version"] == "1"
    runs = {run.data.tags["dataset_fingerprint"]: run for run in revocation.runs_on(mlflow, _fingerprints())}
    client = mlflow.client()
    kept, lost = (client.list_artifacts(runs[f].info.run_id, "samples") for f in _fingerprints())
    assert (len(kept), len(lost)) == (1, 0)


def _fingerprints() -> list[str]:
    return [hashlib.sha256(version.encode()).hexdigest() for version in ("1", "2")]


def test_a_withdrawn_patient_who_is_delivered_again_is_refused_with_a_reason_of_the_list(site: Stewarded) -> None:
    withdrawn(site)
    site.arrive("images", "again", scan(LEAVES) | scan(STAYS))
    assert site.run("ingest_delivery", "again").success
    table = site.store.tables.read(INSTANCES, "again")
    assert set(table["patient"].to_pylist()) == {pseudonym(site, STAYS)}
    ledger = TableStore(site.settings.vault).read(LEDGER, "images.again").to_pylist()
    assert [(row["outcome"], row["reason"], row["pseudonym"]) for row in ledger if "/77/" in f"/{row['source']}"] == [
        ("quarantined", "withdrawn", None)
    ] * 3


def test_with_no_version_left_there_is_no_champion(site: Stewarded) -> None:
    mlflow = MLflowResource.of(site.settings)
    registry = registry_of(site.store, mlflow)
    assert revocation.revoke(registry, ["1", "2"], run_id="r", reason="both") is None
    assert revocation.revoke(registry, ["1", "2"], run_id="r", reason="both") is None
    assert (mlflow.alias("champion"), mlflow.alias("previous")) == (None, None)
    assert published.current(site.settings.clean, "promoted_generator") is None
    assert promotions.history(site.settings.clean).champion is None
    assert promotions.alias_changes(registry) == []
    assert len(promotions.history(site.settings.clean).turns) == 4


@pytest.mark.parametrize("step", ["clear_tables", "clear_payloads", "left_in_clean_zone", "finish"])
def test_a_withdrawal_that_stops_at_a_step_is_completed_by_the_next_run(
    site: Stewarded, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    leaving = belongings(site.settings.clean, pseudonym(site, LEAVES))
    name = withdrawal.request(site.settings.vault, pseudonym(site, LEAVES), by="a test")

    def stopped(*_: object, **__: object) -> None:
        raise PermanentError("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr(withdrawal, step, stopped)
        assert "stopped here" in failure(site.act("withdraw_patient", "withdraw", request=name))
    assert records.read(site.settings.vault, "withdrawals", name, "record") is None
    assert site.act("withdraw_patient", "withdraw", request=name).success
    record = records.read(site.settings.vault, "withdrawals", name, "record")
    assert record is not None and record["rows"]["instances"] == 6
    assert traces({*leaving.names, *leaving.shared}, clean_side(site.settings)) == set()
    assert len(promotions.history(site.settings.clean).turns) == 4
