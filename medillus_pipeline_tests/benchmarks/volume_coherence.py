"""Whether generated slices belong together: every kind of noise along z, side by side, on patients the model never saw.

    python -m medillus_pipeline_tests.benchmarks.volume_coherence --work FOLDER --generator WEIGHTS [--out FOLDER]

FOLDER keeps the phantom scene (`quality_scene.py`), whose prior and judge are used; WEIGHTS is a generator trained on
it. Each held-out synthetic patient is drawn twice, with slices of 6 mm as the model was trained on and of 3 mm, and its
own label stack is the condition. With `--out` the coronal views (from the top: real, then each kind of noise) are
written as PNG, to be looked at: the measures do not see everything.
"""

import argparse
import tempfile
import time
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset, build_snapshot, load_snapshot
from medillus_pipeline.generation.pictures import grey, sheet
from medillus_pipeline.generation.sampling import Generator
from medillus_pipeline.illustration.volumes.coherence import CoherenceMeasures, measure
from medillus_pipeline.illustration.volumes.generated_volume import class_indices, generate_volume
from medillus_pipeline.illustration.volumes.plates import plates
from medillus_pipeline.illustration.volumes.stack_noise import Coherence
from medillus_pipeline.phantom.cohort import patient
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.benchmarks.quality_scene import COHORT_SEED, scene
from medillus_pipeline_tests.generation.published import Published

KINDS: tuple[Coherence, ...] = ("by_scale", "autoregressive", "independent", "shared")
SLICES = (40, 80)
"""Slices of 6 and of 3 mm."""

ROWS = (
    ("flicker", "0.8–1.2"),
    ("lag-8 difference", "≥ 0.85"),
    ("texture spread", "≥ 0.85"),
    ("neighbour correlation", "real ± 0.1"),
    ("  of the real volume", ""),
    ("judged Dice ÷ real", "≥ 0.9"),
)


def main() -> None:
    """Draw, measure, print; write the views."""
    parser = argparse.ArgumentParser(description="coherence of generated volumes along z")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps the phantom scene")
    parser.add_argument("--generator", type=Path, required=True, help="weights of a generator trained on it")
    parser.add_argument("--patients", type=int, default=2)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for the coronal views")
    chosen = parser.parse_args()
    shown = scene(chosen.work)
    generator = Generator.from_bytes(chosen.generator.read_bytes(), shown.prior)
    numbers = sorted({int(name.removeprefix("p-"), 16) for name in shown.held_out().patients})[: chosen.patients]
    for slices in SLICES:
        measured: dict[str, list[CoherenceMeasures]] = {kind: [] for kind in KINDS}
        spent = dict.fromkeys(KINDS, 0.0)
        for number in numbers:
            taken = taken_volume(number, slices)
            real, classes = np.asarray(taken.values), np.asarray(taken.labels)
            ids = np.array([0, *taken.classes], np.uint8)[classes]
            spacing = spacing_of(taken)
            labels = class_indices(ids, generator.classes)
            views = [coronal(real, ids, spacing)]
            for kind in KINDS:
                began = time.process_time()
                volume = generate_volume(generator, ids, taken.levels, spacing, chosen.seed, coherence=kind)
                spent[kind] += time.process_time() - began
                measured[kind].append(measure(volume.values, real, labels, judge=shown.judge.labels))
                views.append(coronal(volume.values, ids, spacing))
            if chosen.out:
                chosen.out.mkdir(parents=True, exist_ok=True)
                (chosen.out / f"coronal-{number}-{slices}.png").write_bytes(
                    sheet([[view] for view in views], enlarge=4)
                )
        print(f"\n{len(numbers)} held-out patients, {slices} slices, {spacing[0]:g} mm apart; mean of the patients")
        print(table(measured))
        print(f"{'CPU s a volume':<36}" + "".join(f"{spent[kind] / len(numbers):>16.1f}" for kind in KINDS))


def taken_volume(number: int, slices: int) -> Dataset:
    """The cohort's patient as packed slices in the canonical frame of the demo preset."""
    with tempfile.TemporaryDirectory() as folder:
        published = Published(Zone(f"file://{folder}"))
        drawn, _ = patient(COHORT_SEED, number, (slices, 256, 256))
        published.add_volume(number, drawn.hu, drawn.labels, spacing=drawn.spacing, origin=drawn.origin)
        snapshot = build_snapshot(
            published.slices,
            published.masks,
            published.instances,
            dict.fromkeys((row["split_token"] for row in published.slices), "train"),
            published.clean,
            vocabulary.load(),
            preset("demo").dataset.model_copy(update={"minimum_class_patients": 1}),
            partitions={},
        )
        packed = load_snapshot(published.clean, snapshot.path)
        return replace(packed, values=np.array(packed.values), labels=np.array(packed.labels))


def spacing_of(taken: Dataset) -> tuple[float, float, float]:
    """(slice, row, column) distances in mm."""
    first, second = (np.array(taken.rows[i]["affine"]).reshape(4, 4) for i in (0, 1))
    return abs(float(second[2, 3] - first[2, 3])), float(first[1, 1]), float(first[0, 0])


def coronal(values: np.ndarray, labels: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """The coronal plate as a picture."""
    return grey(plates(values, labels, spacing)[1].values, "CT")


def table(measured: dict[str, list[CoherenceMeasures]]) -> str:
    """Measures down, kinds of noise across; a star where the mean misses its bar."""
    means = {kind: CoherenceMeasures(*np.mean([astuple(m) for m in found], 0)) for kind, found in measured.items()}
    lines = [f"{'':<24}{'goal':<12}" + "".join(f"{kind:>16}" for kind in means)]
    for place, (name, goal) in enumerate(ROWS):
        lines.append(f"{name:<24}{goal:<12}" + "".join(f"{astuple(m)[place]:>16.3f}" for m in means.values()))
    lines.append(f"{'bars missed':<36}" + "".join(f"{len(m.failures()):>16}" for m in means.values()))
    for kind, found in measured.items():
        lines += [f"  {kind}: {said}" for said in means[kind].failures()]
        missed = sum(bool(m.failures()) for m in found)
        lines.append(f"  {kind}: {missed} of {len(found)} patients miss a bar")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
