"""The scene that text encoders are measured in: synthetic patients of three contrast phases, with labels, on disk.

Bodies are those of the demo's cohort; a phase changes how far tissues enhance while they are drawn. The patients of a
split take turns with the phases, so that each phase is learned from equally many. What is measured is in
`text_encoder_quality.py`.
"""

import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset, build_snapshot, load_snapshot
from medillus_pipeline.generation.prior import Prior, build_prior
from medillus_pipeline.generation.split import assign
from medillus_pipeline.phantom import build as builds
from medillus_pipeline.phantom.cohort import patient
from medillus_pipeline.phantom.lesions import lesion_of
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import Published

PATIENTS, MORE = 36, 12
"""Synthetic patients that are split as the pipeline splits them, and further ones for validation only."""

COHORT_SEED = 20260101
PHASES = ("none", "arterial", "portal_venous")
BLOOD_HU = 145.0
"""Tissues that the phantom gives at least this value in the portal venous phase are vessels, heart and renal cortex."""


class _Native(builds.Build):
    """A patient before the injection."""

    def enhanced(self, native: float, portal: float) -> float:
        return native + 0.03 * self.enhancement * (portal - native)


class _Arterial(builds.Build):
    """A patient in the arterial phase: blood at its brightest, parenchyma a third of the way."""

    def enhanced(self, native: float, portal: float) -> float:
        return native + (portal - native) * self.enhancement * (1.8 if portal >= BLOOD_HU else 0.35)


_BUILDS = {"none": _Native, "arterial": _Arterial, "portal_venous": builds.Build}


def phases(splits: list[str]) -> list[str]:
    """The contrast phase of each patient, by the patients' splits."""
    return [PHASES[splits[:number].count(split) % len(PHASES)] for number, split in enumerate(splits)]


def scene(folder: Path, *, lesions: bool = False) -> tuple[Dataset, Prior]:
    """The dataset and its prior, kept in `folder` (made there when they are not yet)."""
    folder = folder / ("lesions" if lesions else "healthy")
    folder.mkdir(parents=True, exist_ok=True)
    clean, note = Zone(f"file://{(folder / 'clean').resolve()}"), folder / "snapshot.json"
    if not note.exists():
        note.write_text(json.dumps(_packed(clean, lesions)))
    dataset = load_snapshot(clean, json.loads(note.read_text()))
    return dataset, build_prior(dataset, preset("demo").prior)


def _packed(clean: Zone, lesions: bool) -> str:
    """Path of the manifest; only the snapshot itself is kept."""
    drawn = builds.draw
    with tempfile.TemporaryDirectory() as scratch:
        published = Published(Zone(f"file://{scratch}"))
        tokens = [token_of(number) for number in range(PATIENTS + MORE)]
        splits = assign(set(tokens[:PATIENTS]), {}) | dict.fromkeys(tokens[PATIENTS:], "validation")
        labels = []
        for number, phase in enumerate(phases([splits[token] for token in tokens])):
            kind = _BUILDS[phase]
            with patch.object(builds, "draw", lambda rng, kind=kind: kind(**asdict(drawn(rng)))):
                body, _ = patient(COHORT_SEED, number, lesions=lesions)
            published.add_volume(number, body.hu, body.labels, spacing=body.spacing, origin=body.origin)
            row = published.slices[-1]
            pathology = (lesion_of(number) if lesions else None) or "normal"
            said = {"contrast_phase": phase, "pathology": pathology}
            labels += [
                {"kind": kind, "value": value, "annotator": "a-1", "revision": 1}
                | {name: row[name] for name in ("study_instance_uid", "series_instance_uid", "patient")}
                for kind, value in said.items()
            ]
        snapshot = build_snapshot(
            published.slices,
            published.masks,
            published.instances,
            splits,
            published.clean,
            vocabulary.load(),
            preset("demo").dataset,
            partitions={},
            study_labels=labels,
        )
        manifest = dict(snapshot.manifest)
        for name, path in manifest.items():
            if isinstance(path, str) and path.startswith("datasets/"):
                manifest[name] = clean.put("datasets", published.clean.read(path), Path(path).suffix).path
        return clean.put("datasets", json.dumps(manifest, sort_keys=True).encode(), ".json").path


def token_of(number: int) -> str:
    """The split token that `Published` gives the patient of that number."""
    return hashlib.sha256(f"patient {number}".encode()).hexdigest()
