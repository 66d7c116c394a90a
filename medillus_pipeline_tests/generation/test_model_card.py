"""The card says what is in the model's own documents, and says the same of the same model."""

import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.model_card import model_card, summary
from medillus_pipeline.generation.prior import Prior

WORDS = vocabulary.load()


@pytest.fixture
def described(dataset: Dataset) -> dict:
    return {
        "classes": list(dataset.classes),
        "family": "flow",
        "modalities": ["CT"],
        "attributes": ["modality=CT", "contrast_phase=portal_venous", "contrast_phase=native", "stage=late"],
        "images": 1,
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


def test_several_modalities_are_counted_each_by_itself_where_the_manifest_does(
    described: dict, dataset: Dataset
) -> None:
    both = described | {"modalities": ["CT", "MR"]}
    split = {"train": {"patients": 5, "slices": 17}}
    counted = dataset.manifest | {"counts_by_modality": {"CT": split, "MR": {"train": {"patients": 2, "slices": 3}}}}
    text = model_card(both, counted, WORDS, prior_sha256="p")
    assert "| CT | train | 5 | 17 |" in text and "| MR | train | 2 | 3 |" in text
    assert text.startswith("# CT and MR slice generator")
    assert "(CT in HU; MR in series-normalised values, -1000 to 1000)" in text
    train = dataset.manifest["counts"]["train"]
    row = f"| CT, MR | train | {train['patients']} | {train['slices']} |"
    joined = {name: value for name, value in dataset.manifest.items() if name != "counts_by_modality"}
    assert row in model_card(both, joined, WORDS, prior_sha256="p")


def test_what_the_model_can_be_told_stands_by_kind(described: dict, dataset: Dataset) -> None:
    text = card(described, dataset)
    assert "* contrast phase: `portal_venous`, `native`\n* stage: `late`" in text
    assert "Nothing but the mask." in card(described | {"attributes": []}, dataset)


@pytest.mark.parametrize(("family", "said"), [("flow", "A rectified flow"), ("gan", "A generative adversarial")])
def test_the_family_and_its_channels_are_said(described: dict, dataset: Dataset, family: str, said: str) -> None:
    config = getattr(preset("tiny"), "gan" if family == "gan" else "generator").model_dump(mode="json")
    text = card(described | {"family": family, "config": config}, dataset)
    assert said in text and "draws all three" not in text
    assert "draws all three" in card(described | {"family": family, "config": config, "images": 3}, dataset)


def test_the_prior_is_named_by_version_and_origin(described: dict, dataset: Dataset, prior: Prior) -> None:
    text = card(described, dataset, prior=prior.describe())
    assert prior.version in text and prior.origin in text and f"{prior.patients} patients, 8 levels" in text


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


def test_a_verdict_joins_the_summary(described: dict, dataset: Dataset) -> None:
    text = summary(described, dataset.manifest, "All 5 gates of profile demo passed.")
    assert text == summary(described, dataset.manifest) + " All 5 gates of profile demo passed."
