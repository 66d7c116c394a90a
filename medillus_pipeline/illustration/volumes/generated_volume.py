"""A whole volume from a label stack: slices drawn one by one from noise that flows along z, under one seed.

Slices know of each other by noise and tissue context only: what is drawn of one never conditions the next, so errors
do not add up along the stack. What is not here: the noise itself (`stack_noise.py`), files and pictures.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from medillus_pipeline.errors import InputError

if TYPE_CHECKING:
    from medillus_pipeline.generation.sampling import Generator
    from medillus_pipeline.illustration.volumes.stack_noise import Coherence

BATCH = 16
"""Slices in memory at once."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class GeneratedVolume:
    """A volume that no scanner took.

    `values` int16 calibrated (HU) and `labels` uint8 (vocabulary ids, 0 background) are (slices, rows, columns) from
    the feet up; `affine` (4, 4) takes (column, row, slice, 1) to LPS mm. `seed`, `steps`, `correlation` (of the finest
    noise of neighbouring slices) and `dataset_fingerprint` say how it was made; `model` is the generator's name and
    version in the registry, where the caller knows them; `body_part` is the BodyPartExamined that was asked for.
    """

    values: np.ndarray
    labels: np.ndarray
    affine: np.ndarray
    modality: str
    seed: int
    steps: int
    correlation: float
    dataset_fingerprint: str
    model: str = ""
    body_part: str = ""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(slice, row, column) distances in mm."""
        column, row, apart = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(apart), float(row), float(column)

    @cached_property
    def sha256(self) -> str:
        """Of values, labels, place and origin: what deterministic identifiers are made from."""
        digest = hashlib.sha256()
        for array in (self.values, self.labels, self.affine.round(6)):
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr((self.modality, self.seed, self.steps, self.dataset_fingerprint, self.model)).encode())
        digest.update(repr((self.body_part, round(self.correlation, 6))).encode())
        return digest.hexdigest()


def centred_affine(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    """(4, 4), (column, row, slice, 1) to LPS mm, of an axial stack of that shape (slices, rows, columns) and spacing
    (slice, row, column) in mm, feet first, whose middle is the origin.
    """
    affine = np.diag([spacing[2], spacing[1], spacing[0], 1.0])
    affine[:3, 3] = [-(size - 1) / 2 * step for size, step in zip(shape[::-1], spacing[::-1], strict=True)]
    return affine


def generate_volume(
    generator: "Generator",
    label_stack: np.ndarray,
    levels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    seed: int,
    *,
    said: Sequence[str] | None = None,
    steps: int | None = None,
    guidance: float = 1.0,
    context: Literal["proposed", "none"] | np.ndarray = "proposed",
    coherence: "Coherence" = "by_scale",
    affine: np.ndarray | None = None,
    model: str = "",
    batch: int = BATCH,
    progress: Progress | None = None,
) -> GeneratedVolume:
    """Draw a volume for `label_stack` (slices, rows, columns) of vocabulary ids, axial, feet first.

    `levels` (slices,) are positions along the body, 0 feet to 1 head; `spacing_mm` (slice, row, column). The tissue
    `context` between structures is proposed for the stack as a whole, left out, or given as (slices, rows, columns)
    of 0 air, 1 fat, 2 soft tissue, 3 bone. `said` are the attributes of all slices, such as "contrast_phase=…"
    (default: the modality). `affine` places the stack in LPS; by default its middle is the origin. At most `batch`
    slices are drawn at once; `progress` gets slices done and in all. The same arguments give the same volume on one
    machine. Raises InputError for a stack of another size than the model's, an id that it has no class for, levels or
    spacing out of range, an attribute that it does not know, and an affine of another spacing.
    """
    import torch

    from medillus_pipeline.generation.conditions import default_attributes, with_context
    from medillus_pipeline.illustration.volumes.stack_context import one_hot_tissue, stack_context
    from medillus_pipeline.illustration.volumes.stack_noise import correlation, stack_noise

    size, slices = generator.size, len(label_stack)
    placed = _placed(label_stack, levels, spacing_mm, size, affine)
    labels = torch.from_numpy(class_indices(label_stack, generator.classes).astype(np.int64))
    names = default_attributes(generator.attributes) if said is None else list(said)
    if unknown := sorted(set(names) - set(generator.attributes)):
        raise InputError(f"the model does not know {', '.join(unknown)}; it knows {', '.join(generator.attributes)}")
    multi_hot = torch.tensor([[float(name in names) for name in generator.attributes]])
    height = torch.as_tensor(np.asarray(levels), dtype=torch.float32)
    if isinstance(context, str):
        for_ct = bool(with_context(generator.modalities, generator.attributes, multi_hot).item())
        wanted = context == "proposed" and for_ct
        tissue_map = stack_context(generator.prior, labels, height, spacing_mm[0], seed=seed) if wanted else None
    else:
        tissue_map = np.asarray(context)
        if tissue_map.shape != labels.shape or tissue_map.min() < 0 or tissue_map.max() > 3:
            raise InputError(f"a context is {tuple(labels.shape)} of 0 air, 1 fat, 2 soft tissue, 3 bone")
    steps = steps or generator.release_steps
    values = np.empty((slices, size, size), np.int16)
    shape = (generator.images, size, size)
    done = 0
    for noise in stack_noise(slices, shape, seed=seed, spacing=spacing_mm, batch=batch, coherence=coherence):
        part = slice(done, done + len(noise))
        tissues = one_hot_tissue(None if tissue_map is None else tissue_map[part], (len(noise), size, size))
        values[part] = generator.sample(
            labels[part].numpy(),
            np.asarray(levels)[part],
            seed=seed,
            context=tissues.numpy(),
            said=[names] * len(noise),
            steps=steps,
            guidance=guidance,
            noise=noise,
        )
        done += len(noise)
        if progress is not None:
            progress(done, slices)
    return GeneratedVolume(
        values=values,
        labels=np.asarray(label_stack).astype(np.uint8),
        affine=placed,
        modality=_said(names, "modality") or generator.modalities[0],
        seed=seed,
        steps=steps,
        correlation={"independent": 0.0, "shared": 1.0}.get(coherence, correlation(spacing_mm[0])),
        dataset_fingerprint=generator.dataset_fingerprint,
        model=model,
        body_part=_said(names, "body_part"),
    )


def class_indices(label_stack: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Label maps of vocabulary ids as uint8 class indices, 0 background, i for `classes[i - 1]`.

    Raises InputError for an id that is not among the classes.
    """
    stack = np.asarray(label_stack)
    present = np.unique(stack).tolist()
    if unknown := sorted(set(present) - {0, *classes}):
        raise InputError(f"the model has no class for the vocabulary ids {unknown}: it draws {sorted(classes)}")
    index_of = np.zeros(256, np.uint8)
    index_of[list(classes)] = np.arange(1, len(classes) + 1)
    return index_of[stack]


