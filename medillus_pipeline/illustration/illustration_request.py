"""The one request for a figure, the same for the command line, Dagster's configuration, the studio and Python.

What it says is checked for its form alone. What is not here: what becomes of it (`illustrate.py`), and the request of
one drawing, with its arrays and provenance (`request.py`).
"""

import re
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from medillus_pipeline.dicom.windows import PRESETS, Window
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.request import Language, Marks, PaletteName, Style

Format = Literal["svg", "png", "pdf", "dicom", "html"]
Way = Literal["mask", "sketch", "text", "scan"]
FORMATS: tuple[Format, ...] = get_args(Format)
ENDINGS: dict[Format, str] = {"svg": ".svg", "png": ".png", "pdf": ".pdf", "dicom": ".dcm", "html": ".html"}
"""The ending of each format's file."""

MOST_CANDIDATES = 16
LONGEST_TEXT = 1000
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_CUSTOM_WINDOW = re.compile(r"(?P<center>-?\d+(?:\.\d+)?)/(?P<width>\d+(?:\.\d+)?)")


class IllustrationRequest(BaseModel):
    """What a person asks for. One way in, or a text beside a mask or a sketch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$",
        description="Name of the request, for files and tables; a pseudonym, never an identified value.",
    )
    mask: Path | None = Field(
        default=None, description="Label map: PNG with vocabulary ids, one slice as NIfTI, or .npy."
    )
    sketch: Path | None = Field(default=None, description="Hand drawing: PNG, JPEG or SVG.")
    text: str | None = Field(
        default=None, min_length=1, max_length=LONGEST_TEXT, description="A sentence in Chinese or English."
    )
    scan: str | None = Field(
        default=None, min_length=1, description="Name of a published slice, or path of a NIfTI or PNG."
    )
    complete: bool | None = Field(
        default=None,
        description="Whether the mask or sketch shows all that is there: true, what it lacks is absent; false, it may "
        "be there unseen. Unset: a mask is complete where it shows at least half of what is usual at its level, a "
        "sketch never is, a text always.",
    )
    pixel_size: float | None = Field(
        default=None,
        gt=0.001,
        le=100,
        description="Side of a pixel of the mask or PNG scan in mm; unset: that of its file, or its longer side spans "
        "the model's field of view.",
    )
    structures: tuple[str, ...] = Field(
        default=(), max_length=120, description="Structures to name, by vocabulary key; empty: all that are drawn."
    )
    modality: str | None = Field(default=None, max_length=16, description="DICOM Modality: CT, MR.")
    body_part: str | None = Field(default=None, max_length=16, description="BodyPartExamined, such as ABDOMEN.")
    level: float | None = Field(default=None, ge=0, le=1, description="Position along the body, 0 feet to 1 head.")
    contrast_phase: str | None = Field(default=None, max_length=64, description="Contrast phase: portal_venous …")
    pathology: str | None = Field(default=None, max_length=64, description="A pathology to show, by its key.")
    stage: str | None = Field(default=None, max_length=32, description="Stage of the disease.")
    flip: bool = Field(default=False, description="Mirror the mask or sketch before it is read.")
    legend: dict[str, str] = Field(
        default_factory=dict, description="Colours of a sketch's strokes: #rrggbb → structure."
    )
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="Seed; candidate i is drawn with seed + i, as it would be alone."
    )
    candidates: int = Field(
        default=4, ge=1, le=MOST_CANDIDATES, description="Images drawn, of which the best that passes is taken."
    )
    steps: int | None = Field(default=None, ge=1, le=1000, description="Sampling steps; unset: those of a release.")
    guidance: float = Field(
        default=1.0, ge=0, le=20, description="How many times to take what attributes change; 1 as learned."
    )
    style: Style = Field(default="radiology", description="For whom the figure is.")
    marks: Marks | None = Field(default=None, description="Outlines or fills; unset: as the style has it.")
    palette: PaletteName = Field(default="vocabulary", description="Colours of the structures.")
    language: Language = Field(default="both", description="Languages of names and captions.")
    window: str | None = Field(
        default=None,
        description=f"Window: {', '.join(PRESETS)}, or CENTRE/WIDTH in HU, such as 40/400; unset: the modality's.",
    )
    formats: tuple[Format, ...] = Field(default=("svg", "png"), min_length=1, description="Files to be written.")

    @field_validator("legend")
    @classmethod
    def _colours(cls, legend: dict[str, str]) -> dict[str, str]:
        if bad := [colour for colour in legend if not _COLOUR.fullmatch(colour)]:
            raise ValueError(f"{', '.join(bad[:3])}: a colour of the legend is written #rrggbb")
        return {colour.lower(): key for colour, key in legend.items()}

    @field_validator("window")
    @classmethod
    def _window(cls, text: str | None) -> str | None:
        if text is not None and text not in PRESETS:
            match = _CUSTOM_WINDOW.fullmatch(text)
            if match is None or float(match["width"]) < 1:
                raise ValueError(f"a window is {', '.join(PRESETS)}, or CENTRE/WIDTH with a width of 1 or more")
        return text

    @field_validator("formats")
    @classmethod
    def _once(cls, formats: tuple[Format, ...]) -> tuple[Format, ...]:
        return tuple(name for name in FORMATS if name in formats)

    @model_validator(mode="after")
    def _ways_in(self) -> Self:
        given = [name for name in ("mask", "sketch", "text", "scan") if getattr(self, name) is not None]
        if not given:
            raise ValueError("give a mask, a sketch, a text or a scan to make a figure of")
        if given not in (["mask"], ["sketch"], ["text"], ["scan"], ["mask", "text"], ["sketch", "text"]):
            raise ValueError(f"{' and '.join(given)} cannot be combined: a text may stand beside a mask or a sketch")
        if self.legend and self.sketch is None:
            raise ValueError("a legend of colours is for a sketch")
        if self.flip and self.mask is None and self.sketch is None:
            raise ValueError("only a mask or a sketch can be flipped")
        return self

    @classmethod
    def parsed(cls, given: dict[str, Any]) -> "IllustrationRequest":
        """The request of these fields. Raises InputError, in one sentence, for the first that is wrong."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = str(first["loc"][0]) if first["loc"] else ""
            message = first["msg"].removeprefix("Value error, ")
            raise InputError(f"{where}: {message}" if where else message) from None

    @property
    def way(self) -> Way:
        """The way in that gives the geometry; a text beside a mask or a sketch only adds to it."""
        for way in ("scan", "mask", "sketch"):
            if getattr(self, way) is not None:
                return way
        return "text"

    def chosen_window(self) -> Window | None:
        """The window asked for; None: the modality's."""
        if self.window is None or self.window in PRESETS:
            return None if self.window is None else PRESETS[self.window]
        center, width = (float(part) for part in self.window.split("/"))
        return Window("custom", center, width)
