"""A studio that answers on loopback, with tiny models that were really trained; what they draw is of no use to anybody.

The floors of the checks are lowered for a profile of the tests' own, or no figure would ever leave; one test looks at
the refusals of a real profile.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import build_snapshot, load_snapshot
from medillus_pipeline.generation.prior import build_prior
from medillus_pipeline.generation.segmenter import train_segmenter
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline.illustration import compliance
from medillus_pipeline.illustration.illustrate import illustrate
from medillus_pipeline.illustration.models import ModelFacts, Models
from medillus_pipeline.settings import Settings
from medillus_pipeline.sketches.config import SketchConfig
from medillus_pipeline.sketches.training import train_sketch_segmenter
from medillus_pipeline.studio import server
from medillus_pipeline.studio.access import Access
from medillus_pipeline.studio.bench import Bench
from medillus_pipeline.studio.routes import build_app
from medillus_pipeline.studio.verdicts import Desk
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.flow import settings_at
from medillus_pipeline_tests.generation.published import publish_phantoms
from medillus_pipeline_tests.generation.variants import TINY

LENIENT = "tests of the studio"
SKETCHES = SketchConfig(channels=(8, 16, 24), steps=40, batch_size=4, calibration_drawings=16)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Eight synthetic patients, 32 × 32 pixels; every model trained for a moment."""
    words, tiny = vocabulary.load(), preset("tiny")
    rows = publish_phantoms(Zone(f"file://{tmp_path_factory.mktemp('clean')}"), 8)
    snapshot = build_snapshot(
        rows.slices, rows.masks, rows.instances, rows.splits, rows.clean, words, tiny.dataset, partitions={}
    )
    dataset = load_snapshot(rows.clean, snapshot.path)
    prior = build_prior(dataset, tiny.prior)
    return Models(
        generator=train_generator(dataset, prior, TINY["flow"].model_copy(update={"steps": 2}), seed=3),
        prior=prior,
        organ_segmenter=train_segmenter(
            dataset.values, dataset.labels, dataset.classes, config=tiny.organ_segmenter, seed=1
        ),
        vocabulary=words,
        facts=ModelFacts("medillus-generator", "7", "f" * 64, "0", words.version, profile=LENIENT),
        dataset=dataset,
        sketch_segmenter=train_sketch_segmenter(dataset, prior, SKETCHES, vocabulary=words, seed=3),
    )


@dataclass
class Running:
    """A studio that answers: where, how it is entered, and what it works with."""

    port: int
    access: Access
    bench: Bench
    settings: Settings

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Start = Callable[..., Running]


@pytest.fixture
def start(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a studio on a free port of loopback; it stops with the test."""
    easy = replace(
        compliance.FLOORS["demo"], dice=0.0, share=0.0, calibrated=0.0, agreement=0.0, errors=1.0, similarity=0.0
    )
    monkeypatch.setitem(compliance.FLOORS, LENIENT, easy)
    running = []

    def started(profile: str = LENIENT, making: Callable = illustrate, **further: str) -> Running:
        listening = server.bound("127.0.0.1", 0)
        port = listening.getsockname()[1]
        settings = settings_at(tmp_path / "home", **further)
        own = replace(models, facts=replace(models.facts, profile=profile))
        bench = Bench(own, making, settings.signing_key)
        access = server.access_for("127.0.0.1", port)
        served = server.server(build_app(bench, Desk(settings), access))
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not served.started:
            time.sleep(0.01)
        running.append((served, thread))
        return Running(port, access, bench, settings)

    yield started
    for served, thread in running:
        served.should_exit = True
        thread.join(10)
