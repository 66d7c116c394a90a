"""What a training takes from another model's weights, by class and by attribute, and what it says about the rest."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medillus_pipeline.errors import InputError
from medillus_pipeline.generation import transfer
from medillus_pipeline.generation.compute import weights_to_bytes
from medillus_pipeline.generation.config import GanConfig, GeneratorConfig, preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.families import Network, build_network
from medillus_pipeline.generation.prior import Prior, build_prior
from medillus_pipeline.generation.sampling import Generator
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline.generation.transfer import NamedInputs, matching, transferred
from medillus_pipeline_tests.generation.variants import TINY, shaken, told

Config = GeneratorConfig | GanConfig


@pytest.fixture(scope="module", params=["flow", "gan"])
def config(request: pytest.FixtureRequest) -> Config:
    return TINY[request.param].model_copy(update={"steps": 2})


@pytest.fixture(scope="module")
def trained(dataset: Dataset, prior: Prior, config: Config) -> Generator:
    return train_generator(told(dataset), prior, config, seed=3)


def built(classes: int, attributes: int, config: Config, images: int = 1) -> Network:
    torch.manual_seed(8)
    return build_network(config.family, classes, attributes, images, config.model_dump())


def test_channels_of_a_class_follow_its_id_and_not_its_place() -> None:
    given = torch.arange(2 * 7.0).reshape(2, 7, 1, 1)
    own = -torch.ones(2, 6, 1, 1)
    inputs = {"enter": NamedInputs(first=1, width=1, names=(5, 7), former=(4, 9, 5))}
    # given: image | 4, 9, 5 | three of the prior; own: image | 5, 7 | three of the prior
    loaded, fresh = matching({"enter": own}, {"enter": given}, inputs)
    assert loaded["enter"][0].flatten().tolist() == [0, 3, -1, 4, 5, 6]
    assert fresh == ["enter for 7"]
    assert (own == -1).all()


def test_attributes_are_matched_by_their_names() -> None:
    given = torch.tensor([[1.0, 2.0, 3.0]])
    inputs = {"said": NamedInputs(0, 1, ("stage=late", "modality=CT"), ("modality=CT", "modality=MR", "stage=late"))}
    loaded, fresh = matching({"said": torch.zeros(1, 2)}, {"said": given}, inputs)
    assert loaded["said"].tolist() == [[3.0, 1.0]] and not fresh


def test_wide_blocks_move_as_a_whole() -> None:
    given = torch.arange(12.0).reshape(1, 12, 1, 1)  # image 0-3 | class 8: 4-7 | class 6: 8-11
    inputs = {"w": NamedInputs(4, 4, (6, 8), (8, 6))}
    loaded, fresh = matching({"w": torch.zeros(1, 12, 1, 1)}, {"w": given}, inputs)
    assert loaded["w"].flatten().tolist() == [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7] and not fresh


def test_other_shapes_and_missing_names_stay_fresh() -> None:
    state = {"same": torch.zeros(3), "wider": torch.zeros(4), "new": torch.zeros(1), "enter": torch.zeros(2, 5, 3, 3)}
    weights = {"same": torch.ones(3), "wider": torch.ones(3), "old": torch.ones(1), "enter": torch.ones(2, 9, 3, 3)}
    loaded, fresh = matching(state, weights, {"enter": NamedInputs(1, 1, (1,), (1, 2))})
    assert list(loaded) == ["same"] and fresh == ["wider", "new", "enter"]


def test_a_model_with_fewer_classes_draws_the_same_from_masks_of_those_it_keeps(
    dataset: Dataset, prior: Prior, trained: Generator, config: Config
) -> None:
    """Nothing is drawn that it lacks, and the context is left out, since the priors differ."""
    moved = replace(trained, network=shaken(trained.network))
    kept = tuple(sorted(dataset.classes[::2], reverse=True))
    network = built(len(kept), len(trained.attributes), config)
    found = transferred(network, kept, trained.attributes, config, moved.to_bytes())
    assert not found.fresh and len(found.loaded) == len(found.state)
    network.eval().load_state_dict(found.state)
    place = [dataset.classes.index(label) for label in kept]
    fewer = replace(prior, classes=kept, occupancy=np.ascontiguousarray(prior.occupancy[:, place]))
    smaller = replace(moved, network=network, prior=fewer, classes=kept)
    held_out = dataset.split("validation")
    whole = np.array([0, *dataset.classes])[np.asarray(held_out.labels[:4])]
    whole[~np.isin(whole, kept)] = 0
    ids, there = np.zeros(256, np.int64), np.zeros(256, np.int64)
    ids[list(kept)] = np.arange(1, len(kept) + 1)
    there[list(dataset.classes)] = np.arange(1, len(dataset.classes) + 1)
    levels = held_out.levels[:4]
    # What the embedding hears of the classes left out is taken from the larger model: it is told nothing of them.
    deaf = shaken(trained.network)
    with torch.no_grad():
        deaf.drawn.weight[:, [c for c in range(len(dataset.classes)) if c not in place]] = 0
    here = smaller.sample(ids[whole], levels, seed=1, context="none").astype(int)
    larger = replace(moved, network=deaf).sample(there[whole], levels, seed=1, context="none")
    assert np.abs(here - larger).max() <= 1


def test_a_model_of_other_attributes_keeps_what_both_know(
    dataset: Dataset, prior: Prior, trained: Generator, config: Config
) -> None:
    moved = replace(trained, network=shaken(trained.network))
    other = ("stage=late", "stage=new", "modality=CT")
    network = built(len(dataset.classes), len(other), config)
    found = transferred(network, dataset.classes, other, config, moved.to_bytes())
    assert found.fresh == ("said.weight for stage=new",)
    network.eval().load_state_dict(found.state)
    smaller = replace(moved, network=network, attributes=other)
    labels, levels = np.asarray(dataset.labels[:2]), dataset.levels[:2]
    for said in ([], ["stage=late"], ["modality=CT", "stage=late"]):
        images = [model.sample(labels, levels, seed=1, said=[said] * 2) for model in (moved, smaller)]
        assert np.abs(images[0].astype(int) - images[1]).max() <= 1, said


def test_a_start_of_the_same_classes_is_the_former_model_before_the_first_step(
    dataset: Dataset, prior: Prior, trained: Generator, config: Config
) -> None:
    still = config.model_copy(update={"steps": 1, "learning_rate": 1e-30})
    again = train_generator(told(dataset), prior, still, seed=9, start=trained.to_bytes())
    for name, tensor in again.network.state_dict().items():
        assert torch.allclose(tensor, trained.network.state_dict()[name], rtol=0, atol=1e-29), name


def test_a_training_with_new_classes_begins_from_another_dataset(
    dataset: Dataset, trained: Generator, config: Config
) -> None:
    fewer = dataset.classes[1:]
    labels = np.array([0, 0, *range(1, len(fewer) + 1)], np.uint8)[np.asarray(dataset.labels)]
    other = replace(dataset, labels=labels, classes=fewer)
    generator = train_generator(
        other, build_prior(other, preset("tiny").prior), config, seed=3, start=trained.to_bytes()
    )  # fmt: skip
    assert generator.classes == fewer
    said = transfer.preview((*fewer, 250), trained.attributes, 1, config, trained.to_bytes())
    fresh = set(said.partition("fresh: ")[2].split(", "))
    assert fresh == {f"{layer}.weight for 250" for layer in ("enter", "detail", "drawn")}


def test_the_start_belongs_to_the_run(
    dataset: Dataset, prior: Prior, trained: Generator, config: Config, tmp_path: Path
) -> None:
    train_generator(dataset, prior, config, seed=3, checkpoint_dir=tmp_path)
    train_generator(dataset, prior, config, seed=3, start=trained.to_bytes(), checkpoint_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_run_with_a_start_resumes_from_its_checkpoint_and_not_from_the_start(
    dataset: Dataset, prior: Prior, trained: Generator, config: Config, tmp_path: Path
) -> None:
    config = config.model_copy(update={"steps": 4, "checkpoint_every": 2})
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


def test_another_patch_size_takes_nothing_from_the_layers_that_read_the_mask(
    trained: Generator, config: Config
) -> None:
    changed = config.model_copy(update={"patch": 4})
    network = built(len(trained.classes), len(trained.attributes), changed)
    found = transferred(network, trained.classes, trained.attributes, changed, trained.to_bytes())
    assert "enter.weight" in found.fresh and "unpatch.weight" in found.fresh and "embed.0.weight" in found.loaded


def test_more_channels_of_the_image_leave_what_reads_them_fresh(trained: Generator, config: Config) -> None:
    network = built(len(trained.classes), len(trained.attributes), config, images=3)
    found = transferred(network, trained.classes, trained.attributes, config, trained.to_bytes())
    assert "image.weight" in found.fresh and "embed.0.weight" in found.loaded


def test_a_start_of_the_other_family_is_refused(trained: Generator, config: Config) -> None:
    other = TINY["gan" if config.family == "flow" else "flow"]
    with pytest.raises(InputError, match=f"the start is a {config.family}, not a {other.family}"):
        transfer.preview(trained.classes, trained.attributes, 1, other, trained.to_bytes())


@pytest.mark.parametrize(
    "start", [b"", b"\0" * 64, b"PK\x03\x04" + b"x" * 100, weights_to_bytes({"a": torch.ones(1)}, {"classes": [1]})]
)
def test_what_is_no_weights_file_is_refused_in_a_line(start: bytes) -> None:
    with pytest.raises(InputError, match=r"no weights file of a generator"):
        transfer.preview((1, 2), ("modality=CT",), 1, TINY["flow"], start)


def test_weights_of_which_nothing_fits_are_refused() -> None:
    start = weights_to_bytes({"a": torch.ones(1)}, {"classes": [1], "config": {}})
    with pytest.raises(InputError, match="nothing in the start's weights fits"):
        transfer.preview((1, 2), ("modality=CT",), 1, TINY["flow"], start)
