"""Training of the text encoder, readable top to bottom: slices, captions, their truth within the batch, steps.

Training patients only. What is true of a slice is in `encoder_facts.py`, what is made of it afterwards in
`encoder_model.py`.
"""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medillus_pipeline.annotation import vocabulary as vocabularies
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import NotEnoughDataError, PermanentError
from medillus_pipeline.generation.compute import cpu_threads
from medillus_pipeline.generation.config import SegmenterConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.segmenter import augment
from medillus_pipeline.language.captions import Caption, CaptionWriter
from medillus_pipeline.language.captions_phrases import LANGUAGES
from medillus_pipeline.language.encoder_config import TextEncoderConfig
from medillus_pipeline.language.encoder_facts import (
    FALSE,
    TRUE,
    WIDER_PHASES,
    Fact,
    claims_of,
    fact_table,
    facts_of,
    truth_of,
)
from medillus_pipeline.language.encoder_losses import contrastive_loss, facts_loss
from medillus_pipeline.language.encoder_model import TextEncoder, resized
from medillus_pipeline.language.encoder_networks import UNREAD, TextEncoderNetwork, alphabet_of, characters

_ALPHABET_CAPTIONS = 4000
"""Captions that are written beforehand to learn which characters there are."""


def train_text_encoder(
    dataset: Dataset,
    prior: Prior,
    config: TextEncoderConfig | None = None,
    *,
    seed: int = 0,
    vocabulary: Vocabulary | None = None,
    log: Callable[[int, dict[str, float]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TextEncoder:
    """Train both towers on the dataset's train split. Same input and seed, same weights on a CPU.

    Captions are written anew in each step, in turns English and Chinese. `log(step, losses)` is
    called every 20 steps, `progress(done, steps)` after each. Raises NotEnoughDataError without a training slice,
    ConfigurationError for a prior of other classes, PermanentError when the loss is no number.
    """
    config, words = config or TextEncoderConfig(), vocabulary or vocabularies.load()
    train = dataset.split("train")
    if not len(train):
        raise NotEnoughDataError("no labelled slice belongs to a training patient: there is nothing to caption")
    facts = facts_of(dataset, prior, words)
    truth = fact_table(train, prior, words, facts, config.facts).truth
    writer = CaptionWriter(facts, words, config.captions)
    random = np.random.default_rng([seed, 1])
    alphabet = alphabet_of(_written(writer, truth, random, _ALPHABET_CAPTIONS))
    exclusive, draws = _exclusive(facts), torch.Generator().manual_seed(seed)
    moves = SegmenterConfig(
        shift=config.shift, rotation_degrees=config.rotation_degrees, scale=config.scale, noise=config.noise
    )
    with cpu_threads(config.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        images = resized(dataset.intensity.forward(np.asarray(train.values)), config.size)
        network = TextEncoderNetwork(len(alphabet), len(facts), config)
        optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.learning_rate, total_steps=max(config.steps, 2), pct_start=0.15
        )
        for step in range(1, config.steps + 1):
            rows = torch.randperm(len(images), generator=draws)[: config.batch_size].numpy()
            captions = [writer.write(truth[row], LANGUAGES[n % 2], random) for n, row in enumerate(rows)]
            claims = claims_of([caption.facts for caption in captions], facts)
            picture, _ = augment(images[rows], torch.zeros(len(rows), *images.shape[2:]), moves, draws)
            text = _some_unread(characters([c.text for c in captions], alphabet, config.longest), config.unread, draws)
            with torch.autocast("cpu", torch.bfloat16):
                from_image = network.image(picture)
            from_image, from_text = from_image.float(), network.text(text)
            losses = _losses(network, from_image, from_text, claims, truth[rows], exclusive, config)
            loss = cast(Tensor, sum(losses.values()))
            if not torch.isfinite(loss):
                raise PermanentError(f"the text encoder's loss became no number in step {step}: lower learning_rate")
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if log is not None and (step % 20 == 0 or step == config.steps):
                log(step, {name: value.item() for name, value in losses.items()})
            if progress is not None:
                progress(step, config.steps)
    return TextEncoder(
        network.eval(), alphabet, facts, dataset.intensity, config, seed, dataset.fingerprint, dataset.known_attributes
    )


def _losses(
    network: TextEncoderNetwork,
    from_image: Tensor,
    from_text: Tensor,
    claims: np.ndarray,
    truth: np.ndarray,
    exclusive: np.ndarray,
    config: TextEncoderConfig,
) -> dict[str, Tensor]:
    similarity = network.scale * functional.normalize(from_text, dim=1) @ functional.normalize(from_image, dim=1).T
    if config.targets == "multi_positive":
        pairs = truth_of(claims, truth)
    else:
        pairs = np.where(np.eye(len(truth), dtype=bool), TRUE, FALSE)
    losses = {"contrast": contrastive_loss(similarity, torch.from_numpy(pairs))}
    if config.attribute_weight:
        told = np.where(claims, TRUE, np.where(claims @ exclusive, FALSE, 0))
        image = facts_loss(network.attributes(from_image), torch.from_numpy(truth))
        text = facts_loss(network.attributes(from_text), torch.from_numpy(told))
        losses["attributes"] = config.attribute_weight * (image + text)
    said = torch.from_numpy(claims).float()
    losses["said"] = config.said_weight * functional.binary_cross_entropy_with_logits(network.said(from_text), said)
    return losses


def _exclusive(facts: Sequence[Fact]) -> np.ndarray:
    """(facts, facts) bool: which facts cannot be true where that of the line is."""
    single = ("modality", "body_part", "contrast_phase", "stage")
    opposite = ({"present", "absent"}, {"absent", "large"}, {"absent", "small"}, {"large", "small"})

    def contradict(one: Fact, other: Fact) -> bool:
        if one.key == other.key:
            return {one.kind, other.kind} in opposite
        wider = WIDER_PHASES.get(one.key) == other.key or WIDER_PHASES.get(other.key) == one.key
        return one.kind == other.kind and one.kind in single and not wider

    rows = [[contradict(one, other) for other in facts] for one in facts]
    return np.array(rows, bool)


def _written(writer: CaptionWriter, truth: np.ndarray, random: np.random.Generator, count: int) -> list[str]:
    captions: list[Caption] = []
    for number in range(count):
        captions.append(writer.write(truth[int(random.integers(len(truth)))], LANGUAGES[number % 2], random))
    return [caption.text for caption in captions]


def _some_unread(numbers: Tensor, share: float, draws: torch.Generator) -> Tensor:
    lost = (torch.rand(numbers.shape, generator=draws) < share) & (numbers > UNREAD)
    return numbers.masked_fill(lost, UNREAD)
