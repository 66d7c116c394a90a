"""A small snapshot of synthetic patients with contrast phases, and its prior, for the tests of captions and encoder."""

import tempfile
from functools import cache
from pathlib import Path

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset, build_snapshot, load_snapshot
from medillus_pipeline.generation.prior import Prior, build_prior
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import publish_phantoms

PHASES = ("none", "late_arterial", "portal_venous")


@cache
def small_scene() -> tuple[Dataset, Prior]:
    """Eight patients of eight slices, 32 × 32 pixels, each with a phase; one in three has a cyst in the liver."""
    folder = Path(tempfile.mkdtemp(prefix="medillus-encoder-"))
    published = publish_phantoms(Zone(f"file://{folder}"), 8)
    series = {row["series_instance_uid"]: row for row in published.slices}
    labels = []
    for number, row in enumerate(series.values()):
        said = {
            "contrast_phase": PHASES[number % 3],
            "pathology": "liver_cyst" if number % 3 == 0 else "normal",
            "stage": "IIA" if number % 3 == 0 else None,
        }
        labels += [
            {"kind": kind, "value": value, "annotator": "a-1", "revision": 1}
            | {name: row[name] for name in ("study_instance_uid", "series_instance_uid", "patient")}
            for kind, value in said.items()
            if value
        ]
    snapshot = build_snapshot(
        published.slices,
        published.masks,
        published.instances,
        published.splits,
        published.clean,
        vocabulary.load(),
        preset("tiny").dataset,
        partitions={},
        study_labels=labels,
    )
    dataset = load_snapshot(published.clean, snapshot.path)
    return dataset, build_prior(dataset, preset("tiny").prior)
