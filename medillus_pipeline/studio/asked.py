"""What the page may ask for: a closed form, whose pictures come as bytes and never as paths.

What is asked of a figure is `IllustrationRequest`; here stands how a browser says it, and the canvas as a label map.
"""

import base64
import binascii
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.illustration_request import LONGEST_TEXT, IllustrationRequest
from medillus_pipeline.illustration.request import Language, Marks, PaletteName

LEAST_SIDE, GREATEST_SIDE = 16, 512
MASK, SKETCH = Path("drawing.png"), Path("sketch")
"""The names by which a request of the studio calls its pictures; no such file exists."""

SEEN_STYLES = ("radiology", "textbook", "patient", "journal", "quiz")
"""A summary takes several slices, which a page with one canvas does not have."""
SeenStyle = Literal["radiology", "textbook", "patient", "journal", "quiz"]
_Base64 = Annotated[str, Field(max_length=12 << 20, pattern=r"^[A-Za-z0-9+/]*={0,2}$")]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_Kind = TypeVar("_Kind", bound=_Form)


class Drawing(_Form):
    """The canvas: side × side vocabulary ids, row by row from the anterior edge, column 0 the patient's right."""

    side: int = Field(ge=LEAST_SIDE, le=GREATEST_SIDE, description="Pixels along a side.")
    ids: _Base64 = Field(description="side × side bytes in base64.")

    def png(self, words: Vocabulary) -> bytes:
        """As a label PNG. Raises InputError where the bytes are not side × side, or hold what is no structure."""
        values = np.frombuffer(decoded(self.ids), np.uint8)
        if values.size != self.side * self.side:
            raise InputError("the drawing did not arrive whole: try again")
        unknown = set(np.unique(values).tolist()) - {0, *(structure.id for structure in words)}
        if unknown:
            raise InputError("the drawing holds a colour that stands for no structure: clear it and draw again")
        return encode_png(values.reshape(self.side, self.side), words.palette())


class Wanted(_Form):
    """The sliders and lists, named and bounded as in `IllustrationRequest`, which checks them once more."""

    text: str = Field(default="", max_length=LONGEST_TEXT)
    structures: tuple[str, ...] = Field(default=(), max_length=120)
    level: float | None = Field(default=None, ge=0, le=1)
    flip: bool = False
    partial: bool = Field(default=False, description="What is not drawn may be there all the same.")
    legend: dict[str, str] = Field(default_factory=dict, max_length=40)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    candidates: int = Field(default=2, ge=1, le=8)
    steps: int | None = Field(default=None, ge=1, le=100)
    guidance: float = Field(default=1.0, ge=0, le=20)


class Look(_Form):
    """How a figure looks: what can be changed without generating it anew. `structures`: keys to name, empty: all."""

    style: SeenStyle = "radiology"
    marks: Marks | None = None
    palette: PaletteName = "vocabulary"
    language: Language = "both"
    center: float = Field(default=50, ge=-2000, le=4000, description="Window centre, HU.")
    width: float = Field(default=350, ge=1, le=8000, description="Window width, HU.")
    structures: tuple[str, ...] = Field(default=(), max_length=120)


class Asked(_Form):
    """A figure that is wanted: a canvas, an uploaded mask or a sketch, or none of these and words alone."""

    way: Literal["organs", "mask", "sketch", "words"]
    drawing: Drawing | None = None
    upload: _Base64 | None = None
    wanted: Wanted = Wanted()
    look: Look = Look()

    def request(self, words: Vocabulary) -> tuple[IllustrationRequest, dict[Path, bytes]]:
        """The request, and the pictures that its paths stand for. Raises InputError for what cannot be asked."""
        pictures: dict[Path, bytes] = {}
        if self.way == "organs":
            if self.drawing is None:
                raise InputError("draw at least one structure first")
            pictures[MASK] = self.drawing.png(words)
        elif self.way != "words":
            data = decoded(self.upload or "")
            if not data:
                raise InputError("choose a picture first, or draw one")
            pictures[MASK if self.way == "mask" else SKETCH] = data
        sketched, masked = SKETCH in pictures, MASK in pictures
        given: dict[str, Any] = {
            "mask": MASK if masked else None,
            "sketch": SKETCH if sketched else None,
            "text": self.wanted.text.strip() or None,
            "flip": self.wanted.flip and bool(pictures),
            "complete": False if self.wanted.partial and pictures else None,
            "legend": self.wanted.legend if sketched else {},
            "window": f"{self.look.center:g}/{self.look.width:g}",
        }
        same = {name: getattr(self.wanted, name) for name in ("level", "seed", "candidates", "steps", "guidance")}
        looks = {name: getattr(self.look, name) for name in ("style", "marks", "palette", "language", "structures")}
        return IllustrationRequest.parsed(given | same | looks), pictures


class Note(_Form):
    """What a reader says of a figure, not signed."""

    decision: Literal["approve", "reject"]
    comment: str = Field(default="", max_length=2000)


class Sentence(_Form):
    """Words that are to be read and shown back."""

    text: str = Field(max_length=LONGEST_TEXT)


def parsed(form: type[_Kind], data: bytes) -> _Kind:
    """The form in a request's body. Raises InputError, naming the field and quoting nothing, where it is none."""
    try:
        return form.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][:4])
        raise InputError(f"{where}: {first['msg']}" if where else "the request is out of form") from None


def decoded(text: str) -> bytes:
    """Bytes of base64. Raises InputError where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise InputError("the picture did not arrive whole: try again") from None
