"""Clean reviews pass, and every expectation of their suite has a defect that trips it."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from medillus_pipeline.quality.gate import audit
from medillus_pipeline.quality.review_suites import reviews
from medillus_pipeline.review.verdict import Verdict, read_verdict, rows_of
from medillus_pipeline.tables import REVIEWS
from medillus_pipeline_tests.quality.test_gate import CANARY, changed
from medillus_pipeline_tests.review.sheets import ADA, BO, NOW, key_of, roster, sheet, verdict_file

OUT_OF_BOUNDS: dict[str, dict[str, Any]] = {
    "roles_listed": {"roles": ["surgeon"]},
    "anatomy": {"anatomy": 6},
    "realism": {"realism": 0},
    "structures_ascend": {"structures": [5, 1]},
    "wrong_ascend": {"wrong_structures": [5, 1]},
    "wrong_are_shown": {"wrong_structures": [99]},
    "comment_characters": {"comment_characters": 501},
    "comment_counted": {"comment": "a text", "comment_characters": 0},
    "reviewers_of_verdict": {"reviewer": "r-00000000"},
    "versions_of_sheet": {"model_version": "4"},
    "weights_of_sheet": {"weights_sha256": "0" * 64},
    "decisions_of_verdict": {"decision": "reject"},
    "origins_of_image": {"origin": "real"},
}


def frame() -> pd.DataFrame:
    """Two verdicts on six images, as the asset hands them over."""
    shown, rows = sheet(), []
    for signer in (ADA, BO):
        found = read_verdict(verdict_file(shown, signer), roster(), key_of(shown), now=NOW)
        assert isinstance(found, Verdict)
        rows += rows_of(found, keep_comments=True)
    return REVIEWS.to_arrow(rows).to_pandas()


def defective(clean: pd.DataFrame, kind: str, column: str) -> pd.DataFrame:
    match kind:
        case "expect_table_row_count_to_be_between":
            return clean.head(0)
        case "expect_compound_columns_to_be_unique":
            return pd.concat([clean, clean.head(1)], ignore_index=True)
        case "expect_column_values_to_not_be_null":
            return changed(clean, {column: None})
        case "expect_column_values_to_match_regex" | "expect_column_values_to_be_in_set":
            return changed(clean, {column: CANARY})
    if column == "origins_of_image":
        other = "generated" if clean["origin"].iloc[0] == "real" else "real"
        return changed(clean, {"origin": other})
    return changed(clean, OUT_OF_BOUNDS[column])


def test_what_reviewers_signed_passes() -> None:
    outcome = audit(reviews, frame())
    assert outcome.passed, outcome.broken
    assert len(outcome.results) == len(reviews.expectations)


@pytest.mark.parametrize("number", range(len(reviews.expectations)))
def test_every_expectation_has_a_defect_that_trips_it(number: int) -> None:
    expectation = reviews.expectations[number]
    alone = replace(reviews, expectations=[expectation])
    (outcome,) = audit(alone, defective(frame(), expectation.type, expectation.column)).results
    assert not outcome.success and outcome.unexpected and not outcome.raised, outcome


def test_the_suite_covers_every_column_that_must_be_filled() -> None:
    filled = {e.column for e in reviews.expectations if e.type == "expect_column_values_to_not_be_null"}
    assert filled == {column.name for column in REVIEWS.columns if not column.nullable}
