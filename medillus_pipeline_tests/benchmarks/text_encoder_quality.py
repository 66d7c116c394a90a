"""How well the text encoder finds an image that a caption is true of, on patients whom it never saw.

    python -m medillus_pipeline_tests.benchmarks.text_encoder_quality FOLDER [--lesions] [--seconds 180]
        [--targets single] [--no-heads]

The scene (`text_encoder_scene.py`) is kept in FOLDER. Captions are written of every slice of the validation patients,
in both languages, with a seed of their own; a retrieved image counts when the caption is true of it ("equivalent"),
not only when it is the caption's own. Reported beside it: chance (a random order), what is reached by one who knows all
facts of every image, and by one who knows those that the attribute heads tell but the sizes of structures.
Training stops growing at the CPU time given: the number of steps is what fits, by the pace of a few first steps.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.language.captions import Caption, CaptionWriter
from medillus_pipeline.language.captions_phrases import LANGUAGES
from medillus_pipeline.language.encoder_config import TextEncoderConfig
from medillus_pipeline.language.encoder_facts import FALSE, TRUE, UNKNOWN, claims_of, fact_table, truth_of
from medillus_pipeline.language.encoder_model import TextEncoder
from medillus_pipeline.language.encoder_training import train_text_encoder
from medillus_pipeline_tests.benchmarks.text_encoder_scene import scene

CAPTION_SEED = 77
PACE_STEPS = 12


def measured(encoder: TextEncoder, part: Dataset, prior: Prior) -> dict[str, Any]:
    """All figures of the encoder on the slices of `part`."""
    words, random = vocabulary.load(), np.random.default_rng(CAPTION_SEED)
    truth = fact_table(part, prior, words, encoder.facts, encoder.config.facts).truth
    writer = CaptionWriter(encoder.facts, words, encoder.config.captions)
    captions = [writer.write(line, language, random) for language in LANGUAGES for line in truth]
    claims = claims_of([caption.facts for caption in captions], encoder.facts)
    pairs = truth_of(claims, truth)
    values = np.asarray(part.values)
    scores = encoder.scores([caption.text for caption in captions], values)
    figures: dict[str, Any] = {"captions": len(captions), "images": len(values)}
    chinese = np.array([caption.language == "zh" for caption in captions])
    for name, own in {"all": np.full(len(captions), True), "en": ~chinese, "zh": chinese}.items():
        figures |= {f"recall@{k} {name}": _recall(scores[own], pairs[own], k) for k in (1, 5)}
    figures["true images a caption, median"] = float(np.median((pairs == TRUE).sum(1)))
    figures |= {f"chance recall@{k}": _chance(pairs, k) for k in (1, 5)}
    known = [number for number, fact in enumerate(encoder.facts) if fact.kind not in ("large", "small")]
    blurred = np.where(truth[:, known] == TRUE, 0.0, -1.0) @ claims[:, known].T
    figures["ceiling recall@1, all facts"] = _recall(_matched(claims, truth), pairs, 1)
    figures["ceiling recall@1, all but sizes"] = _expected_first(blurred.T, pairs)
    rare = (pairs == TRUE).mean(1) <= 0.05
    figures["recall@1 of captions true of at most 5%"] = _recall(scores[rare], pairs[rare], 1)
    figures["their share"], figures["their chance"] = float(rare.mean()), _chance(pairs[rare], 1)
    return figures | _heads(encoder, values, truth) | _said(encoder, captions, claims)


def _matched(claims: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return claims.astype(np.float32) @ np.where(truth == TRUE, 0.0, -1.0).T.astype(np.float32)


def _recall(scores: np.ndarray, pairs: np.ndarray, k: int) -> float:
    """Share of captions with a true image among the best `k`; of what nobody knows, none is retrieved."""
    order = np.argsort(-np.where(pairs == UNKNOWN, -np.inf, scores), axis=1, kind="stable")[:, :k]
    return float((np.take_along_axis(pairs, order, 1) == TRUE).any(1).mean())


def _chance(pairs: np.ndarray, k: int) -> float:
    """The same of a random order, in expectation."""
    true, known = (pairs == TRUE).sum(1), (pairs != UNKNOWN).sum(1)
    missed = np.ones(len(pairs))
    for drawn in range(k):
        missed *= np.clip(known - true - drawn, 0, None) / np.clip(known - drawn, 1, None)
    return float(1 - missed.mean())


def _expected_first(scores: np.ndarray, pairs: np.ndarray) -> float:
    """Recall@1 where ties are broken at random."""
    usable = np.where(pairs == UNKNOWN, -np.inf, scores)
    best = usable == usable.max(1, keepdims=True)
    return float((((pairs == TRUE) & best).sum(1) / best.sum(1)).mean())


def _heads(encoder: TextEncoder, values: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """What the heads tell of images: the phase by the greatest probability, each structure's presence by .5."""
    found = encoder.facts_of_images(values)
    phases = [number for number, fact in enumerate(encoder.facts) if fact.kind == "contrast_phase"]
    told = (truth[:, phases] == TRUE).any(1)
    figures: dict[str, Any] = {}
    if len(phases) > 1 and told.any():
        right = truth[told][:, phases].argmax(1) == found[told][:, phases].argmax(1)
        figures["phase accuracy"] = float(right.mean())
    balanced = {}
    for number, fact in enumerate(encoder.facts):
        there, gone = truth[:, number] == TRUE, truth[:, number] == FALSE
        if fact.kind == "present" and there.any() and gone.any():
            yes = found[:, number] >= 0.5
            balanced[fact.key] = float((yes[there].mean() + (~yes[gone]).mean()) / 2)
    figures["organ balanced accuracy"] = float(np.mean(list(balanced.values())))
    figures["organ balanced accuracy, least"] = min((value, key) for key, value in balanced.items())
    levels = [number for number, fact in enumerate(encoder.facts) if fact.kind == "level"]
    nearest = truth[:, levels].argmax(1)
    figures["level within a tenth"] = float((np.abs(found[:, levels].argmax(1) - nearest) <= 1).mean())
    return figures


