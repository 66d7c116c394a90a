"""What a training takes from another model's weights, class by class, and what it says about the rest."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medillus_pipeline.errors import InputError
from medillus_pipeline.generation import training, transfer
from medillus_pipeline.generation.compute import weights_to_bytes
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior, build_prior
from medillus_pipeline.generation.sampling import Generator, build_network
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline.generation.transfer import ClassChannels, matching, transferred

TINY = preset("tiny").generator.model_copy(update={"threads": 1, "steps": 2})


@pytest.fixture(scope="module")
def trained(dataset: Dataset, prior: Prior) -> Generator:
    return train_generator(dataset, prior, TINY, seed=3)


def test_channels_of_a_class_follow_its_id_and_not_its_place() -> None:
    given = torch.arange(2 * 7.0).reshape(2, 7, 1, 1)
    own = -torch.ones(2, 6, 1, 1)
    inputs = {"enter": ClassChannels(first=1, width=1)}
    # given: image | 4, 9, 5 | three of the prior; own: image | 5, 7 | three of the prior
    loaded, fresh = matching({"enter": own}, {"enter": given}, classes=(5, 7), former=(4, 9, 5), inputs=inputs)
    assert loaded["enter"][0].flatten().tolist() == [0, 3, -1, 4, 5, 6]
    assert fresh == ["enter of class 7"]
    assert (own == -1).all()


def test_wide_blocks_move_as_a_whole() -> None:
    given = torch.arange(12.0).reshape(1, 12, 1, 1)  # image 0-3 | class 8: 4-7 | class 6: 8-11
    loaded, fresh = matching(
        {"w": torch.zeros(1, 12, 1, 1)}, {"w": given}, classes=(6, 8), former=(8, 6), inputs={"w": ClassChannels(4, 4)}
    )
    assert loaded["w"].flatten().tolist() == [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7] and not fresh


def test_other_shapes_and_missing_names_stay_fresh() -> None:
    state = {"same": torch.zeros(3), "wider": torch.zeros(4), "new": torch.zeros(1), "enter": torch.zeros(2, 5, 3, 3)}
    weights = {"same": torch.ones(3), "wider": torch.ones(3), "old": torch.ones(1), "enter": torch.ones(2, 9, 3, 3)}
    loaded, fresh = matching(state, weights, classes=(1,), former=(1, 2), inputs={"enter": ClassChannels(1, 1)})
    assert list(loaded) == ["same"] and fresh == ["wider", "new", "enter"]


def test_a_model_with_fewer_classes_draws_the_same_from_masks_of_those_it_keeps(
    dataset: Dataset, prior: Prior, trained: Generator
) -> None:
    kept = tuple(sorted(dataset.classes[::2], reverse=True))
    found = transferred(build_network(len(kept), TINY), kept, TINY, trained.to_bytes())
    assert not found.fresh and len(found.loaded) == len(found.state)
    network = build_network(len(kept), TINY).eval()
    network.load_state_dict(found.state)
    place = [dataset.classes.index(label) for label in kept]
    fewer = replace(
        prior, classes=kept, occupancy=np.ascontiguousarray(prior.occupancy[:, place]), adjacency=prior.adjacency
    )
    smaller = replace(trained, network=network, prior=fewer, classes=kept)
    held_out = dataset.split("validation")
    whole = np.array([0, *dataset.classes])[np.asarray(held_out.labels[:4])]
    whole[~np.isin(whole, kept)] = 0
    ids = np.zeros(256, np.int64)
    ids[list(kept)] = np.arange(1, len(kept) + 1)
    there = np.zeros(256, np.int64)
    there[list(dataset.classes)] = np.arange(1, len(dataset.classes) + 1)
    levels = held_out.levels[:4]
    here = smaller.sample(ids[whole], levels, seed=1).astype(int)
    assert np.abs(here - trained.sample(there[whole], levels, seed=1)).max() <= 1


def test_a_start_of_the_same_classes_is_the_former_model_before_the_first_step(
    dataset: Dataset, prior: Prior, trained: Generator
) -> None:
    still = TINY.model_copy(update={"steps": 1, "learning_rate": 1e-30, "warmup_steps": 0})
    again = train_generator(dataset, prior, still, seed=9, start=trained.to_bytes())
    for name, tensor in again.network.state_dict().items():
        assert torch.allclose(tensor, trained.network.state_dict()[name], rtol=0, atol=1e-29), name


def test_a_training_with_new_classes_begins_from_another_dataset(dataset: Dataset, trained: Generator) -> None:
    fewer = dataset.classes[1:]
    labels = np.array([0, 0, *range(1, len(fewer) + 1)], np.uint8)[np.asarray(dataset.labels)]
    other = replace(dataset, labels=labels, classes=fewer)
    generator = train_generator(
        other, build_prior(other, preset("tiny").prior), TINY, seed=3, start=trained.to_bytes()
    )  # fmt: skip
    assert generator.classes == fewer
    told = transfer.preview((*fewer, 250), TINY, trained.to_bytes())
    assert told.endswith("fresh: enter.weight of class 250, detail.weight of class 250")


def test_the_start_belongs_to_the_run_and_its_absence_changes_nothing(
    dataset: Dataset, prior: Prior, trained: Generator, tmp_path: Path
) -> None:
    start = trained.to_bytes()
    train_generator(dataset, prior, TINY, seed=3, checkpoint_dir=tmp_path)
    train_generator(dataset, prior, TINY, seed=3, start=start, checkpoint_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    described = [
        dataset.fingerprint,
        hashlib.sha256(prior.to_bytes()).hexdigest(),
        TINY.model_dump(
            mode="json",
            exclude={"threads", "checkpoint_every", "log_every", "preview_every", "preview_steps", "release_steps"},
        ),
        3,
        torch.__version__,
    ]
    former = hashlib.sha256(training.json.dumps(described).encode()).hexdigest()[:16]
    assert (tmp_path / former).is_dir()


def test_a_run_with_a_start_resumes_from_its_checkpoint_and_not_from_the_start(
    dataset: Dataset, prior: Prior, trained: Generator, tmp_path: Path
) -> None:
    config = TINY.model_copy(update={"steps": 4, "checkpoint_every": 2})
    start = trained.to_bytes()
    whole = train_generator(dataset, prior, config, seed=5, start=start)

    def killed(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_generator(dataset, prior, config, seed=5, start=start, checkpoint_dir=tmp_path, progress=killed)
    assert train_generator(dataset, prior, config, seed=5, start=start, checkpoint_dir=tmp_path).to_bytes() == (
        whole.to_bytes()
    )
    assert whole.to_bytes() != train_generator(dataset, prior, config, seed=5).to_bytes()


def test_another_patch_size_takes_nothing_from_the_layers_that_read_the_mask(trained: Generator) -> None:
    config = TINY.model_copy(update={"patch": 4})
    found = transferred(build_network(len(trained.classes), config), trained.classes, config, trained.to_bytes())
    assert "enter.weight" in found.fresh and "unpatch.weight" in found.fresh and "embed.0.weight" in found.loaded


@pytest.mark.parametrize(
    "start", [b"", b"\0" * 64, b"PK\x03\x04" + b"x" * 100, weights_to_bytes({"a": torch.ones(1)}, {"classes": [1]})]
)
def test_what_is_no_weights_file_is_refused_in_a_line(start: bytes) -> None:
    with pytest.raises(InputError, match=r"no weights file of a generator"):
        transfer.preview((1, 2), TINY, start)


def test_weights_of_which_nothing_fits_are_refused() -> None:
    start = weights_to_bytes({"a": torch.ones(1)}, {"classes": [1], "config": {}})
    with pytest.raises(InputError, match="nothing in the start's weights fits"):
        transfer.preview((1, 2), TINY, start)
