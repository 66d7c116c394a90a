"""Training batches: what a step sees depends on seed, step and sample number alone; no mask shows more than it says."""

from dataclasses import fields, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from medillus_pipeline.errors import ConfigurationError, NotEnoughDataError
from medillus_pipeline.generation.augmentation_config import AugmentationConfig
from medillus_pipeline.generation.batches import Batch, Batches, ahead, multi_hot
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import tissues

KNOWN = ("modality=CT", "modality=MR", "body_part=CHESTABDOMEN")
PLAIN = AugmentationConfig(
    rare_structures=0,
    shift_pixels=0,
    resampled=0,
    mirrored=0,
    gain=0,
    offset=0,
    grain=0,
    partial_masks=0,
    no_mask=0,
    attribute_dropout=0,
    no_attributes=0,
    context_dropout=0,
    context_coarse=0,
)
"""Slices as they are packed, with everything that is known of them."""
ALL = AugmentationConfig(
    resampled=1, mirrored=1, calibrated_too=True, partial_masks=0.5, attribute_dropout=0.5, no_mask=0.2
)


@pytest.fixture(scope="module")
def train(dataset: Dataset) -> Dataset:
    """The train split of the snapshot."""
    return dataset.split("train")


def batches(train: Dataset, config: AugmentationConfig, **more: int) -> Batches:
    """Batches of eight samples, seed 5 unless told otherwise."""
    return Batches(train, KNOWN, config, **({"batch_size": 8, "seed": 5} | more))


def same(one: Batch, other: Batch) -> bool:
    """Whether every tensor of two batches agrees bit for bit."""
    return all(torch.equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Batch))


def joined(parts: list[Batch]) -> Batch:
    """The global batch whose rows the ranks hold in turn; noise has its fields before its rows."""
    rows = {field.name: 1 if field.name == "noise" else 0 for field in fields(Batch)}
    return Batch(
        **{
            name: torch.stack([getattr(part, name) for part in parts], axis + 1).flatten(axis, axis + 1)
            for name, axis in rows.items()
        }
    )


@pytest.mark.parametrize("config", [AugmentationConfig(), ALL], ids=["default", "all"])
def test_the_shares_of_all_ranks_are_the_batch_of_one_process(train: Dataset, config: AugmentationConfig) -> None:
    whole = batches(train, config)(3)
    for world in (2, 4):
        assert same(whole, joined([batches(train, config, rank=rank, world=world)(3) for rank in range(world)]))


def test_a_resumed_run_sees_the_same_batches_and_other_steps_and_seeds_others(train: Dataset) -> None:
    first = batches(train, ALL)
    seen = [first(step) for step in range(4)]
    assert same(seen[3], batches(train, ALL)(3))
    assert not same(seen[2], seen[3])
    assert not same(seen[3], batches(train, ALL, seed=6)(3))


def test_preparing_ahead_changes_nothing(train: Dataset) -> None:
    drawn = batches(train, ALL)
    assert all(same(one, drawn(step)) for one, step in zip(ahead(drawn, range(2, 6)), range(2, 6), strict=True))
    assert list(ahead(drawn, [])) == []


def test_a_failure_of_the_thread_reaches_the_step_that_needs_the_batch(train: Dataset) -> None:
    drawn = batches(train, ALL)

    def failing(step: int) -> Batch:
        if step == 2:
            raise OSError("the file is gone")
        return drawn(step)

    prepared = ahead(failing, range(1, 4))
    assert same(next(prepared), drawn(1))
    with pytest.raises(OSError, match="gone"):
        next(prepared)


def test_without_augmentation_a_sample_is_its_packed_slice(train: Dataset) -> None:
    batch = batches(train, PLAIN, batch_size=32)(0)
    packed = train.intensity.forward(np.asarray(train.values))
    kinds = tissues(np.asarray(train.values))
    for image, label, level, context in zip(batch.image, batch.label, batch.level, batch.context, strict=True):
        (row,) = [row for row, plain in enumerate(packed) if np.array_equal(image[0].numpy(), plain)]
        assert np.array_equal(label.numpy(), train.labels[row])
        assert level.item() == train.levels[row]
        assert np.array_equal(context.numpy(), kinds[row].astype(np.float32))
    assert torch.equal(batch.given, batch.label)
    assert batch.drawn.all()
    assert batch.attributes.tolist() == [[1, 0, 1]] * 32


