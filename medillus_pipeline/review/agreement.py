"""What the verdicts on a model version say together: agreement of reviewers, confusion of real and generated, anatomy.

Cohen's kappa for two reviewers (Cohen 1960, Educ Psychol Meas 20:37), quadratic weights on scales (Cohen 1968, Psychol
Bull 70:213); Fleiss' kappa for more (Fleiss 1971, Psychol Bull 76:378). Intervals of shares are Wilson's (1927, JASA
22:209), 95 %, with the number of images as sample size: answers of several reviewers on one image are not independent,
and to count them all would flatter.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from medillus_pipeline.review.questions import QUESTIONS

Row = Mapping[str, Any]
COLUMNS = {"anatomy": "anatomy", "realism": "realism", "labels": "labels_fit", "origin": "said_origin"}
"""Question → column of the table `reviews`."""
Z95 = 1.959963984540054


def cohen_kappa(
    first: Sequence[int], second: Sequence[int], categories: int, *, weighted: bool = False
) -> float | None:
    """Kappa of two reviewers' categories (0 … categories - 1) of the same images; with quadratic weights on a scale.

    None without images, and where chance alone would agree fully (both always say the same one category).
    """
    if not len(first):
        return None
    table = np.zeros((categories, categories))
    np.add.at(table, (np.asarray(first), np.asarray(second)), 1 / len(first))
    steps = np.arange(categories)
    apart = np.abs(steps[:, None] - steps[None])
    distance = apart**2 if weighted else (apart > 0)
    expected = float((distance * np.outer(table.sum(1), table.sum(0))).sum())
    return None if expected <= 0 else 1 - float((distance * table).sum()) / expected


def fleiss_kappa(counts: np.ndarray) -> float | None:
    """Kappa of any number of reviewers; `counts` (images, categories) says how many chose what, equal sums per image.

    None without images, with fewer than two reviewers, and where everybody always says the same one category. Raises
    ValueError where images were not rated by equally many.
    """
    counts = np.asarray(counts, float)
    if not counts.size:
        return None
    raters = counts.sum(1)
    if len(set(raters.tolist())) > 1:
        raise ValueError("Fleiss' kappa needs equally many reviewers for every image")
    n = raters[0]
    chance = float(((counts.sum(0) / counts.sum()) ** 2).sum())
    if n < 2 or math.isclose(chance, 1):
        return None
    observed = float(((counts**2).sum(1) - n).mean() / (n * (n - 1)))
    return (observed - chance) / (1 - chance)


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share that was found in n independent trials; (0, 1) for none."""
    if not n:
        return 0.0, 1.0
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def figures(rows: Iterable[Row], structure_key: Callable[[int], str]) -> dict[str, Any]:
    """Everything of one model version as JSON values: kappas, shares with intervals, anatomy by structure.

    `rows` are rows of the table `reviews`; of each reviewer the latest answer on an image counts. `structure_key` names
    a vocabulary id. A figure that cannot be computed is None.
    """
    latest: dict[tuple[str, str], Row] = {}
    for row in sorted(rows, key=lambda row: (row["signed_at"], row["verdict"])):
        latest[row["reviewer"], row["image"]] = row
    answers = list(latest.values())
    of = {origin: [row for row in answers if row["origin"] == origin] for origin in ("real", "generated")}
    return {
        "reviewers": len({row["reviewer"] for row in answers}),
        "images": len({row["image"] for row in answers}),
        "agreement": {question.key: _agreement(latest, question.key) for question in QUESTIONS},
        "real_called_generated": _share(of["real"], lambda row: row["said_origin"] == "generated"),
        "generated_called_real": _share(of["generated"], lambda row: row["said_origin"] == "real"),
        "could_not_tell": _share(answers, lambda row: row["said_origin"] == "unsure"),
        **{
            f"{what}_{origin}": _share(of[origin], test)
            for origin in of
            for what, test in (
                ("anatomy_correct", lambda row: row["anatomy"] >= 4),
                ("realistic", lambda row: row["realism"] >= 4),
                ("labels_fit", lambda row: row["labels_fit"] == "yes"),
            )
        },
        "structures": _by_structure(of, structure_key),
    }


def _agreement(latest: Mapping[tuple[str, str], Row], question: str) -> dict[str, Any]:
    """Kappa over the images that all reviewers answered, with its name, and on how many images it stands."""
    reviewers = sorted({reviewer for reviewer, _ in latest})
    found = next(q for q in QUESTIONS if q.key == question)
    values = list(found.answers)
    seen = [{image for reviewer, image in latest if reviewer == one} for one in reviewers]
    common = sorted(set.intersection(*seen)) if seen else []
    rated = [[values.index(str(latest[one, image][COLUMNS[question]])) for image in common] for one in reviewers]
    if len(reviewers) < 2:
        return {"kappa": None, "method": "none: one reviewer" if reviewers else "none", "images": len(common)}
    if len(reviewers) == 2:
        kappa = cohen_kappa(rated[0], rated[1], len(values), weighted=found.scale)
        return {"kappa": kappa, "method": "Cohen, quadratic" if found.scale else "Cohen", "images": len(common)}
    counts = np.array([np.bincount([r[i] for r in rated], minlength=len(values)) for i in range(len(common))])
    return {"kappa": fleiss_kappa(counts), "method": "Fleiss", "images": len(common)}


def _share(rows: Sequence[Row], test: Callable[[Row], bool]) -> dict[str, Any] | None:
    if not rows:
        return None
    images = len({row["image"] for row in rows})
    share = sum(map(test, rows)) / len(rows)
    low, high = wilson(share, images)
    return {"share": share, "low": low, "high": high, "answers": len(rows), "images": images}


def _by_structure(of: Mapping[str, Sequence[Row]], structure_key: Callable[[int], str]) -> dict[str, Any]:
    """Per structure and origin the share of answers that do not call it wrong, among the images that show it."""
    shown = sorted(set(chain.from_iterable(row["structures"] for rows in of.values() for row in rows)))
    return {
        structure_key(label): {
            origin: _share(
                [row for row in rows if label in row["structures"]],
                lambda row, label=label: label not in row["wrong_structures"],
            )
            for origin, rows in of.items()
        }
        for label in shown
    }
