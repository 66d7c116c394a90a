"""The card says what is in the model's own documents, and says the same of the same model."""

import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.model_card import model_card, summary

WORDS = vocabulary.load()


@pytest.fixture
def described(dataset: Dataset) -> dict:
    return {
        "classes": list(dataset.classes),
        "modality": "CT",
        "size": 32,
        "seed": 3,
        "dataset_fingerprint": dataset.fingerprint,
        "config": preset("tiny").generator.model_dump(mode="json"),
        "vocabulary_version": WORDS.version,
        "split_hash": dataset.manifest["split_hash"],
        "package_version": "9.9",
    }


def card(described: dict, dataset: Dataset, **further) -> str:
    return model_card(described, dataset.manifest, WORDS, prior_sha256="p" * 64, **further)


def test_the_card_names_every_structure_with_its_code(described: dict, dataset: Dataset) -> None:
    text = card(described, dataset)
    assert len(dataset.classes) > 5
    for label in dataset.classes:
        structure = WORDS.by_id(label)
        assert f"| {label} | {structure.name_en} | {structure.code} {structure.meaning}".strip() in text


def test_patients_and_slices_are_counted_by_modality_and_split(described: dict, dataset: Dataset) -> None:
    text = card(described, dataset)
    for split, count in dataset.manifest["counts"].items():
        assert f"| CT | {split} | {count['patients']} | {count['slices']} |" in text


def test_everything_that_decides_the_model_is_there(described: dict, dataset: Dataset) -> None:
    text = card(described, dataset, start_sha256="s" * 64)
    for said in (
        dataset.fingerprint,
        dataset.manifest["split_hash"],
        WORDS.version,
        "p" * 64,
        "s" * 64,
        "9.9",
        "seed 3",
    ):
        assert said in text
    for name, value in described["config"].items():
        assert (f"| `{name}` | {value} |" in text) is (name != "threads")


def test_threads_do_not_change_the_card(described: dict, dataset: Dataset) -> None:
    other = described | {"config": described["config"] | {"threads": 7}}
    assert card(other, dataset) == card(described, dataset)


def test_what_is_not_known_is_said_and_what_is_given_replaces_it(described: dict, dataset: Dataset) -> None:
    text = card(described, dataset)
    assert "Licence of the data: not stated." in text and "Not judged yet" in text and "fresh weights" in text
    told = card(described, dataset, verdict=["All 5 gates of profile demo passed."], data_licence="CC BY 4.0")
    assert "* All 5 gates of profile demo passed." in told and "Licence of the data: CC BY 4.0." in told
    assert "Not judged yet" not in told


def test_structures_that_the_judge_cannot_measure_are_marked(described: dict, dataset: Dataset) -> None:
    first = dataset.classes[0]
    text = model_card(
        described, dataset.manifest | {"classes_without_judge_patients": [first]}, WORDS, prior_sha256="p"
    )
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    assert line.endswith("| no |")


def test_the_card_warns_at_its_head_and_names_no_delivery_and_no_patient(described: dict, dataset: Dataset) -> None:
    text = card(described, dataset)
    assert "not for diagnosis" in text.splitlines()[0]
    assert "## Intended use" in text and "## Limits" in text
    named = {*dataset.manifest["partitions"]["slices"], *(row["patient"] for row in dataset.rows)}
    assert not [name for name in named if name in text]


def test_the_summary_is_short_and_warns(described: dict, dataset: Dataset) -> None:
    text = summary(described, dataset.manifest)
    assert len(text) < 400 and "not for diagnosis" in text and dataset.fingerprint[:8] in text
