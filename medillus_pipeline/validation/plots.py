"""The report's plots as SVG bytes: Dice per organ beside its controls, and HU per organ beside the real one.

Drawn without pyplot, so no global state is touched. Equal figures give equal bytes: fixed salt, no date.
"""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from medillus_pipeline.validation.measures import Organ

COLOURS = {"real": "#1f2937", "generated": "#1d6fb8", "shuffled": "#c2570c", "texture": "#8a94a3"}
MARKERS = {"real": "D", "generated": "o", "shuffled": "X", "texture": "s"}
NAMES = {
    "real": "real images",
    "generated": "generated images",
    "shuffled": "another patient's mask",
    "texture": "Gaussian texture",
}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "medillus",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": "#9aa3af",
    "xtick.color": "#4b5563",
    "ytick.color": "#1f2937",
    "axes.labelcolor": "#4b5563",
}


def dice_plot(figures: Mapping[str, float], organs: Sequence["Organ"]) -> bytes:
    """SVG of the judge's Dice by organ (best first): real, generated with its interval, and the two controls."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shown = _measured(figures, organs, "judge_dice_generated")
    shown.sort(key=lambda organ: figures[f"judge_dice_generated/{organ.key}"])
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.3 + 0.32 * max(len(shown), 1)), layout="constrained")
        axes = figure.add_subplot()
        for source in ("texture", "shuffled", "real", "generated"):
            rows = [(i, figures.get(f"judge_dice_{source}/{organ.key}", math.nan)) for i, organ in enumerate(shown)]
            xs, ys = [value for _, value in rows], [row for row, _ in rows]
            axes.scatter(xs, ys, color=COLOURS[source], marker=MARKERS[source], s=34, label=NAMES[source], zorder=3)
        for row, organ in enumerate(shown):
            bounds = [figures.get(f"judge_dice_generated_{end}/{organ.key}", math.nan) for end in ("low", "high")]
            axes.plot(bounds, [row, row], color=COLOURS["generated"], linewidth=2, alpha=0.45, zorder=2)
        _organ_axis(axes, shown)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("Dice of the judge's segmentation (bar: bootstrap 95% interval over patients)")
        figure.legend(loc="outside upper left", ncols=4, frameon=False, handletextpad=0.2, columnspacing=1.4)
        return _svg(figure)


def hu_plot(figures: Mapping[str, float], organs: Sequence["Organ"]) -> bytes:
    """SVG of mean HU ± standard deviation by organ, real and generated, and the difference of the means."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shown = _measured(figures, organs, "hu_mean_generated")
    shown.sort(key=lambda organ: figures[f"hu_mean_real/{organ.key}"])
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.3 + 0.36 * max(len(shown), 1)), layout="constrained")
        absolute, difference = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for source, offset in (("real", 0.14), ("generated", -0.14)):
            mean = [figures[f"hu_mean_{source}/{organ.key}"] for organ in shown]
            spread = [figures.get(f"hu_sd_{source}/{organ.key}", math.nan) for organ in shown]
            absolute.errorbar(
                mean,
                [row + offset for row in range(len(shown))],
                xerr=spread,
                fmt=MARKERS[source],
                color=COLOURS[source],
                markersize=5,
                elinewidth=1.6,
                label=NAMES[source],
            )
        gaps = [figures[f"hu_mean_generated/{organ.key}"] - figures[f"hu_mean_real/{organ.key}"] for organ in shown]
        difference.barh(range(len(shown)), gaps, color=COLOURS["generated"], height=0.5, zorder=2)
        difference.axvline(0, color="#4b5563", linewidth=1)
        reach = 1.15 * max([abs(gap) for gap in gaps], default=1.0) + 1
        difference.set_xlim(-reach, reach)
        for axes in (absolute, difference):
            _organ_axis(axes, shown)
        absolute.set_xlabel("HU, mean ± standard deviation")
        difference.set_xlabel("generated minus real, HU")
        figure.legend(*absolute.get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False)
        return _svg(figure)


def _measured(figures: Mapping[str, float], organs: Sequence["Organ"], name: str) -> list["Organ"]:
    return [organ for organ in organs if math.isfinite(figures.get(f"{name}/{organ.key}", math.nan))]


def _organ_axis(axes: "Axes", organs: Sequence["Organ"]) -> None:
    axes.set_yticks(range(len(organs)), [organ.name_en for organ in organs])
    axes.set_ylim(-0.6, max(len(organs), 1) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)


def _svg(figure: "Figure") -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    return sink.getvalue()