def _placed(
    label_stack: np.ndarray,
    levels: np.ndarray,
    spacing: tuple[float, float, float],
    size: int,
    affine: np.ndarray | None,
) -> np.ndarray:
    shape = np.shape(label_stack)
    if len(shape) != 3 or not shape[0] or shape[1:] != (size, size):
        raise InputError(f"a label stack is (slices, {size}, {size}) for this model, not {shape}: resample it first")
    if not all(math.isfinite(mm) and mm > 0 for mm in spacing):
        raise InputError("the spacing (slice, row, column) must be positive, in mm")
    heights = np.asarray(levels)
    if heights.shape != shape[:1] or not ((heights >= 0) & (heights <= 1)).all():
        raise InputError(f"give {shape[0]} levels, 0 (feet) to 1 (head)")
    if affine is None:
        return centred_affine((shape[0], size, size), spacing)
    if not np.allclose(np.linalg.norm(affine[:3, :3], axis=0), spacing[::-1], rtol=1e-3):
        raise InputError("the affine's steps differ from the spacing: give those of the same stack")
    return np.asarray(affine, float)


def _said(names: Sequence[str], kind: str) -> str:
    """The value of an attribute "kind=value"; empty where it is not said, or several are."""
    values = [name.partition("=")[2] for name in names if name.startswith(f"{kind}=")]
    return values[0] if len(values) == 1 else ""
