"""Masks for requests, on a small snapshot of synthetic patients: what they show, and what is refused instead."""

import json

import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.body_regions import level_of_classes
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset, build_snapshot, load_snapshot
from medillus_pipeline.generation.prior import Prior, build_prior
from medillus_pipeline.language.drawable import Drawable, undrawable
from medillus_pipeline.language.mask_answer import GREATEST_DICE, MaskAnswer, Way, mask_for
from medillus_pipeline.language.mask_bank import MaskBank, broken_orders, greatest_dice
from medillus_pipeline.language.mask_change import changed, freedom, greatest_diameter, left_out, resized
from medillus_pipeline.language.parser import understand
from medillus_pipeline.language.shown_back import shown_back
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import publish_phantoms

WORDS = vocabulary.load()
Scene = tuple[MaskBank, Prior, Drawable]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eight patients of eight slices each at 32 × 32, all labelled."""
    published = publish_phantoms(Zone(f"file://{tmp_path_factory.mktemp('clean')}"), 8)
    snapshot = build_snapshot(
        published.slices,
        published.masks,
        published.instances,
        published.splits,
        published.clean,
        WORDS,
        preset("tiny").dataset,
        partitions={"slices": {"d-1": "version"}},
    )
    return load_snapshot(published.clean, snapshot.path)


@pytest.fixture(scope="module")
def scene(dataset: Dataset) -> Scene:
    return MaskBank.of_dataset(dataset), build_prior(dataset, preset("tiny").prior), Drawable.of_dataset(dataset)


def answer(text: str, scene: Scene, *, seed: int = 0, way: Way = "retrieve") -> MaskAnswer:
    bank, prior, can = scene
    return mask_for(understand(text, WORDS), bank, prior, WORDS, can=can, seed=seed, way=way)


def pixels(found: MaskAnswer, key: str) -> int:
    return int((found.label_map == WORDS.by_key(key).id).sum())


WAYS: tuple[Way, ...] = ("retrieve", "shape")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "text", ["liver, left kidney", "肝、左肾", "CT of the heart and lungs", "liver, no left kidney"]
)
def test_a_mask_shows_what_is_asked_for_in_its_order_and_is_no_copy(text: str, way: Way, scene: Scene):
    bank = scene[0]
    found = answer(text, scene, way=way)
    request = understand(text, WORDS)
    for label in request.structures:
        parts = scene[2].parts_of(label, WORDS)
        assert parts and all((found.label_map == part).any() for part in parts)
    assert not np.isin(found.label_map, request.absent).any()
    table = np.zeros(256, np.uint8)
    table[list(bank.classes)] = np.arange(1, len(bank.classes) + 1)
    labels = table[found.label_map]
    assert broken_orders(labels, bank.right_of, bank.below)[0] == 0
    assert greatest_dice(labels, bank.labels) == pytest.approx(found.figures.copy_dice)
    assert found.figures.copy_dice <= GREATEST_DICE


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", ["enlarged liver", "liver 增大30%", "肝缩小20%"])
def test_a_size_is_met_to_the_pixel(text: str, way: Way, scene: Scene):
    found = answer(text, scene, way=way)
    assert found.figures.sized and found.figures.area_error <= 0.05
    bank = scene[0]
    factor = understand(text, WORDS).sizes[0].factor
    level = bank.usual_pixels(bank.classes.index(WORDS.by_key("liver").id), _liver_level(scene))
    assert abs(pixels(found, "liver") - (factor or 0) * level) <= 0.5 + 1e-6


def _liver_level(scene: Scene) -> float:
    return level_of_classes(scene[1], [WORDS.by_key("liver").id])


def test_the_same_seed_gives_the_same_mask_and_another_gives_another(scene: Scene):
    one, again, other = (answer("liver", scene, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.label_map, again.label_map)
    assert not np.array_equal(one.label_map, other.label_map)


def test_the_source_stands_in_the_provenance_alone(scene: Scene):
    found = answer("enlarged liver", scene)
    source = found.provenance["source_patient"]
    assert source in scene[0].patients
    assert source not in " ".join(found.remarks)
    assert "source_patient" not in answer("liver", scene, way="shape").provenance
    json.dumps(found.provenance)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("急性胰腺炎CT表现", "acute pancreatitis is not in the training data"),
        ("portal venous phase, liver", "portal venous is not in the training data"),
        ("brain", "brain is not in the training data"),
        ("liver at T12", "level of T12 vertebra cannot be found"),
        ("T1 MRI of the liver", "MR is not in the training data"),
        ("coronal liver", "coronal slices are not in the training data"),
        ("liver cancer stage IV", "stage IV is not in the training data"),
        ("CT of the head, liver", "HEAD is not in the training data"),
        ("liver and a frobnicator", "correct the request first: not understood: 'frobnicator'"),
        ("enlarged and absent liver", "sized and absent"),
        ("", "says nothing that a mask could show"),
        ("kidneys at 1", "no training slice shows this at level 1.00"),
    ],
)
def test_what_cannot_be_drawn_is_said_and_never_drawn(text: str, said: str, scene: Scene):
    with pytest.raises(InputError, match=said):
        answer(text, scene)


def test_a_known_attribute_can_be_asked_for_and_an_unknown_one_is_explained_in_both_languages():
    can = Drawable((5,), ("modality=CT", "contrast_phase=portal_venous", "pathology=acute_pancreatitis"))
    assert not undrawable(understand("acute pancreatitis, portal venous phase CT, liver", WORDS), can, WORDS)
    (found,) = undrawable(understand("慢性胰腺炎", WORDS), can, WORDS)
    assert (found.kind, found.zh) == ("pathology", "训练数据中没有慢性胰腺炎")


def test_leaving_out_what_is_never_drawn_changes_nothing_and_is_said(scene: Scene):
    assert any("brain is never drawn" in remark for remark in answer("liver, no brain", scene).remarks)


def test_nothing_moves_under_the_skin_or_outside_the_body():
    body = np.zeros((40, 40), bool)
    body[8:32, 6:34] = True
    free = freedom(body, np.zeros_like(body), 5.0)
    assert (free[~body] == 0).all() and free[8, 6:34].max() == 0 and free[20, 20] > 0.9
    labels = np.zeros((40, 40), np.uint8)
    labels[4:36, 4:36] = 1
    labels[16:24, 16:24] = 2
    moved = changed(labels, free, 5.0, np.random.default_rng(0), 2.0)
    np.testing.assert_array_equal(moved[free == 0], labels[free == 0])
    assert not np.array_equal(moved, labels)


@pytest.mark.parametrize("target", [30, 64, 100, 137])
def test_an_organ_grows_and_shrinks_to_an_exact_area_and_pushes_its_neighbour(target: int):
    labels = np.zeros((40, 40), np.uint8)
    labels[16:24, 16:24], labels[16:24, 24:30] = 1, 2
    free = freedom(np.ones_like(labels, bool), np.zeros_like(labels, bool), 5.0)
    found = resized(labels, 1, free, lambda mask: float(mask.sum()), target, exact=True)
    assert (found == 1).sum() == target
    assert (found == 2).sum() >= 20
    rows = np.argwhere(found == 1)
    assert abs(rows.mean(0) - 19.5).max() < 1.5


def test_an_organ_gets_the_diameter_that_is_asked_for():
    labels = np.zeros((40, 40), np.uint8)
    labels[16:24, 16:24] = 1
    free = freedom(np.ones_like(labels, bool), np.zeros_like(labels, bool), 5.0)
    found = resized(labels, 1, free, greatest_diameter, 18.0, exact=False)
    assert abs(greatest_diameter(found == 1) - 18.0) <= 1.5


def test_what_is_left_out_goes_to_what_surrounds_it():
    labels = np.full((10, 10), 1, np.uint8)
    labels[4:6, 4:6] = 2
    assert (left_out(labels, 2) == 1).all()
    labels[labels == 1] = 0
    assert not left_out(labels, 2).any()


def test_a_copy_has_dice_one_and_a_broken_order_is_seen(scene: Scene):
    bank = scene[0]
    row = int(bank.pixels.sum(1).argmax())
    assert greatest_dice(bank.labels[row], bank.labels) == 1.0
    broken, kept = broken_orders(bank.labels[row], bank.right_of, bank.below)
    assert broken == 0 and kept > 0
    assert broken_orders(bank.labels[row][:, ::-1], bank.right_of, bank.below)[0] > 0


def test_a_request_is_shown_back_in_either_language():
    request = understand("axial abdominal CT, portal venous phase, enlarged splean, no gallbladder, 急性胰腺炎", WORDS)
    en, zh = shown_back(request, WORDS, "en"), shown_back(request, WORDS, "zh")
    for part in (
        "modality: CT",
        "axial",
        "abdomen",
        "portal venous",
        "acute pancreatitis (ICD-11 DC31)",
        "gallbladder",
    ):
        assert part in en
    assert "did you mean: spleen?" in en and "with: spleen" not in en
    for part in ("横断面", "腹部", "门静脉期", "急性胰腺炎 (ICD-11 DC31)", "不显示：胆囊", "是否指：spleen"):
        assert part in zh
    size = shown_back(understand("脾增大", WORDS), WORDS, "zh")
    assert "脾为通常面积的1.5倍（默认值）" in size
