"""From a registered generator to a blind sheet, from signed files in landing to approvals of that very version."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from medillus_pipeline import landings, published
from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.assets import reviews as review_assets
from medillus_pipeline.automation.reviews import REVIEW_JOBS, REVIEW_SENSORS
from medillus_pipeline.generation import model_file
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import build_snapshot, load_snapshot
from medillus_pipeline.generation.prior import build_prior
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline.partitions import review_batches
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.review.approvals import approvals
from medillus_pipeline.review.signing import ReviewerKey
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import LEDGER, REVIEWS, TableStore
from medillus_pipeline_tests.flow import settings_at
from medillus_pipeline_tests.generation.published import publish_phantoms
from medillus_pipeline_tests.review.sheets import ADA, BO
from medillus_pipeline_tests.site import check, failure

ROSTER = f"""
[ethics]
intended_use = "Anatomy teaching."
responsible = "Head of anatomy"
date = 2026-03-01
[[reviewer]]
name = "Ada Holloway"
roles = ["physician"]
keys = ["{ADA.public}"]
[[reviewer]]
name = "Bo Holloway"
roles = ["anatomist", "engineer"]
keys = ["{BO.public}"]
"""
STRANGER = ReviewerKey(b"x" * 32)
CHROMIUM = Path("/usr/bin/chromium")


class Office:
    """An installation with one tiny registered generator and its blind sheet."""

    def __init__(self, home: Path) -> None:
        (home / "roster.toml").write_text(ROSTER)
        self.settings: Settings = settings_at(home, MEDILLUS_REVIEWERS=str(home / "roster.toml"))
        self.instance = dg.DagsterInstance.ephemeral()
        self.store = StoreResource.of(self.settings)
        self.mlflow = MLflowResource.of(self.settings)
        self.definitions = dg.Definitions(
            assets=dg.load_assets_from_modules([review_assets]),
            jobs=REVIEW_JOBS,
            sensors=REVIEW_SENSORS,
            resources={"store": self.store, "compute": ComputeResource.of(self.settings), "mlflow": self.mlflow},
        )

    def register_generator(self) -> None:
        """Version 1, trained for two steps: what it draws is of no matter here."""
        clean, tiny, words = self.store.clean, preset("tiny"), vocabulary.load()
        rows = publish_phantoms(clean, 8, shape=(8, 32, 32), spacing=(30.0, 12.8, 12.8))
        snapshot = build_snapshot(
            rows.slices, rows.masks, rows.instances, rows.splits, clean, words, tiny.dataset, partitions={}
        )
        dataset = load_snapshot(clean, snapshot.path)
        prior = build_prior(dataset, tiny.prior)
        config = tiny.generator.model_copy(update={"threads": 1, "steps": 2})
        generator = train_generator(dataset, prior, config, seed=3)
        run = self.mlflow.training_run("key", "generator", {})
        with tempfile.TemporaryDirectory() as folder:
            artifacts = model_file.package(
                generator, prior, dataset.classes, words.version, dataset.manifest, Path(folder)
            )
            self.weights_sha256 = hashlib.sha256(Path(artifacts["weights"]).read_bytes()).hexdigest()
            code = model_file.write_model_file(Path(folder))
            version = self.mlflow.register(run.run_id, lambda: model_file.log_generator(artifacts, code), {})
        published.publish(clean, "generator_checkpoint", {"version": version, "dataset_manifest": snapshot.path})
        self.dataset = dataset

    def run(self, job: str, partition: str | None = None) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, partition_key=partition, raise_on_error=False
        )

    def land(self, label: str, files: dict[str, bytes]) -> dg.ExecuteInProcessResult:
        """A closed folder, registered, and read as the sensor's run does."""
        for name, data in files.items():
            self.settings.landing.write(f"reviews/{label} of Vogelweide/{name}", data)
        marker = {"label": label, "synthetic": True}
        landings.close(self.settings.landing, "reviews", f"{label} of Vogelweide", marker)
        landings.register(self.settings.landing, self.settings.vault, self.settings.pseudonymiser(), "reviews")
        self.instance.add_dynamic_partitions(str(review_batches.name), [label])
        return self.run("ingest_reviews", label)

    @property
    def key(self) -> dict[str, Any]:
        document = published.require(self.store.clean, "review_tasks")
        return json.loads(self.store.clean.read(document["key"]))

    def verdict(self, signer: ReviewerKey, decision: str = "approve", ago: int = 60, **changes: Any) -> bytes:
        """What the page would save; `ago` in minutes."""
        key, comments = self.key, json.dumps({"nonce": "0", "by_image": {}})
        said = {"anatomy": "4", "realism": "3", "labels": "yes", "origin": "real", "wrong": []}
        statement = {
            "form": "medillus-verdict-1",
            **{name: key[name] for name in ("model", "version", "weights_sha256", "sheet")},
            "public_key": signer.public,
            "decision": decision,
            "signed_at": (datetime.now(UTC) - timedelta(minutes=ago)).isoformat(),
            "comments_sha512": hashlib.sha512(comments.encode()).hexdigest(),
            "answers": [{"image": image, **said} for image in key["images"]],
        }
        text = json.dumps(statement | changes)
        return json.dumps({"statement": text, "signature": signer.sign(text), "comments": comments}).encode()

    def reviews(self) -> dict[str, Any]:
        return published.require(self.store.clean, "reviews/1")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    office = Office(tmp_path_factory.mktemp("home"))
    office.register_generator()
    result = office.run("make_review_sheet")
    assert result.success, failure(result)
    yield office


