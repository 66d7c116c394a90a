"""The bench: the models, the one figure that is being made, and the last ones that were. In memory, until it stops.

Figures are made one at a time; who comes meanwhile is told so, instead of waiting for an unknown time. What is not
here: HTTP (`routes.py`), how a figure is made (`illustration/illustrate.py`).
"""

import base64
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.dicom.windows import Window
from medillus_pipeline.errors import InputError, TransientError
from medillus_pipeline.illustration.answer import Answer
from medillus_pipeline.illustration.figure import Figure, draw_figure
from medillus_pipeline.illustration.finished import FinishedFigure, finish
from medillus_pipeline.illustration.models import Models
from medillus_pipeline.illustration.signing import SigningKey
from medillus_pipeline.studio.asked import Asked, Look

MOST_KEPT = 24
"""Figures that are kept, the oldest going first; a change of look makes another figure."""

Illustrate = Callable[..., Any]


class Busy(TransientError):
    """A figure is being made already."""


class Gone(InputError):
    """The figure never was, or is no longer kept."""


@dataclass
class Kept:
    """A figure with what was understood of the request; `finished` once somebody downloads it.

    `nameable` are the structures that it named when it was made: what was not recognised in the image is none of them,
    and no change of look brings it back.
    """

    figure: Figure
    labels: np.ndarray
    answer: Answer
    nameable: tuple[Structure, ...]
    made_at: datetime
    finished: FinishedFigure | None = None


@dataclass
class Bench:
    """`signing_key` is asked for at the first download; `progress` tells who waits what is being done."""

    models: Models
    illustrate: Illustrate
    signing_key: Callable[[], SigningKey]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _kept: OrderedDict[str, Kept] = field(default_factory=OrderedDict)
    _making: threading.Lock = field(default_factory=threading.Lock)
    _drawing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def busy(self) -> bool:
        """Whether a figure is being generated now."""
        return self._making.locked()

    def make(self, asked: Asked) -> Kept:
        """Generate a figure. Raises Busy while another is made, IllustrationRefused, and InputError."""
        request, pictures = asked.request(self.models.vocabulary)
        if not self._making.acquire(blocking=False):
            raise Busy("a figure is being made: try again when it is done")
        try:
            made = self.illustrate(request, self.models, read=_reader(pictures))
        finally:
            self._making.release()
        return self._keep(Kept(made.figure, made.label_map, made.answer, made.figure.request.structures, self.now()))

    def changed(self, name: str, look: Look) -> Kept:
        """The same image in another look, without generating it again. Raises Gone, and InputError."""
        former = self.kept(name)
        known = {structure.key for structure in former.nameable}
        if foreign := set(look.structures) - known:
            raise InputError(f"the figure cannot name {', '.join(sorted(foreign))}")
        keys = set(look.structures) or known
        request = replace(
            former.figure.request,
            style=look.style,
            marks=look.marks,
            palette=look.palette,
            language=look.language,
            window=Window("custom", look.center, look.width),
            structures=tuple(structure for structure in former.nameable if structure.key in keys),
        )
        with self._drawing:
            return self._keep(replace(former, figure=draw_figure(request), finished=None))

    def kept(self, name: str) -> Kept:
        """A figure by its name. Raises Gone."""
        try:
            return self._kept[name]
        except KeyError:
            raise Gone("the figure is no longer kept: make it again") from None

    def finished(self, name: str) -> FinishedFigure:
        """All files of a figure, signed. Raises Gone."""
        kept = self.kept(name)
        with self._drawing:
            if kept.finished is None:
                kept.finished = finish(
                    kept.figure,
                    key=self.signing_key(),
                    made_at=kept.made_at,
                    model_verdict=self.models.facts.verdict,
                )
        return kept.finished

    def label_bytes(self, name: str) -> dict[str, Any]:
        """The label map that a figure shows, as the canvas takes it."""
        labels = np.ascontiguousarray(self.kept(name).labels, np.uint8)
        return {"side": len(labels), "ids": base64.b64encode(labels.tobytes()).decode()}

    def _keep(self, kept: Kept) -> Kept:
        self._kept[kept.figure.name] = kept
        self._kept.move_to_end(kept.figure.name)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return kept


def _reader(pictures: Mapping[Path, bytes]) -> Callable[[Path], bytes]:
    """What the request's paths stand for: the pictures that came with it, and no file of this machine."""

    def read(path: Path) -> bytes:
        try:
            return pictures[Path(path)]
        except KeyError:
            raise InputError("the request names a picture that did not come with it") from None

    return read
