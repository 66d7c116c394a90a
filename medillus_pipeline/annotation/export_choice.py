"""Which slices go out to annotators, and with which drawing: the masks in force with their layers, or proposals.

Works on rows of tables; no pixel is read here. Which mask of a slice is in force is decided in
`generation/selection.py`, what a model proposes in `generation/proposals.py`.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medillus_pipeline.errors import InputError

Row = dict[str, Any]


@dataclass(frozen=True)
class Proposed:
    """What a model drew: `label_map` (rows, columns) uint8 vocabulary ids, `confidence` of each (0 to 1), and how
    uncertain it was of the slice, 0 to 1.
    """

    label_map: np.ndarray
    confidence: Mapping[int, float]
    uncertainty: float


@dataclass(frozen=True)
class Chosen:
    """A slice that goes out: its row of SLICES, its row of MASKS (None where nothing but layers, or a model's proposal,
    lies on it), and its rows of MASK_LAYERS.
    """

    slice: Row
    mask: Row | None = None
    layers: Sequence[Row] = field(default=())
    proposed: Proposed | None = None

    @property
    def series(self) -> str:
        """The Series Instance UID."""
        return self.slice["series_instance_uid"]


def choose(
    slices: Iterable[Row],
    masks: Iterable[Row],
    layers: Iterable[Row],
    in_force: Callable[[Iterable[Row]], Mapping[str, Row]],
    *,
    series: Collection[str] = (),
    patients: Collection[str] = (),
    batch: str | None = None,
    annotator: str | None = None,
) -> list[Chosen]:
    """The slices with a drawing in force, of all series and patients unless some are named, by slice name.

    Rows of MASKS and MASK_LAYERS carry their `partition`. `batch` keeps the slices that it drew on, whoever's drawing
    is in force there now; `annotator` takes that one's drawings alone. Raises InputError, naming what to change, when
    something named does not exist or nothing is left.
    """
    of_slice = {row["slice_name"]: row for row in reversed(list(slices))}
    refuse_unknown(of_slice.values(), series, patients)
    masks, layers = list(masks), list(layers)
    drawn = [*masks, *layers]
    _known("--batch", [batch] if batch else [], {row["partition"] for row in drawn})
    _known("--annotator", [annotator] if annotator else [], {row["annotator"] for row in drawn})
    beside: dict[tuple[str, str, int], dict[int, Row]] = defaultdict(dict)
    for row in layers:
        beside[_identity(row)].setdefault(row["label"], row)
    with_mask = {_identity(row) for row in masks}
    alone = [next(iter(of_place.values())) for place, of_place in beside.items() if place not in with_mask]
    candidates = [row for row in [*masks, *alone] if annotator in (None, row["annotator"])]
    here = {row["slice_name"] for row in drawn if row["partition"] == batch}
    found = []
    for name, row in sorted(in_force(candidates).items()):
        shown = of_slice.get(name)
        if shown is None or (batch and name not in here):
            continue
        if wanted(shown, series, patients):
            mask = row if _identity(row) in with_mask else None
            found.append(Chosen(shown, mask, tuple(beside[_identity(row)].values())))
    if not found:
        raise InputError("no mask fits the choice: leave out one of --series, --patient, --batch and --annotator")
    return found


def refuse_unknown(slices: Iterable[Row], series: Collection[str], patients: Collection[str]) -> None:
    """Raises InputError when a series or a patient that is named has no slice."""
    there = list(slices)
    _known("--series", series, {row["series_instance_uid"] for row in there})
    _known("--patient", patients, {row["patient"] for row in there})


def wanted(row: Row, series: Collection[str], patients: Collection[str]) -> bool:
    """Whether a slice is of a series and a patient that are named; where none is named, any is."""
    return (not series or row["series_instance_uid"] in series) and (not patients or row["patient"] in patients)


def _identity(row: Row) -> tuple[str, str, int]:
    return row["slice_name"], row["annotator"], row["revision"]


def _known(option: str, named: Collection[str], there: Collection[str]) -> None:
    missing = [name for name in named if name not in there]
    if missing:
        raise InputError(
            f"{option}: {len(missing)} of {len(named)} named cannot be found among what is published; "
            "nothing was done. Tables and receipts show the names"
        )