def test_shapes_and_types_are_those_of_the_batch(train: Dataset) -> None:
    batch = batches(train, AugmentationConfig())(0)
    size, classes = train.values.shape[-1], len(train.classes)
    told = {
        field.name: (tuple(getattr(batch, field.name).shape), getattr(batch, field.name).dtype)
        for field in fields(Batch)
    }
    assert told == {
        "image": ((8, 1, size, size), torch.float32),
        "label": ((8, size, size), torch.int64),
        "given": ((8, size, size), torch.int64),
        "drawn": ((8, classes), torch.bool),
        "claimed": ((8, classes), torch.bool),
        "level": ((8,), torch.float32),
        "attributes": ((8, 3), torch.float32),
        "context": ((8, 4, size, size), torch.float32),
        "noise": ((1, 8, 1, size, size), torch.float32),
        "time": ((8,), torch.float32),
    }
    assert batch.image.min() >= -1
    assert batch.image.max() <= 1


def test_neighbours_are_channels_and_the_context_is_that_of_the_slice_itself(train: Dataset) -> None:
    values = np.asarray(train.values)
    near = np.stack([values[::-1], values // 2], 1)
    batch = batches(replace(train, neighbours=near), PLAIN, batch_size=16)(0)
    alone = batches(train, PLAIN, batch_size=16)(0)
    assert batch.image.shape[1] == 3
    assert torch.equal(batch.image[:, 1:2], alone.image)
    assert torch.equal(batch.context, alone.context)
    assert batch.noise[0].shape == batch.image.shape
    assert not torch.equal(batch.image[:, 0], batch.image[:, 1])


def test_a_partial_mask_shows_nothing_of_a_class_that_it_leaves_out(train: Dataset) -> None:
    config = PLAIN.model_copy(update={"partial_masks": 1.0})
    batch = batches(train, config, batch_size=64)(0)
    kept = torch.cat([torch.zeros((64, 1), dtype=torch.bool), batch.drawn], 1)
    shown = kept.gather(1, batch.label.flatten(1)).view_as(batch.label)
    assert torch.equal(batch.given, batch.label * shown)
    assert 0.4 < batch.drawn.float().mean() < 0.6
    assert (batch.given != batch.label).any()


def test_what_is_left_out_tells_nothing_about_what_is_there(train: Dataset) -> None:
    """Classes that the slice shows are left out as often as those that it does not."""
    config = PLAIN.model_copy(update={"partial_masks": 1.0})
    batch = batches(train, config, batch_size=400)(0)
    present = torch.stack([(batch.label == index).flatten(1).any(1) for index in range(1, len(train.classes) + 1)], 1)
    assert abs(batch.drawn[present].float().mean() - batch.drawn[~present].float().mean()) < 0.06


def test_without_a_mask_nothing_is_given_and_nothing_claimed(train: Dataset) -> None:
    batch = batches(train, PLAIN.model_copy(update={"no_mask": 1.0}))(0)
    assert not batch.given.any()
    assert not batch.drawn.any()
    assert batch.label.any()


def test_attributes_are_withheld_by_kind_or_altogether(train: Dataset) -> None:
    some = batches(train, PLAIN.model_copy(update={"attribute_dropout": 0.5}), batch_size=64)(0).attributes
    assert {tuple(row) for row in some.tolist()} == {(0, 0, 0), (1, 0, 0), (0, 0, 1), (1, 0, 1)}
    assert not batches(train, PLAIN.model_copy(update={"no_attributes": 1.0}))(0).attributes.any()
    assert batches(train, PLAIN)(0).attributes.all(0).tolist() == [True, False, True]
    assert Batches(train, (), PLAIN, batch_size=2, seed=0)(0).attributes.shape == (2, 0)


def test_a_multi_hot_vector_has_several_ones_and_none_for_the_unknown() -> None:
    told = [("pathology=lung_cancer", "pathology=emphysema"), ("stage=II",), ()]
    known = ("pathology=emphysema", "pathology=lung_cancer", "stage=I")
    assert multi_hot(told, known).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_context_is_withheld_from_the_share_that_the_configuration_says(train: Dataset) -> None:
    config = PLAIN.model_copy(update={"context_dropout": 0.5})
    context = batches(train, config, batch_size=200)(0).context
    sums = context.sum(1)
    assert set(sums.unique().tolist()) == {0.0, 1.0}
    assert 0.35 < sums.flatten(1).amax(1).mean() < 0.65
    assert torch.equal(sums.flatten(1).amin(1), sums.flatten(1).amax(1))


def test_a_share_of_contexts_is_coarse(train: Dataset) -> None:
    fine = batches(train, PLAIN, batch_size=200)(0).context
    some = batches(train, PLAIN.model_copy(update={"context_coarse": 0.5}), batch_size=200)(0).context
    changed = (fine != some).flatten(1).any(1).float().mean()
    assert 0.35 < changed < 0.65
    assert (some.sum(1) == 1).all()


def test_context_is_that_of_the_augmented_image(train: Dataset) -> None:
    config = PLAIN.model_copy(update={"resampled": 1.0, "shift_pixels": 2, "rotation_degrees": 20.0})
    batch = batches(train, config)(0)
    found = tissues(train.intensity.inverse(batch.image[:, 0].numpy()))
    agreement = (found.astype(np.float32) == batch.context.numpy()).mean()
    assert agreement > 0.999  # the inverse rounds to whole HU, which may cross a threshold


@pytest.mark.parametrize("modalities", [["MR"], ["CT", "MR"]], ids=["alone", "beside CT"])
def test_other_modalities_have_no_unit_and_are_told_no_context(train: Dataset, modalities: list[str]) -> None:
    values = np.clip(train.values, -1000, 1000).astype(np.int16)
    rows = [row | {"modality": "MR"} for row in train.rows]
    config = train.manifest["config"] | {"modalities": modalities}
    batch = batches(replace(train, values=values, rows=rows, manifest={**train.manifest, "config": config}), PLAIN)(0)
    assert not batch.context.any()
    assert batches(train, PLAIN)(0).context.any()


def test_other_modalities_lose_calibration_but_ct_keeps_its_hu(train: Dataset) -> None:
    config = PLAIN.model_copy(update={"gain": 0.2, "offset": 0.1, "grain": 0.05})
    rows = [row | {"modality": "MR"} for row in train.rows]
    values = np.where(np.asarray(train.values) < -300, -1000, np.clip(train.values, -1000, 1000)).astype(np.int16)
    as_mr = replace(
        train,
        values=values,
        rows=rows,
        manifest=train.manifest | {"config": train.manifest["config"] | {"modalities": ["MR"]}},
    )
    plain, changed = (batches(as_mr, chosen)(0).image for chosen in (PLAIN, config))
    outside = plain == plain.min()
    assert torch.equal(plain[outside], changed[outside])
    assert (plain[~outside] != changed[~outside]).float().mean() > 0.9
    assert torch.equal(batches(train, PLAIN)(0).image, batches(train, config)(0).image)
    freed = config.model_copy(update={"calibrated_too": True})
    assert not torch.equal(batches(train, PLAIN)(0).image, batches(train, freed)(0).image)


def test_only_the_drawn_rows_are_read(train: Dataset) -> None:
    class Watched(Dataset):
        """Notes which rows are asked for."""

        read: ClassVar[list[int]] = []

        def images(self, rows: object) -> np.ndarray:
            self.read.extend(np.asarray(rows).tolist())
            return super().images(np.asarray(rows))

    watched = Watched(train.values, train.labels, train.classes, train.rows, train.fingerprint, train.manifest)
    drawn = batches(watched, AugmentationConfig())
    assert Watched.read == []
    drawn(0)
    assert len(Watched.read) == 8


def test_noise_and_time_are_standard_normal(train: Dataset) -> None:
    parts = [batches(train, AugmentationConfig(), batch_size=64)(step) for step in range(4)]
    for drawn, tolerance in ((torch.cat([b.noise for b in parts]), 0.02), (torch.cat([b.time for b in parts]), 0.2)):
        assert abs(drawn.mean()) < tolerance
        assert abs(drawn.std() - 1) < tolerance


def test_several_noise_fields_differ_and_leave_the_slices_and_times_as_they_are(train: Dataset) -> None:
    one, three = (batches(train, PLAIN, noises=noises)(0) for noises in (1, 3))
    assert three.noise.shape == (3, *one.image.shape)
    assert torch.equal(one.noise[0], three.noise[0])
    assert not torch.equal(three.noise[0], three.noise[1])
    assert torch.equal(one.image, three.image)
    assert torch.equal(one.time, three.time)


def test_no_slices_and_impossible_shares_are_refused(dataset: Dataset, train: Dataset) -> None:
    with pytest.raises(NotEnoughDataError, match="no labelled slice"):
        batches(dataset.split("nobody"), AugmentationConfig())
    with pytest.raises(ConfigurationError, match="cannot be shared by 9 processes"):
        batches(train, AugmentationConfig(), rank=0, world=9)
    with pytest.raises(ConfigurationError, match="cannot be shared"):
        batches(train, AugmentationConfig(), rank=2, world=2)
