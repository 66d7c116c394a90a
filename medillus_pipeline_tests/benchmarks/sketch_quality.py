"""How well drawings of held-out patients are read: Dice, names, gaps, inventions, confidence, mirrors, whole files.

    python -m medillus_pipeline_tests.benchmarks.sketch_quality --work FOLDER [--data openkbp --source FOLDER]

The drawings are synthesised, the patients of the validation split. Trains for as many steps as the configuration says
and tells the process's CPU seconds; `--weights FILE` measures a trained one. Drawings by real hands are not here.
"""

import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.sketches.agreement import uprightness
from medillus_pipeline.sketches.calibrating import dice
from medillus_pipeline.sketches.config import SketchConfig
from medillus_pipeline.sketches.drawings import Drawings, Sitter, drawn, sitters
from medillus_pipeline.sketches.found import found_in
from medillus_pipeline.sketches.reading import LEAST_DRAWN, read_sketch
from medillus_pipeline.sketches.segmenter import SketchSegmenter
from medillus_pipeline.sketches.sheet import photographed
from medillus_pipeline.sketches.training import train_sketch_segmenter
from medillus_pipeline_tests.benchmarks.quality_scene import scene

BARS = {
    "phantom": {"dice": 0.87, "named": 0.97, "drop": 0.05, "invented": 0.05},
    "openkbp": {"dice": 0.80, "named": 0.95, "drop": 0.07, "invented": 0.05},
}
GAPS = 0.3
SEED = 7


def figures(segmenter: SketchSegmenter, prior: Prior, drawings: Drawings, *, told: bool) -> dict[str, float]:
    """Means over all drawn structures; a structure is named when most of its region, background counted, has its name.

    `invented`: share of the (drawing, structure that nobody drew) pairs in which it appears; `invented_in`: share of
    drawings in which any does.
    """
    probabilities = segmenter.predict(drawings.ink, prior, drawings.levels if told else None)
    overlap, named, ghosts, any_ghost, sure, right = [], [], [], [], [], []
    for ink, labels, probability in zip(drawings.ink, drawings.labels, probabilities, strict=True):
        drawn_share = segmenter.calibration.drawn
        found = [each for each in found_in(probability, ink) if drawn_share(each.score) >= LEAST_DRAWN]
        read = np.zeros_like(labels)
        for each in found:
            read[each.mask] = each.index
            sure.append(segmenter.calibration.confidence(each.score))
            right.append(dice(each.mask, labels == each.index) >= 0.7)
        there = set(np.unique(labels[labels > 0]).tolist())
        for index in there:
            own = labels == index
            overlap.append(dice(read == index, own))
            named.append(np.bincount(read[own]).argmax() == index)
        absent = [index in np.unique(read) for index in range(1, len(segmenter.classes) + 1) if index not in there]
        ghosts += absent
        any_ghost.append(any(absent))
    confident, correct = np.array(sure), np.array(right, float)
    bins = np.minimum((confident * 10).astype(int), 9)
    error = sum(abs(confident[bins == b].sum() - correct[bins == b].sum()) for b in range(10)) / len(bins)
    wrong, good = confident[correct == 0], confident[correct == 1]
    auroc = ((good[:, None] > wrong).mean() + (good[:, None] == wrong).mean() / 2) if len(wrong) else float("nan")
    return {
        "structures": len(overlap),
        "dice": float(np.mean(overlap)),
        "named": float(np.mean(named)),
        "invented": float(np.mean(ghosts)),
        "invented_in": float(np.mean(any_ghost)),
        "right": float(correct.mean()),
        "confidence_error": float(error),
        "confidence_auroc": float(auroc),
    }


def mirrors(segmenter: SketchSegmenter, prior: Prior, drawings: Drawings) -> dict[str, float]:
    """How often a mirror is suspected of drawings that are mirrored, and of those that are not; Dice of the former."""
    margin = segmenter.calibration.mirror_margin
    upright = segmenter.predict(drawings.ink, prior)
    turned = segmenter.predict(drawings.ink[:, :, ::-1].copy(), prior)
    gain = np.array([uprightness(b, prior) - uprightness(a, prior) for a, b in zip(upright, turned, strict=True)])
    limit = np.inf if margin is None else margin
    read = turned.argmax(1)[:, :, ::-1]
    left = [dice(r == k, m == k) for r, m in zip(read, drawings.labels, strict=True) for k in np.unique(m[m > 0])]
    return {
        "margin": limit,
        "noticed": float((-gain > limit).mean()),
        "falsely": float((gain > limit).mean()),
        "dice_when_mirrored": float(np.mean(left)),
    }


