"""The page says what the JSON says, needs nothing from outside, and escapes what it is given."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import pytest

from medillus_pipeline.validation import controls
from medillus_pipeline.validation.evaluate import EvaluationConfig, evaluate
from medillus_pipeline.validation.figures import MAIN, display, figures_json
from medillus_pipeline.validation.gates import judge_gates, load_profile
from medillus_pipeline.validation.report import Provenance, Report, build_report
from medillus_pipeline_tests.validation import anatomy
from medillus_pipeline_tests.validation.test_gates import OTHERS, REAL, TEXTURE, mask_painter

PROVENANCE = Provenance(
    model="medillus-generator",
    model_version="3",
    dataset_fingerprint="ab" * 32,
    split_sha256="cd" * 32,
    judge_sha256="ef" * 32,
    code_version="0.1.0",
    date="2026-01-01T02:00:00Z",
    split="validation",
    splits={"train": 8, "judge": 3, "validation": 3, "locked_test": 2},
)


def reported(sample=anatomy.good, provenance: Provenance = PROVENANCE, organs=anatomy.ORGANS, profile="demo") -> Report:
    """A report on the synthetic cohort."""
    evaluation = evaluate(
        REAL.values, REAL.class_maps, REAL.patients, REAL.levels, organs, sample=sample, judge=anatomy.OracleJudge(),
        texture=TEXTURE, seed=1, config=EvaluationConfig(examples=3, draws=200),
    )  # fmt: skip
    return build_report(evaluation, judge_gates(load_profile(profile), evaluation.figures), provenance)


@pytest.fixture(scope="module")
def report() -> Report:
    """The report of a good generator."""
    return reported()


class Figures(HTMLParser):
    """Collects (key, value attribute, text) of every `data` element, and all addresses and script types."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str | None, str]] = []
        self.addresses: list[str] = []
        self.open: tuple[str, str | None] | None = None
        self.document = ""
        self.in_script = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.addresses += [named[name] or "" for name in ("src", "href") if name in named]
        if tag == "data":
            self.open = (named["data-figure"] or "", named.get("value"))
        if tag == "script":
            assert named == {"type": "application/json", "id": "report"}
            self.in_script = True

    def handle_endtag(self, tag):
        self.in_script = self.in_script and tag != "script"

    def handle_data(self, data):
        if self.open:
            self.found.append((*self.open, data))
            self.open = None
        if self.in_script:
            self.document += data


def test_every_figure_on_the_page_is_that_of_the_json(report):
    found = Figures(report.html).found
    assert len(found) > 60
    for key, value, text in found:
        assert text == display(key, report.figures.get(key))
        assert (None if value is None else float(value)) == report.figures.get(key)


def test_the_page_carries_the_same_document_as_the_json(report):
    assert json.loads(Figures(report.html).document) == json.loads(json.dumps(report.document))
    assert report.document["figures"] == report.figures


def test_the_four_main_figures_and_their_intervals_are_shown(report):
    shown = {key for key, value, _ in Figures(report.html).found if value is not None}
    assert shown >= {f"{key}{bound}" for key in MAIN for bound in ("", "_low", "_high")}


def test_the_page_asks_nothing_of_the_network(report):
    addresses = Figures(report.html).addresses
    assert addresses
    assert all(address.startswith("data:image/") for address in addresses)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", report.html)


def test_text_from_outside_is_escaped():
    hostile = '<script>alert("1")</script>&'
    organs = (dataclasses.replace(anatomy.ORGANS[0], name_en=hostile, name_zh=hostile), *anatomy.ORGANS[1:])
    provenance = dataclasses.replace(PROVENANCE, model=hostile, details={hostile: hostile})
    page = reported(provenance=provenance, organs=organs).html
    assert "<script>alert" not in page
    assert page.count("<script") == 1
    Figures(page)


def test_equal_inputs_give_the_same_bytes(report):
    assert reported().html == report.html


def test_figures_are_finite_floats_and_the_rest_is_left_out():
    found = figures_json({"mae": 2, "ssim": math.nan, "dice_recovery": math.inf})
    assert found == {"mae": 2.0}
    assert isinstance(found["mae"], float)


def test_metric_names_are_ones_that_mlflow_takes(report):
    assert all(re.fullmatch(r"[\w./ -]+", key) and len(key) <= 250 for key in report.figures)


def test_the_demo_says_that_it_asks_for_no_human_review(report):
    assert "This profile asks for no human review" in report.html


def test_a_failed_report_names_the_gates_in_its_verdict():
    failed = reported(sample=mask_painter)
    assert failed.document["verdict"]["status"] == "failed"
    assert "Not to be promoted" in failed.html
    assert "Judge Dice on generated images" in failed.document["verdict"]["sentence"]


def test_a_report_on_one_patient_renders_with_dashes():
    one = anatomy.cohort(patients=1)
    evaluation = evaluate(
        one.values, one.class_maps, one.patients, one.levels, anatomy.ORGANS, sample=anatomy.good,
        judge=anatomy.OracleJudge(), texture=TEXTURE, seed=1, config=EvaluationConfig(draws=100),
    )  # fmt: skip
    found = build_report(evaluation, judge_gates(load_profile("demo"), evaluation.figures), PROVENANCE)
    assert ("dice_recovery", None, "–") in Figures(found.html).found
    assert found.document["verdict"]["status"] == "inconclusive"


def test_an_organ_that_never_occurs_is_listed_as_not_measured():
    organs = (*anatomy.ORGANS, dataclasses.replace(anatomy.ORGANS[0], key="tail", name_en="tail"))
    evaluation = evaluate(
        REAL.values, REAL.class_maps, REAL.patients, REAL.levels, organs, sample=anatomy.good,
        judge=anatomy.OracleJudge(), seed=1, config=EvaluationConfig(draws=100),
        texture=controls.label_statistics(OTHERS.values, OTHERS.class_maps, len(organs)),
    )  # fmt: skip
    assert any("tail" in remark for remark in evaluation.remarks)
    page = build_report(evaluation, judge_gates(load_profile("demo"), evaluation.figures), PROVENANCE).html
    assert ("judge_dice_real/tail", None, "–") in Figures(page).found
