"""The newest version with all that measuring it takes, on whichever patients: validation for the report, locked test
for a promotion. What is measured is in `validation/one_pass.py`.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medillus_pipeline import published
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource

if TYPE_CHECKING:
    from medillus_pipeline.annotation.vocabulary import Vocabulary
    from medillus_pipeline.generation.dataset import Dataset
    from medillus_pipeline.generation.plausible_anatomy import Rules
    from medillus_pipeline.generation.sampling import Generator
    from medillus_pipeline.generation.segmenter import Segmenter
    from medillus_pipeline.validation.gates import Verdict
    from medillus_pipeline.validation.one_pass import Measured, OnePassConfig


@dataclass(frozen=True)
class Subject:
    """A version, the dataset that it learned from, and the judge. `described` is the model's config.json, `rules` are
    those of anatomical errors; without them `remarks` says why.
    """

    checkpoint: dict[str, Any]
    judge_document: dict[str, Any]
    dataset: "Dataset"
    generator: "Generator"
    described: dict[str, Any]
    judge: "Segmenter"
    words: "Vocabulary"
    rules: "Rules | None"
    remarks: tuple[str, ...]

    def measure(self, split: str, config: "OnePassConfig", *, seed: int, **further: Any) -> "Measured":
        """One pass over the patients of a split. `further` goes to `one_pass.measure`."""
        from medillus_pipeline.validation import one_pass, released

        return one_pass.measure(
            released.cohort(self.dataset.split(split)),
            released.cohort(self.dataset.split("train")),
            [self.words.by_id(c) for c in self.dataset.classes],
            self.dataset.classes,
            sample=released.sampler(self.generator),
            judge=self.judge,
            seed=seed,
            config=config,
            rules=self.rules,
            intensity=self.dataset.intensity,
            **further,
        )


def load_subject(store: StoreResource, mlflow: MLflowResource) -> Subject:
    """The newest version. Raises NotEnoughDataError before anything was trained."""
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.errors import NotEnoughDataError
    from medillus_pipeline.generation import model_file
    from medillus_pipeline.generation.config import preset
    from medillus_pipeline.generation.dataset import load_snapshot
    from medillus_pipeline.generation.plausible_anatomy import calibrate
    from medillus_pipeline.generation.segmenter import Segmenter

    checkpoint = published.require(store.clean, "generator_checkpoint")
    judge_document = published.require(store.clean, "judge")
    dataset = load_snapshot(store.clean, checkpoint["dataset_manifest"])
    with tempfile.TemporaryDirectory() as folder:
        package = mlflow.download(checkpoint["version"], Path(folder))
        generator = model_file.load(package)
        described = json.loads((package / "config.json").read_bytes())
    remarks, rules = [], None
    try:
        rules = calibrate(generator.prior, dataset, prior_config=preset(dataset.preset).prior)
    except NotEnoughDataError as error:
        remarks.append(f"Anatomical errors were not counted: {error}.")
    return Subject(
        checkpoint=checkpoint,
        judge_document=judge_document,
        dataset=dataset,
        generator=generator,
        described=described,
        judge=Segmenter.from_bytes(store.clean.read(judge_document["path"])),
        words=vocabulary.load(),
        rules=rules,
        remarks=tuple(remarks),
    )


def locked_test_of(
    store: StoreResource, mlflow: MLflowResource, chosen: "Callable[[str], OnePassConfig]", *, seed: int
) -> "Callable[[str], Verdict]":
    """How a promotion opens the locked test: version → the verdict of the profile's gates on its patients. The figures
    are kept as `locked_test-<version>`. `chosen` says by profile how much is measured. Raises InputError for another
    version than the newest.
    """

    def verdict(version: str) -> "Verdict":
        from medillus_pipeline.errors import InputError
        from medillus_pipeline.validation import gates
        from medillus_pipeline.validation.figures import figures_json

        subject = load_subject(store, mlflow)
        if subject.checkpoint["version"] != version:
            raise InputError(f"version {version} is not the newest any more: validate and promote the newest")
        profile = gates.load_profile(store.profile)
        measured = subject.measure("locked_test", chosen(profile.name), seed=seed)
        found = gates.judge_gates(profile, measured.evaluation.figures)
        published.publish(
            store.clean,
            f"locked_test-{version}",
            {
                "version": version,
                "sentence": found.sentence,
                "figures": figures_json(measured.evaluation.figures),
                "failed_gates": [r.gate.figure for r in found.results if not r.passed],
                "dataset_fingerprint": subject.dataset.fingerprint,
                "judge_sha256": subject.judge_document["sha256"],
            },
        )
        return found

    return verdict


def ethics_of(store: StoreResource) -> dict[str, str] | None:
    """The ethics record of the roster: intended use, who answers for it, since when; None where there is none."""
    record = store.roster().ethics if store.reviewers_file else None
    return None if record is None else record.record()
