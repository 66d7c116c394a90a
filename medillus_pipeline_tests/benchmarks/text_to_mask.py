"""Sentences to masks, on the scene that generators are compared in: what comes back, how exact, how unlike a copy.

    python -m medillus_pipeline_tests.benchmarks.text_to_mask WORK --data phantom --requests 320 --picture masks.png

Sentences are made from the held-out slices (structures that one of them shows together), in both languages, with sizes,
absences and levels; each is parsed, then answered in both ways. CPU seconds are the process's own.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset, load_snapshot
from medillus_pipeline.generation.pictures import class_colours, sheet
from medillus_pipeline.generation.prior import build_prior
from medillus_pipeline.language.drawable import Drawable
from medillus_pipeline.language.mask_answer import LEAST_TELLING, MaskAnswer, Way, mask_for
from medillus_pipeline.language.mask_bank import MaskBank
from medillus_pipeline.language.parser import understand
from medillus_pipeline.zones import Zone

SIZES = (
    ("enlarged {}", "{}增大"),
    ("atrophic {}", "{}萎缩"),
    ("{} enlarged by 30%", "{}增大30%"),
    ("slightly enlarged {}", "{}轻度增大"),
)


def kept_dataset(folder: Path) -> Dataset:
    """The snapshot that `quality_scene.scene` keeps in a folder; nothing is written."""
    manifest = json.loads((folder / "snapshot.json").read_text())["manifest"]
    return load_snapshot(Zone(f"file://{(folder / 'clean').resolve()}"), manifest)


def sentences(dataset: Dataset, count: int, seed: int) -> list[str]:
    """Requests, each with structures that a held-out slice shows together and at least 6 pixels of each."""
    words, generator = vocabulary.load(), np.random.default_rng(seed)
    held = dataset.split("validation")
    made: list[str] = []
    while len(made) < count:
        row = int(generator.integers(len(held)))
        sizes = np.bincount(np.asarray(held.labels[row]).ravel(), minlength=len(dataset.classes) + 1)[1:]
        shown = generator.permutation(np.flatnonzero(sizes >= 6))
        if not len(shown):
            continue
        zh = bool(generator.integers(2))
        named = [words.by_id(dataset.classes[i]) for i in shown]
        names = [s.name_zh if zh else s.name_en for s in named][: int(generator.integers(1, 4))]
        kind = int(generator.integers(4))
        if kind == 0:
            text = ("、" if zh else ", ").join(names)
        elif kind == 1 and named[0].kind not in ("bone",):
            form = SIZES[int(generator.integers(len(SIZES)))][zh]
            text = form.format(names[0]) + (("，" if zh else ", ").join(["", *names[1:]]))
        elif kind == 2 and len(names) > 1:
            text = f"{names[0]}，无{names[1]}" if zh else f"{names[0]}, no {names[1]}"
        else:
            text = ("、" if zh else ", ").join(names) + (
                f"，水平{held.levels[row]:.2f}" if zh else f", at {held.levels[row]:.2f}"
            )
        made.append(text)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", default="phantom")
    parser.add_argument("--requests", type=int, default=320)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", choices=("retrieve", "shape", "both"), default="both")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    words = vocabulary.load()
    dataset = kept_dataset(given.work / given.data)
    prior = build_prior(dataset, preset("demo").prior)
    bank, can = MaskBank.of_dataset(dataset), Drawable.of_dataset(dataset)
    asked = [understand(text, words) for text in sentences(dataset, given.requests, given.seed)]
    settled = [request for request in asked if request.settled]
    print(f"{given.data}: {len(asked)} sentences, {len(settled)} understood in full; {len(bank)} training masks")
    lines: list[list[np.ndarray]] = []
    ways: tuple[Way, ...] = ("retrieve", "shape")
    for way in ways if given.way == "both" else (given.way,):
        answers: list[MaskAnswer] = []
        refused: Counter[str] = Counter()
        started = time.process_time()
        for number, request in enumerate(settled):
            try:
                answers.append(mask_for(request, bank, prior, words, can=can, seed=number, way=way))
            except InputError as error:
                refused[str(error).split(":")[0].rsplit("because ", 1)[-1][:90]] += 1
        spent = (time.process_time() - started) / max(len(settled), 1)
        print(table(way, answers, len(settled), refused, spent), flush=True)
        colours = class_colours(range(1, 256), words.palette())
        lines += [[colours[answer.label_map] for answer in answers[start : start + 12]] for start in (0, 12)]
    if given.picture:
        given.picture.write_bytes(sheet([line for line in lines if line], enlarge=2))


def table(way: str, answers: list[MaskAnswer], asked: int, refused: Counter[str], seconds: float) -> str:
    """The four figures of one way, and why requests were refused."""
    figures = [answer.figures for answer in answers]
    telling = [a.figures.copy_dice for a in answers if (a.label_map > 0).sum() >= LEAST_TELLING]
    sized = [f.raw_area_error for f in figures if f.sized]
    allowed = [f.area_error for f in figures if f.sized]
    rows = [
        f"  way {way}: answered {len(answers)} of {asked}, {seconds:.3f} CPU s a request",
        f"    presence {np.mean([f.present for f in figures]):.4f} (worst {min(f.present for f in figures):.2f})",
        f"    order kept {np.mean([f.orders_kept for f in figures]):.4f}",
        f"    copy: Dice median {np.median(telling or [0]):.3f}, greatest {max(telling or [0]):.3f}"
        f" (of {len(telling)} masks with {LEAST_TELLING} pixels or more)",
        f"    area error of {len(sized)} sized: mean {np.mean(sized or [0]):.4f}, greatest {max(sized or [0]):.4f}"
        f" (beyond whole pixels {max(allowed or [0]):.4f})",
    ]
    return "\n".join([*rows, *(f"    refused {count}: {reason}" for reason, count in refused.most_common(6))])


if __name__ == "__main__":
    main()
