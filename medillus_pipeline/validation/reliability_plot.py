"""The reliability diagram of the report: found share over confidence, the raw score beside it, and each structure.

Equal numbers give equal bytes. Nothing is computed here.
"""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from medillus_pipeline.validation.confidence import FOUND_DICE
from medillus_pipeline.validation.plots import COLOURS, STYLE
from medillus_pipeline.validation.reliability import Bin, Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_STRUCTURES = 24
LARGEST = 160.0
"""Area in square points of a bin that holds every structure."""


def reliability_plot(
    calibrated: Reliability,
    raw: Reliability,
    names: Mapping[int, str],
    *,
    kind: Literal["svg", "png"] = "svg",
) -> bytes:
    """SVG (or PNG) of the diagram. `names` gives the name of each vocabulary id; the structures that were drawn most
    often are shown, those with the lowest found share at the bottom.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    most = sorted(calibrated.by_structure, key=lambda s: (-calibrated.by_structure[s].instances, s))[:MOST_STRUCTURES]
    shown = sorted(most, key=lambda s: (calibrated.by_structure[s].found, names.get(s, str(s))))
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, max(4.8, 1.6 + 0.26 * len(shown))), layout="constrained")
        diagram, structures = figure.subplots(1, 2, width_ratios=(1, 1))
        _diagram(diagram, calibrated, raw)
        _structures(structures, calibrated, shown, names)
        handles, labels = diagram.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False)
        return _written(figure, kind)


def _diagram(axes: "Axes", calibrated: Reliability, raw: Reliability) -> None:
    axes.plot((0, 1), (0, 1), color="#9aa3af", linewidth=1, linestyle="--", label="ideal", zorder=1)
    axes.plot(
        [b.confidence for b in raw.bins],
        [b.found for b in raw.bins],
        color=COLOURS["shuffled"],
        marker="X",
        markersize=5,
        linewidth=1,
        alpha=0.8,
        label="raw score (uncalibrated)",
        zorder=2,
    )
    xs, ys = [b.confidence for b in calibrated.bins], [b.found for b in calibrated.bins]
    axes.errorbar(
        xs,
        ys,
        yerr=_reach(calibrated.bins),
        fmt="none",
        ecolor=COLOURS["generated"],
        elinewidth=1.6,
        zorder=3,
    )
    areas = [LARGEST * b.instances / calibrated.instances for b in calibrated.bins]
    axes.scatter(xs, ys, s=areas, color=COLOURS["generated"], label="calibrated confidence", alpha=0.85, zorder=4)
    axes.set_xlim(-0.02, 1.03)
    axes.set_ylim(-0.02, 1.03)
    axes.set_aspect("equal")
    axes.grid(color="#e5e7eb", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.set_xlabel("mean confidence of the bin (area: drawn structures)")
    axes.set_ylabel(f"share that the judge finds (Dice ≥ {FOUND_DICE:.1f})")


def _structures(axes: "Axes", calibrated: Reliability, shown: list[int], names: Mapping[int, str]) -> None:
    rows = [calibrated.by_structure[s] for s in shown]
    places = list(range(len(rows)))
    axes.errorbar(
        [b.found for b in rows],
        places,
        xerr=_reach(rows),
        fmt="D",
        color=COLOURS["real"],
        markersize=4.5,
        elinewidth=1.4,
        label="found share of a structure",
        zorder=2,
    )
    axes.scatter(
        [b.confidence for b in rows],
        places,
        color=COLOURS["generated"],
        s=26,
        marker="o",
        label="its mean confidence",
        zorder=3,
    )
    axes.set_yticks(places, [f"{names.get(s, str(s))} ({b.instances})" for s, b in zip(shown, rows, strict=True)])
    axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    axes.set_xlim(-0.02, 1.03)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.set_xlabel("found share, 95% (dark), confidence (blue)")


def _reach(bins: "tuple[Bin, ...] | list[Bin]") -> list[list[float]]:
    """Distances from the found share to the ends of its interval, (2, bins)."""
    return [[b.found - b.low for b in bins], [b.high - b.found for b in bins]]


def _written(figure: "Figure", kind: Literal["svg", "png"]) -> bytes:
    sink = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(sink, format=kind, metadata=metadata, dpi=110)
    return sink.getvalue()