def test_the_sheet_shows_validation_patients_only_and_its_key_lies_beside_it(office: Office) -> None:
    document = published.require(office.store.clean, "review_tasks")
    assert document["weights_sha256"] == office.weights_sha256 == office.key["weights_sha256"]
    page = office.store.clean.read(document["html"]).decode()
    held_out = {row["slice_name"] for row in office.dataset.split("validation").rows}
    shown = [image["slice_name"] for image in office.key["images"].values()]
    assert set(shown) <= held_out and len(set(shown)) == len(shown) >= 2
    patients = {row["patient"] for row in office.dataset.rows}
    assert not [name for name in (*shown, *patients) if name in page]
    assert not [origin for origin in ('"origin": "real"', '"origin":"real"') if origin in page]


def test_the_same_version_gives_the_same_sheet(office: Office) -> None:
    before = published.require(office.store.clean, "review_tasks")
    assert office.run("make_review_sheet").success
    assert published.require(office.store.clean, "review_tasks") == before


def test_signed_verdicts_become_approvals_and_forged_ones_a_count(office: Office) -> None:
    good = office.verdict(ADA)
    forged = json.loads(good)
    forged["statement"] = forged["statement"].replace('"anatomy": "4"', '"anatomy": "5"')
    result = office.land(
        "first",
        {
            "ada.json": good,
            "again.json": good,
            "forged.json": json.dumps(forged).encode(),
            "stranger of Vogelweide.json": office.verdict(STRANGER),
            "moved.json": office.verdict(BO, version="2"),
            "weights.json": office.verdict(BO, weights_sha256="0" * 64),
            "notes.txt": b"Dr Vogelweide says hello",
        },
    )
    assert result.success, failure(result)
    said = check(result, "verdicts_accepted")
    assert not said.passed and "Vogelweide" not in repr(result.all_events)
    outcomes = TableStore(office.settings.vault).read(LEDGER, "reviews.first").to_pylist()
    assert {row["source"]: row["reason"] for row in outcomes} == {
        "ada.json": "",
        "again.json": "received_before",
        "forged.json": "bad_signature",
        "stranger of Vogelweide.json": "unknown_key",
        "moved.json": "other_version",
        "weights.json": "other_weights",
        "notes.txt": "not_a_verdict",
    }
    found = office.reviews()
    (ada,) = found["approvals"]["physician"]
    assert ada.startswith("r-") and set(found["approvals"]) == {"physician"}
    assert found["ethics"]["responsible"] == "Head of anatomy"
    assert found["weights_sha256"] == office.weights_sha256
    (proof,) = found["verdicts"].values()
    assert json.loads(office.store.clean.read(proof))["signature"] == json.loads(good)["signature"]


def test_what_is_published_names_no_reviewer(office: Office) -> None:
    clean = office.settings.clean
    everything = b"".join(clean.read(path) for path in [*clean.files("tables/reviews"), *clean.files("published")])
    assert b"Holloway" not in everything and b"Vogelweide" not in everything


