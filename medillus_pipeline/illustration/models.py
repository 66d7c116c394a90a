"""All that a figure is made with: the models, what they learned from, and what is known of them.

Loading is not here (`resources/illustration_models.py`), nor how they are used (`illustrate.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.illustration.request import PLANES, LabelledBy, Letters
from medillus_pipeline.validation.confidence import Calibration

if TYPE_CHECKING:
    from medillus_pipeline.generation.plausible_anatomy import Rules
    from medillus_pipeline.generation.sampling import Generator
    from medillus_pipeline.generation.segmenter import Segmenter
    from medillus_pipeline.language.drawable import Drawable
    from medillus_pipeline.language.encoder_model import TextEncoder
    from medillus_pipeline.language.mask_bank import MaskBank
    from medillus_pipeline.sketches.segmenter import SketchSegmenter

DEFAULT_FIELD_OF_VIEW = "default_field_of_view_mm"


@dataclass(frozen=True)
class ModelFacts:
    """What a figure tells of the models, as `FigureRequest` needs it.

    `name`, `version`: the registered generator; `verdict`: that of its report; `stale`: why the report holds no longer,
    a sentence each; `profile`: the profile of gates that the installation asks for, which sets the floors of
    `compliance.py`; `run_ids`: names → ids of the runs behind it; `segmenter_sha256`: of the organ segmenter.
    """

    name: str
    version: str
    dataset_fingerprint: str
    code_version: str
    vocabulary_version: str
    profile: str = "research"
    verdict: str | None = None
    stale: tuple[str, ...] = ()
    ethics: Mapping[str, str] | None = None
    run_ids: Mapping[str, str] = field(default_factory=dict)
    segmenter_sha256: str | None = None


@dataclass(frozen=True)
class Scan:
    """A real, de-identified slice: `image` (h, w) calibrated values, HU for CT; `pixel_mm` row and column spacing.

    `labels` (h, w) vocabulary ids where somebody labelled it already, by `labelled_by`; None: the organ segmenter does.
    `scores` by id are the segmenter's mean probability where it proposes a structure, not calibrated.
    """

    image: np.ndarray
    pixel_mm: tuple[float, float]
    modality: str
    slice_name: str
    patient: str
    body_part: str | None = None
    level: float | None = None
    split: str | None = None
    orientation: Letters = PLANES["axial"]
    labels: np.ndarray | None = None
    labelled_by: LabelledBy = "organ_segmenter"
    scores: Mapping[int, float] = field(default_factory=dict)


@dataclass
class Models:
    """`generator`, `prior` and `organ_segmenter` share their classes; ids are those of `vocabulary`.

    * `dataset`: the snapshot that they learned from, for retrieval, the copy guard and the rules' tolerances;
    * `sketch_segmenter`, `text_encoder`, `calibration`: None where there is none, or where it is not of this model;
    * `missing`: what is not there, and what that costs, a sentence each;
    * `scan_of`: slice name → the slice with the segmenter's labels, from the clean zone; None: no zone at hand. Raises
      InputError for a name that was never published.
    """

    generator: "Generator"
    prior: Prior
    organ_segmenter: "Segmenter"
    vocabulary: Vocabulary
    facts: ModelFacts
    dataset: Dataset | None = None
    sketch_segmenter: "SketchSegmenter | None" = None
    text_encoder: "TextEncoder | None" = None
    calibration: Calibration | None = None
    missing: tuple[str, ...] = ()
    scan_of: Callable[[str], Scan] | None = None

    @property
    def classes(self) -> tuple[int, ...]:
        """Vocabulary ids that the models know, in the order of class indices from 1."""
        return self.generator.classes

    @property
    def size(self) -> int:
        """Side of the model's frame in pixels."""
        return self.generator.size

    @cached_property
    def index_of_id(self) -> np.ndarray:
        """(256,) uint8: vocabulary id → class index, 0 for those without one."""
        table = np.zeros(256, np.uint8)
        table[list(self.classes)] = np.arange(1, len(self.classes) + 1)
        return table

    @cached_property
    def id_of_index(self) -> np.ndarray:
        """(classes + 1,) uint8: class index → vocabulary id."""
        return np.array([0, *self.classes], np.uint8)

    @cached_property
    def segmenter_channels(self) -> dict[int, int]:
        """Vocabulary id → channel of the organ segmenter's probabilities."""
        return {identifier: i + 1 for i, identifier in enumerate(self.organ_segmenter.classes)}

    @cached_property
    def drawable(self) -> "Drawable":
        """What these models can draw: classes that training patients show, and attributes that were told."""
        from medillus_pipeline.language.drawable import Drawable

        if self.dataset is not None:
            return Drawable.of_dataset(self.dataset)
        known = tuple(c for c, known in zip(self.prior.classes, self.prior.known, strict=True) if known)
        return Drawable(known, tuple(self.generator.attributes))

    @cached_property
    def bank(self) -> "MaskBank | None":
        """The training masks to retrieve from; None without a dataset."""
        from medillus_pipeline.language.mask_bank import MaskBank

        return None if self.dataset is None else MaskBank.of_dataset(self.dataset)

    @cached_property
    def rules(self) -> "Rules":
        """The prior's rules, calibrated on the training masks; without a dataset at their stated tolerances."""
        from medillus_pipeline.illustration.compliance import rules_of

        return rules_of(self.prior, self.dataset)

    def field_of_view(self, body_part: str | None) -> float:
        """Side of the model's frame in mm for a body part; of a model that learned from one part alone that part's."""
        if self.dataset is None:
            return self.prior.pixel_mm * self.size
        config: Mapping[str, Any] = self.dataset.manifest["config"]
        learned = [name.partition("=")[2] for name in self.generator.attributes if name.startswith("body_part=")]
        part = body_part or (learned[0] if len(learned) == 1 else "")
        return float(config["field_of_view_mm"].get(part.upper(), config[DEFAULT_FIELD_OF_VIEW]))

    def structures(self, ids: "np.ndarray | tuple[int, ...]") -> tuple[Structure, ...]:
        """The structures of these vocabulary ids, in their order, each once."""
        return tuple(self.vocabulary.by_id(i) for i in dict.fromkeys(int(v) for v in ids) if i)
