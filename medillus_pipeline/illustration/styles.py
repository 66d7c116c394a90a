"""How each style of figure looks: sizes, what stands around the image, how the image itself is coloured.

Lengths are user units of the drawing, CSS pixels of 1/96 inch. What is not here: colours of structures (`palette.py`),
where things go (`composition.py`, `panels.py`).
"""

from dataclasses import dataclass
from typing import Literal

from medillus_pipeline.illustration.request import FigureRequest, Marks

MM = 96 / 25.4
"""User units to a millimetre on paper."""

Raster = Literal["grey", "shaded"]
Captions = Literal["full", "plain", "line"]
LegendColumns = Literal["codes", "key", "none"]


@dataclass(frozen=True)
class Look:
    """A style's measures.

    `label` is the size of the English names (Chinese ones are a little smaller), `text` of the caption and the legend,
    `small` of footer and notes; `stroke` multiplies every stroke's width. `most_labels` is how many structures are
    named at the image (the rest keep their outline), `most_drawn` how many are drawn at all; None: all. `numbered`
    writes numbers in place of names; `secret` tells no name in the file either. `plain_words` are for patients.
    `printed` is for paper: colours that inks give, black text. `width_mm` is the printed width where it is fixed.
    """

    width: float = 1180.0
    margin: float = 36.0
    image_width: float = 640.0
    image_height: float = 600.0
    label_width: float = 190.0
    gutter: float = 24.0
    label: float = 13.5
    text: float = 12.5
    small: float = 10.0
    title: float | None = 23.0
    stroke: float = 1.0
    ink: str = "#17202b"
    muted: str = "#5c6875"
    raster: Raster = "grey"
    marks: Marks = "outlines"
    caption: Captions = "full"
    legend: LegendColumns = "codes"
    most_labels: int | None = None
    most_drawn: int | None = None
    numbered: bool = False
    plain_words: bool = False
    secret: bool = False
    printed: bool = False
    width_mm: float | None = None

    @property
    def content(self) -> float:
        """Width between the margins."""
        return self.width - 2 * self.margin

    @property
    def line(self) -> float:
        """Height of a label's line."""
        return self.label * 1.26


_PAGE = {
    "radiology": Look(),
    "textbook": Look(raster="shaded"),
    "patient": Look(
        raster="grey",
        marks="fills",
        label=22.0,
        text=19.0,
        small=11.0,
        title=32.0,
        label_width=250.0,
        image_width=560.0,
        image_height=540.0,
        gutter=22.0,
        stroke=1.5,
        caption="plain",
        legend="none",
        most_drawn=5,
        plain_words=True,
    ),
    "quiz": Look(label=17.0, legend="none", numbered=True, secret=True, caption="line"),
}

PANEL = Look(
    label=11.0,
    text=11.5,
    image_width=310.0,
    image_height=300.0,
    label_width=92.0,
    gutter=14.0,
    stroke=0.8,
    most_labels=10,
)
"""One slice of a summary; the page is that of `radiology`."""

_PRINT = {
    85: Look(
        width=85 * MM,
        width_mm=85,
        margin=2.0,
        image_width=262.0,
        image_height=262.0,
        label_width=14.0,
        gutter=8.0,
        label=8.7,
        text=8.7,
        small=7.0,
        stroke=0.6,
        title=None,
        ink="#000000",
        muted="#444444",
        caption="line",
        legend="key",
        numbered=True,
        printed=True,
    ),
    180: Look(
        width=180 * MM,
        width_mm=180,
        margin=2.0,
        image_width=420.0,
        image_height=420.0,
        label_width=98.0,
        gutter=11.0,
        label=9.4,
        text=8.7,
        small=7.0,
        stroke=0.7,
        title=None,
        ink="#000000",
        muted="#444444",
        caption="line",
        legend="none",
        printed=True,
    ),
}


def look(request: FigureRequest) -> Look:
    """The look of a request's style. A summary's panels are laid out in `summary.py`."""
    if request.style == "journal":
        return _PRINT[request.journal_width_mm]
    return _PAGE.get(request.style, _PAGE["radiology"])