def whole_files(
    segmenter: SketchSegmenter, prior: Prior, chosen: list[Sitter], random: np.random.Generator
) -> dict[str, float]:
    """Photos of drawings, enlarged, through `read_sketch`, which has to find out all by itself."""
    words = vocabulary.load()
    drawing = segmenter.config.drawing
    scores: dict[str, list[float]] = {"dice_as_page": [], "named_as_page": [], "named_fitted": [], "refused": []}
    seconds = []
    for sitter in chosen:
        one = drawn([sitter], segmenter.side, random, drawing, gaps=0.1)
        large = one.ink[0].repeat(4, 0).repeat(4, 1)
        photo = (photographed(large, random, drawing) * 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(photo if random.random() < 0.5 else 255 - photo).save(file, "PNG")
        if not one.labels[0].any():
            continue
        for fit in (False, True):
            start = time.process_time()
            reading = read_sketch(file.getvalue(), segmenter=segmenter, prior=prior, vocabulary=words, fit=fit)
            seconds.append(time.process_time() - start)
            there = set(np.unique(one.labels[0][one.labels[0] > 0]).tolist())
            read = set(np.unique(reading.label_map[reading.label_map > 0]).tolist())
            scores["named_fitted" if fit else "named_as_page"].append(len(there & read) / len(there | read))
            if fit:
                scores["refused"].append(float(bool(reading.refusals)))
            else:
                scores["dice_as_page"] += [dice(reading.label_map == k, one.labels[0] == k) for k in there]
    return {name: float(np.mean(all_of)) for name, all_of in scores.items()} | {"cpu_s": float(np.mean(seconds))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where snapshot and judge are kept")
    parser.add_argument("--data", choices=sorted(BARS), default="phantom")
    parser.add_argument("--source", type=Path, help="folder of OpenKBP")
    parser.add_argument("--weights", type=Path, help="a trained sketch segmenter; written there when it is not yet")
    parser.add_argument("--drawings", type=int, default=400)
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--set", default="{}", help="JSON with fields of SketchConfig to change")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    place = scene(asked.work, data=asked.data, source=asked.source)
    start = time.process_time()
    if asked.weights and asked.weights.exists():
        segmenter = SketchSegmenter.from_bytes(asked.weights.read_bytes())
    else:
        config = SketchConfig.model_validate(json.loads(asked.set))
        segmenter = train_sketch_segmenter(place.dataset, place.prior, config, vocabulary=vocabulary.load())
        print(f"trained {config.steps} steps in {time.process_time() - start:.0f} CPU seconds, calibration included")
        if asked.weights:
            asked.weights.write_bytes(segmenter.to_bytes())
    held_out = sitters(place.held_out(), segmenter.config.drawing)
    random = np.random.default_rng(SEED)
    chosen = [held_out[row] for row in random.integers(len(held_out), size=asked.drawings)]
    # Training sees half of the drawings without paper and camera; the bars are for photographed ones.
    photos = segmenter.config.drawing.model_copy(update={"photographed": 1.0})
    bars, results = BARS[asked.data], {}
    for told in (False, True):
        for gaps in (0.0, GAPS):
            drawings = drawn(chosen, segmenter.side, np.random.default_rng(SEED), photos, gaps=gaps)
            results[told, gaps] = figures(segmenter, place.prior, drawings, told=told)
            shown = " ".join(f"{name}={value:.3f}" for name, value in results[told, gaps].items())
            print(f"{asked.data} level {'told' if told else 'unknown'} gaps={gaps:.1f}: {shown}")
        whole, broken = results[told, 0.0], results[told, GAPS]
        held = {
            "dice": whole["dice"] >= bars["dice"],
            "named": whole["named"] >= bars["named"],
            "drop": whole["dice"] - broken["dice"] <= bars["drop"],
            "invented": max(whole["invented"], broken["invented"]) < bars["invented"],
        }
        print(f"  drop={whole['dice'] - broken['dice']:.3f}; bars {bars}; held: {held}")
    drawings = drawn(chosen, segmenter.side, np.random.default_rng(SEED), photos)
    print("mirrors", {k: round(v, 3) for k, v in mirrors(segmenter, place.prior, drawings).items()})
    files = whole_files(segmenter, place.prior, chosen[: asked.files], np.random.default_rng(SEED))
    print("files", {k: round(v, 3) for k, v in files.items()})


if __name__ == "__main__":
    main()
