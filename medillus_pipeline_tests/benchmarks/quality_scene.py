"""The scene that generators are compared in: a snapshot, its prior, a judge, and students of real images, kept on disk.

Synthetic patients are packed without Dagster from the voxels of the demo's cohort; `openkbp` goes through the pipeline
(see `quality_openkbp.py`). Judge and students of real images are trained once. What is measured is elsewhere
(`generator_quality.py`).
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.config import DatasetConfig, preset
from medillus_pipeline.generation.dataset import Dataset, build_snapshot, load_snapshot
from medillus_pipeline.generation.prior import Prior, build_prior
from medillus_pipeline.generation.segmenter import Segmenter, train_segmenter
from medillus_pipeline.generation.split import assign
from medillus_pipeline.phantom.cohort import patient
from medillus_pipeline.validation.synthetic_training import HeldOut, SyntheticTrainingConfig, students
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.benchmarks.quality_openkbp import openkbp_snapshot
from medillus_pipeline_tests.generation.published import Published

PATIENTS, MORE = 36, 16
"""Synthetic patients that are split as the pipeline splits them, and further ones for validation only."""

COHORT_SEED = 20260101
JUDGE_SEED = 20


@dataclass(frozen=True)
class QualityScene:
    """Unpacks as (dataset, prior, judge); `more` names the further patients of the validation split."""

    dataset: Dataset
    prior: Prior
    judge: Segmenter
    from_real: tuple[Segmenter, ...]
    more: frozenset[str]

    def __iter__(self) -> Iterator[Dataset | Prior | Segmenter]:
        return iter((self.dataset, self.prior, self.judge))

    def held_out(self, *, more: bool = False) -> Dataset:
        """The slices of the validation patients; with `more`, of the further ones too."""
        part = self.dataset.split("validation")
        if more or not self.more:
            return part
        rows = [i for i, name in enumerate(part.patients) if name not in self.more]
        return replace(
            part,
            values=np.asarray(part.values)[rows],
            labels=np.asarray(part.labels)[rows],
            rows=[part.rows[i] for i in rows],
        )

    def tested(self, *, more: bool = False) -> HeldOut:
        """What students are tested on."""
        part = self.held_out(more=more)
        return HeldOut(np.asarray(part.values), np.asarray(part.labels), part.patients)


def scene(work: Path | str, *, data: str = "phantom", source: Path | None = None, threads: int = 1) -> QualityScene:
    """The scene kept in the folder `work`, made there when it is not yet. `source` is the folder of `openkbp`."""
    folder = Path(work) / data
    dataset, more = _kept(folder, data, source)
    config = preset("demo")
    judge_file = folder / "judge.safetensors"
    if not judge_file.exists():
        part = dataset.split("judge")
        judge = train_segmenter(
            part.values,
            part.labels,
            dataset.classes,
            config=config.judge.model_copy(update={"threads": threads}),
            seed=JUDGE_SEED,
            intensity=dataset.intensity,
            claimed=part.claimed,
        )
        judge_file.write_bytes(judge.to_bytes())
    taught = SyntheticTrainingConfig()
    files = [folder / f"student-of-real-{seed}.safetensors" for seed in taught.seeds]
    if not all(file.exists() for file in files):
        train = dataset.split("train")
        for file, student in zip(
            files,
            students(train.values, train.labels, dataset.classes, config=taught, intensity=dataset.intensity),
            strict=True,
        ):
            file.write_bytes(student.to_bytes())
    return QualityScene(
        dataset=dataset,
        prior=build_prior(dataset, config.prior),
        judge=Segmenter.from_bytes(judge_file.read_bytes()),
        from_real=tuple(Segmenter.from_bytes(file.read_bytes()) for file in files),
        more=more,
    )


def _kept(folder: Path, data: str, source: Path | None) -> tuple[Dataset, frozenset[str]]:
    """The snapshot of the folder, packed when there is none, or anew (with all that was learned from it) when another
    release packed it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clean = Zone(f"file://{(folder / 'clean').resolve()}")
    note = folder / "snapshot.json"
    if note.exists():
        kept = json.loads(note.read_text())
        try:
            return load_snapshot(clean, kept["manifest"]), frozenset(kept["more"])
        except InputError:
            for learned in folder.glob("*.safetensors"):
                learned.unlink()
    if data == "phantom":
        manifest, more = _phantom_snapshot(clean)
    elif source is not None:
        manifest, more = openkbp_snapshot(source, clean, folder / "home"), []
    else:
        raise SystemExit("--data openkbp needs --source, the folder of that set")
    note.write_text(json.dumps({"manifest": manifest, "more": more}))
    return load_snapshot(clean, manifest), frozenset(more)


def _phantom_snapshot(clean: Zone, config: DatasetConfig | None = None) -> tuple[str, list[str]]:
    """Path of the manifest, and the pseudonyms of the further patients; only the snapshot itself is kept."""
    with tempfile.TemporaryDirectory() as folder:
        published = Published(Zone(f"file://{folder}"))
        first: set[str] = set()
        for number in range(PATIENTS + MORE):
            drawn, _ = patient(COHORT_SEED, number)
            published.add_volume(number, drawn.hu, drawn.labels, spacing=drawn.spacing, origin=drawn.origin)
            if number < PATIENTS:
                first = {row["split_token"] for row in published.slices}
        splits = assign(first, {})
        further = {row["split_token"]: row["patient"] for row in published.slices if row["split_token"] not in first}
        snapshot = build_snapshot(
            published.slices,
            published.masks,
            published.instances,
            splits | dict.fromkeys(further, "validation"),
            published.clean,
            vocabulary.load(),
            config or preset("demo").dataset,
            partitions={},
        )
        manifest = dict(snapshot.manifest)
        for name, path in manifest.items():
            if isinstance(path, str) and path.startswith("datasets/"):
                manifest[name] = clean.put("datasets", published.clean.read(path), Path(path).suffix).path
        encoded = json.dumps(manifest, sort_keys=True).encode()
        return clean.put("datasets", encoded, ".json").path, sorted(further.values())
