"""How a sketch segmenter is trained: on drawings synthesised from training patients' masks, and on nothing else.

A loop to be read top to bottom. What a drawing looks like is in `drawing.py`, the network in `segmenter.py`,
what its scores are worth in `calibrating.py`.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.compute import cpu_threads
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.segmenter import segmentation_loss
from medillus_pipeline.sketches.calibrating import calibrated
from medillus_pipeline.sketches.calibration import Calibration
from medillus_pipeline.sketches.config import SketchConfig
from medillus_pipeline.sketches.drawings import drawn, sitters
from medillus_pipeline.sketches.ink import unshuffled
from medillus_pipeline.sketches.segmenter import SketchSegmenter, SketchUNet, input_channels, network_input


def train_sketch_segmenter(
    dataset: Dataset,
    prior: Prior,
    config: SketchConfig | None = None,
    *,
    vocabulary: Vocabulary,
    seed: int = 0,
    log: Callable[[int, dict[str, float]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SketchSegmenter:
    """Train on drawings of the split `train`; some of its patients are kept for the calibration.

    Cross-entropy plus Dice loss, AdamW in one cycle; never mirrored. The same input and seed give the same weights on a
    CPU. Raises NotEnoughDataError without two training patients with masks.
    """
    config = config or SketchConfig()
    train = dataset.split("train")
    kept, rest = _shared_out(train, config, seed)
    seen = sitters(train, config.drawing, rest)
    unseen = sitters(train, config.drawing, kept)
    if not seen or not unseen:
        raise NotEnoughDataError("a sketch segmenter needs masks of at least two training patients: annotate another")
    side, classes = int(train.labels.shape[-1]), len(dataset.classes)
    random, dice = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    occupancy = torch.from_numpy(prior.occupancy)
    with cpu_threads(config.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SketchUNet(input_channels(classes), classes + 1, config.channels, config.blocks)
        optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.learning_rate, total_steps=max(config.steps, 2), pct_start=0.15
        )
        for step in range(1, config.steps + 1):
            chosen = random.integers(len(seen), size=config.batch_size)
            batch = drawn([seen[row] for row in chosen], side, random, config.drawing)
            told = torch.rand(len(chosen), generator=dice) < config.level_told
            levels = torch.where(told, torch.from_numpy(batch.levels), torch.nan)
            pictures = network_input(torch.from_numpy(unshuffled(batch.ink)), levels, occupancy)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(pictures)
            loss = segmentation_loss(logits.float(), torch.from_numpy(batch.labels).long())
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if log is not None and (step % 20 == 0 or step == config.steps):
                log(step, {"loss": loss.item()})
            if progress is not None:
                progress(step, config.steps)
    segmenter = SketchSegmenter(
        network=network.eval(),
        classes=dataset.classes,
        side=side,
        vocabulary_version=vocabulary.version,
        dataset_fingerprint=dataset.fingerprint,
        prior_version=prior.version,
        calibration=Calibration(scores=(0.0, 1.0), shares=(0.0, 1.0), drawings=0),
        config=config,
        seed=seed,
    )
    return replace(segmenter, calibration=calibrated(segmenter, prior, dataset, unseen))


def _shared_out(train: Dataset, config: SketchConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the patients kept for the calibration, and of the others; both empty with fewer than two."""
    patients = np.array(train.patients)
    names = np.unique(patients)
    if len(names) < 2:
        return np.zeros(0, int), np.zeros(0, int)
    count = min(max(1, round(config.calibration_patients * len(names))), len(names) - 1)
    chosen = np.random.default_rng([seed, 1]).permutation(names)[:count]
    mine = np.isin(patients, chosen)
    return np.flatnonzero(mine), np.flatnonzero(~mine)
