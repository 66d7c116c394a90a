"""From a request to a figure or a refusal: every way in, the checks, and the choice among candidates."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medillus_pipeline.dicom.nifti_file import encode_nifti
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.figure import Figure
from medillus_pipeline.illustration.illustrate import IllustrationRefused, illustrate, understood
from medillus_pipeline.illustration.illustration_request import IllustrationRequest
from medillus_pipeline.illustration.models import Models
from medillus_pipeline.illustration.summary import Summary
from medillus_pipeline_tests.illustration.illustrating import painted, painting, richest, scene


@pytest.fixture(scope="module")
def models() -> Models:
    """Models whose pictures show what was asked."""
    return painting()


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    """A mask with many structures."""
    return richest(scene()[0])


@pytest.fixture
def mask(tmp_path: Path, ids: np.ndarray) -> Path:
    """It as a file."""
    (tmp_path / "mask.png").write_bytes(encode_png(ids))
    return tmp_path / "mask.png"


def of(**given: object) -> IllustrationRequest:
    return IllustrationRequest.parsed({"candidates": 2, **given})


def test_a_mask_becomes_a_figure_that_passed_its_checks(models: Models, mask: Path, ids: np.ndarray) -> None:
    done = illustrate(of(mask=mask), models)
    assert isinstance(done.figure, Figure)
    assert np.array_equal(done.label_map, ids)
    assert done.answer.chosen is not None
    assert done.answer.candidates[done.answer.chosen].passed
    assert done.figure.sidecar["request"]["model"]["version"] == "1"
    assert "liver" in {s["key"] for s in done.figure.sidecar["structures"]}


def test_a_request_repeated_gives_the_same_bytes(models: Models, mask: Path) -> None:
    first, second = (illustrate(of(mask=mask, seed=7), models) for _ in range(2))
    assert isinstance(first.figure, Figure)
    assert isinstance(second.figure, Figure)
    assert first.figure.svg == second.figure.svg
    assert first.figure.png == second.figure.png
    assert first.answer.facts() == second.answer.facts()


def test_a_candidate_is_drawn_as_it_would_be_alone(models: Models, mask: Path) -> None:
    many = illustrate(of(mask=mask, candidates=3), models)
    assert many.answer.chosen is not None
    alone = illustrate(of(mask=mask, candidates=1, seed=many.answer.chosen), models)
    assert np.array_equal(many.image, alone.image)


def test_noise_is_refused_with_a_reason_for_each_candidate(mask: Path) -> None:
    untrained = replace(scene()[1])
    with pytest.raises(IllustrationRefused) as refused:
        illustrate(of(mask=mask, candidates=3), untrained)
    assert [reason.en.startswith(f"candidate {n} ") for n, reason in enumerate(refused.value.reasons, 1)] == [True] * 3
    assert refused.value.answer is not None
    assert not any(candidate.passed for candidate in refused.value.answer.candidates)
    assert all(reason.zh.startswith("候选") for reason in refused.value.reasons)


def test_a_structure_that_the_picture_does_not_show_is_not_named(models: Models, mask: Path, ids: np.ndarray) -> None:
    index = models.index_of_id[ids]
    areas = np.bincount(index.ravel(), minlength=len(models.classes) + 1)[1:]
    unseen = models.vocabulary.by_id(models.classes[int(np.argsort(areas)[-2])])
    blind = painting(blind=models.classes.index(unseen.id) + 1)
    done = illustrate(of(mask=mask), blind)
    assert isinstance(done.figure, Figure)
    assert unseen.key not in {s["key"] for s in done.figure.sidecar["structures"]}
    assert any(f"{unseen.name_en} is drawn and not named" in remark.en for remark in done.answer.remarks)
    with pytest.raises(IllustrationRefused, match=f"{unseen.name_en} is not recovered"):
        illustrate(of(mask=mask, structures=(unseen.key,)), blind)


def test_learners_get_stricter_floors_than_the_demo(models: Models, mask: Path) -> None:
    from medillus_pipeline.illustration.compliance import FLOORS

    demo, strict = FLOORS["demo"], FLOORS["clinical-education"]
    assert strict.dice > demo.dice
    assert strict.share > demo.share
    assert strict.errors < demo.errors
    told = illustrate(of(mask=mask), models).answer.floors
    assert told["profile"] == "demo"
    assert told["reason"]


@pytest.mark.parametrize("name", ["mask.npy", "mask.nii.gz"])
def test_arrays_and_nifti_slices_are_the_same_mask(tmp_path: Path, models: Models, ids: np.ndarray, name: str) -> None:
    if name.endswith(".npy"):
        np.save(tmp_path / name, ids)
    else:
        side = models.field_of_view(None) / models.size
        affine = np.diag([side, side, 3.0, 1.0])
        (tmp_path / name).write_bytes(encode_nifti(ids[None].astype(np.int16), affine))
    assert np.array_equal(illustrate(of(mask=tmp_path / name), models).label_map, ids)


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path, models: Models) -> None:
    np.save(tmp_path / "bad.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(IllustrationRefused, match="no plain array"):
        illustrate(of(mask=tmp_path / "bad.npy"), models)


def test_a_nifti_hung_the_other_way_is_turned(tmp_path: Path, models: Models, ids: np.ndarray) -> None:
    side = models.field_of_view(None) / models.size
    affine = np.diag([-side, -side, 3.0, 1.0])
    turned = np.ascontiguousarray(ids[::-1, ::-1])
    (tmp_path / "turned.nii.gz").write_bytes(encode_nifti(turned[None].astype(np.int16), affine))
    assert np.array_equal(illustrate(of(mask=tmp_path / "turned.nii.gz"), models).label_map, ids)


def test_who_draws_one_organ_claims_that_organ_alone(tmp_path: Path, models: Models, ids: np.ndarray) -> None:
    from medillus_pipeline.illustration.composing_mask import claims

    liver = models.vocabulary.by_key("liver").id
    alone = np.where(ids == liver, ids, 0).astype(np.uint8)
    drawn, _ = claims(alone, models, None, None)
    assert drawn.sum() == 1
    assert drawn[models.classes.index(liver)]
    assert claims(ids, models, None, None)[0].all()
    assert claims(alone, models, True, None)[0].all()


def test_a_sentence_becomes_a_figure_and_is_said_back_in_both_languages(models: Models) -> None:
    done = illustrate(of(text="CT of the liver and spleen"), models)
    present = {models.vocabulary.by_id(i).key for i in np.unique(done.label_map) if i}
    assert {"liver", "spleen"} <= present
    assert "Understood: modality: CT" in done.answer.understood.en
    assert "理解为" in done.answer.understood.zh
    assert done.answer.candidates[0].ranked_by == "organ_segmenter"


@pytest.mark.parametrize(
    ("text", "reason", "chinese"),
    [
        ("急性胰腺炎CT表现", "acute pancreatitis is not in the training data", "训练数据中没有急性胰腺炎"),
        ("MR of the liver", "MR is not in the training data", "训练数据中没有MR"),
        ("CT of the flurble", "not understood: 'flurble'", "未能理解"),
    ],
)
def test_what_cannot_be_drawn_is_said_and_not_drawn(models: Models, text: str, reason: str, chinese: str) -> None:
    with pytest.raises(IllustrationRefused) as refused:
        illustrate(of(text=text), models)
    assert any(reason in each.en for each in refused.value.reasons)
    assert any(chinese in each.zh for each in refused.value.reasons)
    assert refused.value.answer is None


def test_a_text_beside_a_mask_sizes_what_is_drawn(models: Models, mask: Path, ids: np.ndarray) -> None:
    spleen = models.vocabulary.by_key("spleen").id
    assert models.bank is not None
    index = models.classes.index(spleen)
    answer = illustrate(of(mask=mask, text="spleen enlarged by 100%"), models)
    level = models.prior.likely_levels(models.index_of_id[ids][None])[0]
    wanted = 2 * models.bank.usual_pixels(index, float(level))
    assert abs((answer.label_map == spleen).sum() - wanted) <= 1


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"text": "CT without liver"}, "the text leaves out liver"),
        ({"structures": ("livr",)}, "did you mean liver"),
        ({"structures": ("pancreas",)}, "not in the training data"),
        ({"contrast_phase": "delayed"}, "phase"),
        ({"steps": 5, "window": "40/400", "modality": "MR"}, "draws CT, not MR"),
    ],
)
def test_contradictions_and_unknown_things_are_refused(
    models: Models, mask: Path, given: dict[str, object], reason: str
) -> None:
    with pytest.raises(IllustrationRefused) as refused:
        illustrate(of(mask=mask, **given), models)
    assert reason.casefold() in str(refused.value).casefold()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"mask": "m.png", "sketch": "s.png"},
        {"scan": "s-1", "text": "liver"},
        {"text": "liver", "legend": {"#ff0000": "liver"}},
        {"text": "liver", "flip": True},
        {"text": "liver", "window": "wide"},
        {"text": "liver", "style": "poster"},
        {"text": "liver", "colour": "red"},
        {"text": "liver", "level": 2},
    ],
)
def test_a_malformed_request_is_refused_in_one_sentence(given: dict[str, object]) -> None:
    with pytest.raises(InputError) as refused:
        IllustrationRequest.parsed(given)
    assert "\n" not in str(refused.value)


def test_a_real_slice_is_shown_as_it_is(tmp_path: Path, models: Models) -> None:
    dataset = scene()[0].split("validation")
    row = int(np.argmax([len(np.unique(labels)) for labels in dataset.labels]))
    image, side = painted(np.asarray(dataset.labels[row])), models.field_of_view(None) / models.size
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(encode_nifti(image[None], np.diag([side, side, 3.0, 1.0])))
    done = illustrate(of(scan=str(path), style="patient"), models)
    assert isinstance(done.figure, Figure)
    assert np.array_equal(done.image, image)
    assert done.figure.request.source == "scan"
    assert done.figure.request.labelled_by == "organ_segmenter"
    assert not done.answer.candidates
    found = done.label_map == models.vocabulary.by_key("liver").id
    true = dataset.labels[row] == models.classes.index(models.vocabulary.by_key("liver").id) + 1
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.7
    with pytest.raises(IllustrationRefused, match="was not found in the scan"):
        illustrate(of(scan=str(path), structures=("pancreas",)), models)


def test_a_slice_name_needs_a_clean_zone(models: Models) -> None:
    with pytest.raises(IllustrationRefused, match="clean zone"):
        illustrate(of(scan="s-0000000000000000-0001"), models)


def test_a_summary_is_a_page(models: Models, mask: Path) -> None:
    assert isinstance(illustrate(of(mask=mask, style="summary", candidates=1), models).figure, Summary)


def test_what_is_understood_is_said_without_drawing(models: Models, mask: Path) -> None:
    answer = understood(of(mask=mask), models)
    assert answer.understood.en.startswith("The mask shows")
    assert not answer.candidates


def test_a_sketch_without_its_segmenter_says_what_to_do(models: Models, mask: Path) -> None:
    with pytest.raises(IllustrationRefused, match="materialize sketch_segmenter"):
        illustrate(of(sketch=mask), models)
