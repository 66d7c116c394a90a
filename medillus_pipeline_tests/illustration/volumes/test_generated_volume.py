"""What a generated volume depends on, and what it refuses."""

import numpy as np
import pytest
import torch

from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.sampling import Generator
from medillus_pipeline.illustration.volumes.generated_volume import centred_affine, class_indices, generate_volume
from medillus_pipeline.illustration.volumes.stack_context import along_z, stack_context

SPACING = (20.0, 12.8, 12.8)


def test_a_volume_is_drawn_on_the_grid_of_its_labels(generator: Generator, stack: np.ndarray, levels: np.ndarray):
    volume = generate_volume(generator, stack, levels, SPACING, 1, steps=2)
    assert volume.values.shape == stack.shape and volume.values.dtype == np.int16
    np.testing.assert_array_equal(volume.labels, stack)
    assert volume.spacing == pytest.approx(SPACING)
    assert volume.modality == "CT" and volume.seed == 1 and volume.steps == 2
    np.testing.assert_allclose(volume.affine @ [15.5, 15.5, 5.5, 1], [0, 0, 0, 1], atol=1e-9)


def test_the_seed_decides_and_the_batch_does_not(generator: Generator, stack: np.ndarray, levels: np.ndarray):
    one = generate_volume(generator, stack, levels, SPACING, 1, steps=2, batch=12)
    again = generate_volume(generator, stack, levels, SPACING, 1, steps=2, batch=12)
    np.testing.assert_array_equal(one.values, again.values)
    assert one.sha256 == again.sha256
    small = generate_volume(generator, stack, levels, SPACING, 1, steps=2, batch=5)
    assert np.abs(one.values.astype(int) - small.values).max() <= 1
    other = generate_volume(generator, stack, levels, SPACING, 2, steps=2, batch=12)
    assert not np.array_equal(one.values, other.values) and one.sha256 != other.sha256


def test_slices_that_are_near_share_their_noise(generator: Generator, stack: np.ndarray, levels: np.ndarray):
    """One mask at one level all along, so that only the noise changes between slices."""
    same, place = np.repeat(stack[6:7], 12, 0), np.full(12, 0.5)

    def change(coherence) -> float:
        made = generate_volume(
            generator, same, place, (2.75, 12.8, 12.8), 1, steps=2, coherence=coherence, context="none"
        )
        return float(np.abs(np.diff(made.values.astype(float), axis=0)).mean())

    assert change("shared") <= 1 < change("by_scale") < change("independent")


def test_progress_counts_slices_and_memory_holds_a_batch(generator: Generator, stack: np.ndarray, levels: np.ndarray):
    drawn, told = [], []
    hook = generator.network.register_forward_pre_hook(lambda _, given: drawn.append(len(given[0])))
    generate_volume(
        generator, stack, levels, SPACING, 1, steps=1, batch=5, progress=lambda done, of: told.append((done, of))
    )
    hook.remove()
    assert drawn == [5, 5, 2]
    assert told == [(5, 12), (10, 12), (12, 12)]


def test_a_given_context_is_heeded(generator: Generator, stack: np.ndarray, levels: np.ndarray):
    empty = np.zeros_like(stack)
    fat, muscle = (
        generate_volume(generator, empty, levels, SPACING, 1, steps=1, context=np.full(stack.shape, kind, np.uint8))
        for kind in (1, 2)
    )
    assert not np.array_equal(fat.values, muscle.values)


def test_the_context_of_a_stack_changes_less_along_z_than_slices_proposed_alone(
    generator: Generator, stack: np.ndarray, levels: np.ndarray
):
    labels = torch.from_numpy(class_indices(stack, generator.classes).astype(np.int64))
    height = torch.as_tensor(levels, dtype=torch.float32)
    raw, smooth = (
        stack_context(generator.prior, labels, height, 3.0, seed=1, smoothing=smoothing) for smoothing in (0.0, 12.0)
    )
    assert raw.shape == stack.shape and raw.max() <= 3
    assert (smooth[1:] != smooth[:-1]).sum() < (raw[1:] != raw[:-1]).sum()


def test_a_tissue_of_one_slice_is_outvoted_and_one_of_many_stays():
    tissue = np.ones((9, 2, 2), np.uint8)
    tissue[4, 0, 0] = 3
    tissue[:, 1, 1] = 2
    decided = along_z(tissue, 2.0)
    assert decided[4, 0, 0] == 1
    assert (decided[:, 1, 1] == 2).all()


def test_a_body_part_that_is_said_goes_with_the_volume(generator: Generator, stack: np.ndarray, levels: np.ndarray):
    said = ["modality=CT", "body_part=CHESTABDOMEN"]
    assert generate_volume(generator, stack, levels, SPACING, 1, steps=1, said=said).body_part == "CHESTABDOMEN"


def test_what_does_not_fit_is_refused(generator: Generator, stack: np.ndarray, levels: np.ndarray):
    with pytest.raises(InputError, match="resample"):
        generate_volume(generator, stack[:, :16], levels, SPACING, 1)
    with pytest.raises(InputError, match="levels"):
        generate_volume(generator, stack, levels + 0.5, SPACING, 1)
    with pytest.raises(InputError, match="levels"):
        generate_volume(generator, stack, levels[:-1], SPACING, 1)
    with pytest.raises(InputError, match="spacing"):
        generate_volume(generator, stack, levels, (0.0, 1.0, 1.0), 1)
    with pytest.raises(InputError, match=r"no class .*\[200\]"):
        generate_volume(generator, np.where(stack > 0, 200, 0), levels, SPACING, 1)
    with pytest.raises(InputError, match="pathology=none"):
        generate_volume(generator, stack, levels, SPACING, 1, said=["pathology=none"])
    with pytest.raises(InputError, match="affine"):
        generate_volume(generator, stack, levels, SPACING, 1, affine=centred_affine(stack.shape, (1.0, 1.0, 1.0)))
    for wrong in (np.zeros((1, 32, 32), np.uint8), np.full(stack.shape, 4, np.uint8)):
        with pytest.raises(InputError, match="context"):
            generate_volume(generator, stack, levels, SPACING, 1, context=wrong)
