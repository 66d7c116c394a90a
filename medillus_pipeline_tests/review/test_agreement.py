"""Kappas are those of the books, intervals do not flatter, and figures count people and images, not rows."""

from typing import Any

import numpy as np
import pytest

from medillus_pipeline.review.agreement import cohen_kappa, figures, fleiss_kappa, wilson

FLEISS_1971 = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def test_cohen_by_hand() -> None:
    """20 + 15 of 50 agree (0.7); chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5."""
    first = [0] * 25 + [1] * 25
    second = [0] * 20 + [1] * 5 + [0] * 10 + [1] * 15
    assert cohen_kappa(first, second, 2) == pytest.approx(0.4)


def test_weighted_cohen_by_hand() -> None:
    """Squared distances seen: (0 + 1 + 4) / 3 = 15/9. By chance, 0 (2/3) meets 0 (1/3) or 2 (2/3), 1 (1/3) likewise:
    2/3 * 2/3 * 4 + 1/3 * (1/3 + 2/3) * 1 = 19/9. So kappa is 1 - 15/19.
    """
    assert cohen_kappa([0, 1, 0], [0, 2, 2], 3, weighted=True) == pytest.approx(4 / 19)


def test_both_kappas_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 5, 60), rng.integers(0, 5, 60)
    assert cohen_kappa(first.tolist(), second.tolist(), 5) == pytest.approx(metrics.cohen_kappa_score(first, second))
    weighted = metrics.cohen_kappa_score(first, second, weights="quadratic")
    assert cohen_kappa(first.tolist(), second.tolist(), 5, weighted=True) == pytest.approx(weighted)


def test_fleiss_of_his_example() -> None:
    """The worked example of ten subjects and fourteen raters: 0.210."""
    assert fleiss_kappa(np.array(FLEISS_1971)) == pytest.approx(0.210, abs=5e-4)


def test_full_agreement_is_one_and_what_chance_explains_is_no_figure() -> None:
    assert cohen_kappa([0, 1], [0, 1], 2) == 1
    assert fleiss_kappa(np.array([[3, 0], [0, 3]])) == 1
    assert cohen_kappa([1, 1], [1, 1], 2) is None
    assert fleiss_kappa(np.array([[3, 0], [3, 0]])) is None
    assert cohen_kappa([], [], 2) is None and fleiss_kappa(np.zeros((0, 2))) is None
    with pytest.raises(ValueError, match="equally many"):
        fleiss_kappa(np.array([[3, 0], [1, 1]]))


def test_an_interval_of_nothing_wrong_is_not_empty() -> None:
    """Wilson for 0 of 10: upper bound z² / (n + z²)."""
    assert wilson(0, 10) == pytest.approx((0, 3.8415 / 13.8415), abs=1e-4)
    assert wilson(0.5, 0) == (0, 1)


def row(reviewer: str, image: int, origin: str, said: str, **changes: Any) -> dict[str, Any]:
    return {
        "reviewer": reviewer,
        "verdict": "v-1",
        "image": f"{image}",
        "origin": origin,
        "said_origin": said,
        "anatomy": 4,
        "realism": 2,
        "labels_fit": "yes",
        "structures": [1, 5],
        "wrong_structures": [],
        "signed_at": "2026-03-04",
    } | changes


def test_shares_count_answers_and_intervals_count_images() -> None:
    rows = [row(who, image, "real", "generated" if image < 2 else "real") for who in "ab" for image in range(8)]
    found = figures(rows, str)["real_called_generated"]
    assert (found["share"], found["answers"], found["images"]) == (0.25, 16, 8)
    assert (found["low"], found["high"]) == wilson(0.25, 8)
    assert figures(rows, str)["generated_called_real"] is None


def test_the_latest_answer_of_a_reviewer_counts() -> None:
    rows = [row("a", 1, "real", "generated"), row("a", 1, "real", "real", signed_at="2026-03-05")]
    assert figures(rows, str)["real_called_generated"]["share"] == 0
    assert figures(rows[::-1], str) == figures(rows, str)


def test_one_reviewer_agrees_with_nobody_two_by_cohen_three_by_fleiss() -> None:
    said = {"a": "rgrg", "b": "rgrg", "c": "rgrg"}
    names = {"r": "real", "g": "generated"}
    for count, method in ((1, "none: one reviewer"), (2, "Cohen"), (3, "Fleiss")):
        rows = [row(who, i, "real", names[s]) for who in list(said)[:count] for i, s in enumerate(said[who])]
        found = figures(rows, str)["agreement"]["origin"]
        assert found["method"] == method and found["images"] == 4
        assert found["kappa"] == (None if count == 1 else 1)


def test_anatomy_is_told_by_structure_among_images_that_show_it() -> None:
    rows = [
        row("a", 1, "generated", "real", wrong_structures=[5]),
        row("a", 2, "generated", "real"),
        row("a", 3, "generated", "real", structures=[1]),
    ]
    found = figures(rows, lambda label: {1: "spleen", 5: "liver"}[label])["structures"]
    assert found["liver"]["generated"]["share"] == 0.5 and found["liver"]["generated"]["images"] == 2
    assert found["spleen"]["generated"]["share"] == 1 and found["spleen"]["real"] is None
