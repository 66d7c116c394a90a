"""The batch of a training step: slices of the memory-mapped snapshot, augmented, with what is withheld of each.

Every draw of sample i of the global batch at step k comes from a generator seeded by (seed, k, i) and nothing else: a
resumed run sees the batches of an uninterrupted one, and processes that share a global batch see together what one
process would, bit for bit. Which slice is drawn: `balance.py`. What changes it: `augmentation.py`. What the network
makes of it is not here.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np
import torch
from torch import Tensor

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import ConfigurationError, NotEnoughDataError
from medillus_pipeline.generation.augmentation import Augmentation
from medillus_pipeline.generation.augmentation_config import AugmentationConfig
from medillus_pipeline.generation.balance import Balance
from medillus_pipeline.generation.canonical import AIR, NORMALISED_RANGE
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.mirroring import exchanged_classes
from medillus_pipeline.generation.tissue_context import coarsened, mapped_thresholds, tissue_context

CALIBRATED = "CT"
"""The modality whose values have a unit (HU); of the others only series-normalised values are known."""


@dataclass(frozen=True)
class Batch:
    """n samples of c channels (the slice, or the slice between its neighbours), `classes` and A attributes.

    * `image` (n, c, h, w) float32 in [-1, 1];
    * `label` (n, h, w) int64 class indices, everything that is drawn;
    * `given` (n, h, w) int64, the label without the classes left out;
    * `drawn` (n, classes) bool, False where `given` says nothing of a class: it may be there all the same;
    * `claimed` (n, classes) bool, False where `label` says nothing of a class, since its annotator never drew it;
    * `level` (n,) float32, position along the body, feet to head;
    * `attributes` (n, A) float32 multi-hot, zero what is unknown or withheld;
    * `context` (n, 4, h, w) float32 one-hot tissue of the image (its middle channel), zeros where withheld;
    * `noise` (noises, n, c, h, w) float32 standard normal, and `time` (n,) float32 a standard normal draw.
    """

    image: Tensor
    label: Tensor
    given: Tensor
    drawn: Tensor
    claimed: Tensor
    level: Tensor
    attributes: Tensor
    context: Tensor
    noise: Tensor
    time: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(*(part.to(device, non_blocking=True) for part in vars(self).values()))


class Batches:
    """Batches of the train split by step number: `batches(step)` is this rank's share, rows rank::world of the whole.

    `known_attributes` are those that the model knows, "kind=value"; `noises` is the number of noise fields of a sample.
    Raises NotEnoughDataError without slices, and ConfigurationError when the ranks cannot share the batch or pictures
    could fold over.
    """

    def __init__(
        self,
        dataset: Dataset,
        known_attributes: Sequence[str],
        config: AugmentationConfig,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        noises: int = 1,
    ) -> None:
        if not len(dataset):
            raise NotEnoughDataError("no labelled slice belongs to a training patient, so there is nothing to draw")
        if not 0 <= rank < world <= batch_size:
            raise ConfigurationError(
                f"a batch of {batch_size} cannot be shared by {world} processes, of which this is number {rank}; "
                "batch_size counts the samples of all processes together and is at least their number"
            )
        self.dataset, self.config, self.seed, self.noises = dataset, config, seed, noises
        self.share = range(rank, batch_size, world)
        self.balance = Balance(dataset.patients, [row["labels"] for row in dataset.rows], config)
        self.augmentation = Augmentation(config, dataset.values.shape[-1])
        self.levels, self.claimed = dataset.levels, dataset.claimed
        self.scale = max(1, dataset.values.shape[-1] // 64)  # a proposed context is as coarse at every size
        # Position v of the table is the int16 with the bits of v: values index it without arithmetic.
        self.mapped = dataset.intensity.forward(np.arange(2**16, dtype=np.uint16).view(np.int16))
        self.modalities = [row["modality"] for row in dataset.rows]
        self.thresholds = {name: mapped_thresholds(name, dataset.intensity) for name in set(self.modalities)}
        outside = {name: AIR if name == CALIBRATED else NORMALISED_RANGE[0] for name in self.thresholds}
        self.empty = {name: float(dataset.intensity.forward(np.array(value))) for name, value in outside.items()}
        self.exchanged: Sequence[np.ndarray | None] = _exchanged(dataset)
        self.attributes = multi_hot(dataset.attributes, known_attributes)
        kinds = [name.partition("=")[0] for name in known_attributes]
        self.kind = np.array([sorted(set(kinds)).index(kind) for kind in kinds], int)

    def __call__(self, step: int) -> Batch:
        samples = [self._sample(step, number) for number in self.share]
        rows = [sample.row for sample in samples]
        thresholds = np.stack([self.thresholds[self.modalities[row]] for row in rows])
        image = np.stack([sample.image for sample in samples])
        label = np.stack([sample.label for sample in samples]).astype(np.int64)
        drawn = np.stack([sample.drawn for sample in samples])
        kept = np.concatenate([np.zeros((len(rows), 1), bool), drawn], 1)
        shown = kept[np.arange(len(rows))[:, None, None], label]
        context = tissue_context(image[:, image.shape[1] // 2], thresholds)
        for place, sample in enumerate(samples):
            if sample.squares > 1:
                context[place] = coarsened(context[place], sample.squares)
        context *= np.array([sample.context for sample in samples], np.float32)[:, None, None, None]
        told = np.stack([sample.told for sample in samples])
        return Batch(
            image=torch.from_numpy(image),
            label=torch.from_numpy(label),
            given=torch.from_numpy(label * shown),
            drawn=torch.from_numpy(drawn),
            claimed=torch.from_numpy(self.claimed[rows]),
            level=torch.from_numpy(self.levels[rows]),
            attributes=torch.from_numpy(self.attributes[rows] * told),
            context=torch.from_numpy(context),
            noise=torch.from_numpy(np.stack([sample.noise for sample in samples], 1)),
            time=torch.from_numpy(np.array([sample.time for sample in samples], np.float32)),
        )

    def _sample(self, step: int, number: int) -> "_Sample":
        config, random = self.config, np.random.default_rng([self.seed, step, number])
        row = self.balance.row(*random.random(3))
        time = random.standard_normal()
        context, coarse, any_attribute, any_mask, partial = random.random(5)
        squares = 2 ** int(random.integers(1, 4)) * self.scale if coarse < config.context_coarse else 1
        left_out = random.random(len(self.dataset.classes)) < 0.5
        withheld = random.random(int(self.kind.max(initial=-1)) + 1) < config.attribute_dropout
        values = np.ascontiguousarray(self.dataset.images([row])[0], np.int16)
        noise = random.standard_normal((self.noises, *values.shape), np.float32)
        modality = self.modalities[row]
        image, label = self.augmentation(
            self.mapped[values.view(np.uint16)],
            np.asarray(self.dataset.labels[row]),
            random,
            empty=self.empty[modality],
            exchanged=self.exchanged[row],
            calibrated=modality == CALIBRATED,
        )
        # Classes are left out by themselves, whether the slice shows them or not: were one that it shows always kept,
        # an empty mask would tell that the others are not there either.
        drawn = ~(left_out & (partial < config.partial_masks)) & (any_mask >= config.no_mask) & self.claimed[row]
        told = ~withheld[self.kind] & (any_attribute >= config.no_attributes)
        told_context = context >= config.context_dropout and modality == CALIBRATED
        return _Sample(row, image, label, drawn, told, told_context, squares, noise, time)


@dataclass(frozen=True)
class _Sample:
    row: int
    image: np.ndarray
    label: np.ndarray
    drawn: np.ndarray
    told: np.ndarray
    context: bool
    squares: int
    noise: np.ndarray
    time: float


def multi_hot(attributes: Sequence[Sequence[str]], known: Sequence[str]) -> np.ndarray:
    """(n, A) float32: 1 where a slice has a known attribute; attributes that are not known count for nothing."""
    place = {name: number for number, name in enumerate(known)}
    result = np.zeros((len(attributes), len(known)), np.float32)
    for row, names in enumerate(attributes):
        result[row, [place[name] for name in names if name in place]] = 1
    return result


def ahead(batches: Callable[[int], Batch], steps: Sequence[int], threads: int = 1) -> Iterator[Batch]:
    """The batches of those steps in turn, the next ones prepared by `threads` threads while one is in use; none is
    changed by it, since a batch depends on its step alone. What fails is raised at the step that needs it.
    """
    coming = iter(steps)
    with ThreadPoolExecutor(threads, thread_name_prefix="batches") as pool:
        waiting = deque(pool.submit(batches, step) for step in islice(coming, threads + 1))
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(pool.submit(batches, step) for step in islice(coming, 1))
            yield batch


def _exchanged(dataset: Dataset) -> list[np.ndarray | None]:
    """For each slice, what becomes of its labels when it is mirrored; None where it must not be."""
    part = [(row["body_part"] or "").strip().upper() for row in dataset.rows]
    order = sorted(range(len(part)), key=lambda row: part[row])
    found: dict[str, np.ndarray | None] = {}
    for name, rows in groupby(order, key=lambda row: part[row]):
        shown = {identifier for row in rows for identifier in dataset.rows[row]["labels"]}
        exchanged = exchanged_classes(dataset.classes, shown, name, vocabulary.load())
        found[name] = None if exchanged is None else np.array(exchanged, dataset.labels.dtype)
    return [found[name] for name in part]