def _said(encoder: TextEncoder, captions: list[Caption], claims: np.ndarray) -> dict[str, Any]:
    """What the text's own head tells: precision and recall of claimed facts, and captions read without an error."""
    yes = encoder.said([caption.text for caption in captions]) >= 0.5
    exact = (yes == claims).all(1)
    return {
        "said precision": float(claims[yes].mean()) if yes.any() else float("nan"),
        "said recall": float(yes[claims].mean()),
        "texts read without an error": float(exact.mean()),
    }


def _trained(dataset: Dataset, prior: Prior, config: TextEncoderConfig, seconds: float, seed: int) -> tuple[Any, ...]:
    if seconds:
        marks: list[float] = []
        train_text_encoder(
            dataset,
            prior,
            config.model_copy(update={"steps": PACE_STEPS}),
            progress=lambda *_: marks.append(time.process_time()),
        )
        pace = (marks[-1] - marks[1]) / (len(marks) - 2)
        config = config.model_copy(update={"steps": int(0.97 * seconds / pace)})
    start = time.process_time()
    encoder = train_text_encoder(
        dataset,
        prior,
        config,
        seed=seed,
        log=_shown,
    )
    return encoder, time.process_time() - start


def _shown(step: int, losses: dict[str, float]) -> None:
    if step % 100 == 0:
        print(step, {name: round(loss, 3) for name, loss in losses.items()}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lesions", action="store_true", help="with lesions and their pathologies")
    parser.add_argument("--seconds", type=float, default=180.0, help="CPU seconds of training; 0: the preset's steps")
    parser.add_argument("--targets", choices=("multi_positive", "single"), default="multi_positive")
    parser.add_argument("--no-heads", action="store_true", help="without the attribute heads' loss")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=json.loads, default={}, help="further settings as JSON")
    given = parser.parse_args()
    dataset, prior = scene(given.folder, lesions=given.lesions)
    settings = {"targets": given.targets, **({"attribute_weight": 0.0} if given.no_heads else {}), **given.config}
    config = TextEncoderConfig.model_validate(settings)
    encoder, cpu = _trained(dataset, prior, config, given.seconds, given.seed)
    figures = {"cpu_seconds": round(cpu, 1), "steps": encoder.config.steps}
    figures |= measured(encoder, dataset.split("validation"), prior)
    for name, figure in figures.items():
        print(f"{name:45} {figure if not isinstance(figure, float) else round(figure, 3)}")
    print(f"{'file':45} {len(encoder.to_bytes())} bytes")
    (given.folder / "encoder.safetensors").write_bytes(encoder.to_bytes())


if __name__ == "__main__":
    main()