def test_a_second_reviewer_gives_agreement_and_a_later_rejection_withdraws(office: Office) -> None:
    assert office.land("second", {"bo.json": office.verdict(BO, ago=50)}).success
    found = office.reviews()
    assert set(found["approvals"]) == {"physician", "anatomist", "engineer"}
    assert found["figures"]["agreement"]["origin"]["method"] == "Cohen"
    assert found["figures"]["generated_called_real"]["share"] == 1
    assert len(found["verdicts"]) == 2
    old = office.verdict(ADA, ago=90)
    assert office.land("third", {"no.json": office.verdict(ADA, "reject", ago=10), "old.json": old}).success
    assert set(office.reviews()["approvals"]) == {"anatomist", "engineer"}
    rows = office.store.tables.read_all(REVIEWS).to_pylist()
    roster = office.store.roster()
    assert approvals(rows, roster, "1", office.weights_sha256) == office.reviews()["approvals"]
    assert approvals(rows, roster, "2", office.weights_sha256) == {}


def test_a_folder_of_copies_adds_nothing_and_reading_a_folder_again_changes_nothing(office: Office) -> None:
    before, copied = office.reviews(), Path(office.settings.landing.full("reviews/second of Vogelweide/bo.json"))
    result = office.land("xcopies", {"bo.json": copied.read_bytes()})  # of one second the key that sorts first is older
    assert result.success, failure(result)
    assert office.store.tables.read(REVIEWS, "xcopies").num_rows == 0
    version = office.store.tables.version(REVIEWS, "second")
    assert office.run("ingest_reviews", "second").success
    assert office.store.tables.version(REVIEWS, "second") == version and office.reviews() == before


def test_a_verdict_filled_in_a_browser_goes_all_the_way_and_tampered_with_no_way(
    office: Office, tmp_path: Path
) -> None:
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium on this machine")
    file = tmp_path / "sheet.html"
    file.write_bytes(office.store.clean.read(published.require(office.store.clean, "review_tasks")["html"]))
    with driver.sync_playwright() as started:
        page = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"]).new_page()
        page.goto(file.as_uri())
        for _ in office.key["images"]:
            for key in ("5", "5", "1", "1", "ArrowRight"):
                page.keyboard.press(key)
        page.check("input[name=decision][value=approve]")
        page.fill("#secret", ADA.text)
        with page.expect_download() as download:
            page.click("#save")
        saved = Path(download.value.path()).read_bytes()
    assert "physician" not in office.reviews()["approvals"]
    tampered = saved.replace(b"approve", b"abstain")
    assert tampered != saved
    assert "bad_signature (1)" in failure(office.land("tampered", {"verdict.json": tampered}))
    assert office.land("browser", {"verdict.json": saved}).success
    assert len(office.reviews()["approvals"]["physician"]) == 1


def test_a_folder_without_a_verdict_that_counts_publishes_nothing_and_says_why(office: Office) -> None:
    result = office.land("bad", {"stranger.json": office.verdict(STRANGER)})
    assert "unknown_key (1): signed with a key that no reviewer has" in failure(result)
    assert "bad" not in office.store.tables.keys(REVIEWS)
    assert "The folder holds no verdict file" in failure(office.land("empty", {}))


def test_without_a_roster_nobody_reviews(office: Office) -> None:
    assert StoreResource.of(settings_at(office.settings.home)).roster().reviewers == ()


def test_the_sensor_asks_for_one_run_for_each_closed_folder(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.settings.landing.write("reviews/open/verdict.json", b"{}")
    office.settings.landing.write("reviews/closed/verdict.json", b"{}")
    landings.close(office.settings.landing, "reviews", "closed", {"label": "spring", "synthetic": True})
    sensor = next(sensor for sensor in REVIEW_SENSORS if sensor.name == "new_review_batches")
    with dg.build_sensor_context(
        instance=office.instance, definitions=office.definitions, resources={"store": office.store}
    ) as context:
        asked: Any = sensor(context)
        office.instance.add_dynamic_partitions(str(review_batches.name), ["spring"])
        again: Any = sensor(context)
    assert [(request.run_key, request.partition_key) for request in asked.run_requests] == [
        ("reviews:spring", "spring")
    ]
    assert again.skip_reason is not None and not again.run_requests
