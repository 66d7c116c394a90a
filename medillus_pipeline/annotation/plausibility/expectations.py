"""What is expected of a structure: its tissue, size, and whether it is one piece. The table is `plausible.csv`.

HU ranges of the tissues are here, because many structures share one. What is not here: sides, which follow from the
vocabulary's laterality (`sides.py`), and thresholds that hold for every structure (`limits.py`).
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from medillus_pipeline.errors import ConfigurationError

TABLE = Path(__file__).with_name("plausible.csv")


@dataclass(frozen=True)
class Tissue:
    """Median HU of a structure: `low` … `high` is usual, beyond `least` … `greatest` (None: no such end) it cannot be.

    `gas`: holds air, so that on a slice whose edge cuts it, it lies open to the outside.
    """

    low: float
    high: float
    least: float | None = None
    greatest: float | None = None
    gas: bool = False


SURELY_GAS = -300.0
"""HU below which a median means lung or gas: fat, the lightest solid tissue, is at -120 … -60."""
SURELY_DENSE = 700.0
"""HU above which a median means bone, metal or pure contrast medium: no enhanced parenchyma reaches half of it."""

TISSUES: dict[str, Tissue] = {
    # Aerated lung is at -900 … -700; emphysema and expiration widen it. Collapsed, consolidated or replaced by fluid it
    # is soft tissue from end to end: no value is impossible.
    "lung": Tissue(-970, -500, gas=True),
    # The wall is drawn too, so thick slices lift the median above air's -1000; mucus or a tumour may fill the lumen.
    "airway": Tissue(-1050, -500, greatest=200, gas=True),
    # Stomach, bowel, gullet, larynx: anything from gas to positive oral contrast medium.
    "hollow": Tissue(-1030, 600, gas=True),
    # Brain, cord, wall of the pelvis: water 0, muscle 60, enhanced 150.
    "soft": Tissue(-50, 200, SURELY_GAS, SURELY_DENSE),
    # Eye and breast may hold gas: a tamponade, a tissue expander.
    "chamber": Tissue(-150, 200, greatest=SURELY_DENSE),
    # Parotid, thymus, pancreas, ageing muscle: soft tissue with fat between.
    "fatty": Tissue(-150, 200, SURELY_GAS, SURELY_DENSE),
    # Kidney, spleen, liver, thyroid: the arterial phase lifts a cortex above 300; a fatty liver is below 0. A kidney
    # dilated by contrast medium and a calcified spleen have no upper end.
    "perfused": Tissue(-50, 400, SURELY_GAS),
    # Undiluted contrast medium in a vein or a heart chamber has no upper end.
    "blood": Tissue(-50, 700, SURELY_GAS),
    # Urine and bile: 0 … 30, any height once contrast medium is excreted, and gas after a catheter or an infection.
    "fluid": Tissue(-50, 700),
    # Spongy bone of the aged is near 50, a jaw near 1000; fatty marrow pulls down.
    "bone": Tissue(20, 1800, SURELY_GAS),
    "cartilage": Tissue(0, 800, SURELY_GAS),
    # Gas may lie in fat under the skin.
    "fat": Tissue(-150, -30, greatest=200),
}


@dataclass(frozen=True)
class Expectation:
    """A row of `plausible.csv`, or nothing expected.

    `tissue` is a key of TISSUES or None; `connected` says that it is one piece that shows on every slice between its
    ends; `reaches_out` that it may lie at or beyond the skin; `volume` (ml) and the greatest `area` (cm², axial
    slice) bound its size, None where no source gives them.
    """

    tissue: Tissue | None = None
    connected: bool = False
    reaches_out: bool = True
    volume: tuple[float, float] | None = None
    area: float | None = None


def read(path: Path) -> dict[str, Expectation]:
    """Expectations by structure key. Raises ConfigurationError for an unknown tissue, a range that is none, a word
    other than yes or no, a key used twice, or a size without its source.
    """
    found: dict[str, Expectation] = {}
    for row in csv.DictReader(path.read_text("utf-8").splitlines()):
        key = row["key"]
        if key in found:
            raise ConfigurationError(f"plausible.csv: {key} stands twice")
        if row["tissue"] and row["tissue"] not in TISSUES:
            raise ConfigurationError(f"plausible.csv: {key} has the unknown tissue {row['tissue']!r}")
        if {row["connected"], row["reaches_out"]} - {"yes", "no"}:
            raise ConfigurationError(f"plausible.csv: connected and reaches_out of {key} are yes or no")
        low, high, area = (float(row[name]) if row[name] else None for name in ("ml_low", "ml_high", "cm2_high"))
        if (low is None) != (high is None) or (low is not None and high is not None and not 0 <= low < high):
            raise ConfigurationError(f"plausible.csv: the volume of {key} is no range")
        if (low is not None and not row["ml_source"]) or (area is not None and not row["cm2_source"]):
            raise ConfigurationError(f"plausible.csv: a size of {key} has no source")
        found[key] = Expectation(
            tissue=TISSUES.get(row["tissue"]),
            connected=row["connected"] == "yes",
            reaches_out=row["reaches_out"] == "yes",
            volume=None if low is None or high is None else (low, high),
            area=area,
        )
    return found


@cache
def load() -> dict[str, Expectation]:
    """The expectations that this release ships, read once per process."""
    return read(TABLE)
