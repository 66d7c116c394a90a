"""A user's own CLIP folder: read from the disk alone, weights as safetensors alone, no code of its own run."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.errors import ConfigurationError, InputError
from medillus_pipeline.language.encoder_local_clip import LocalClipConfig, load_local_clip

TEXTS = ("liver", "a spleen and a liver")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of two layers with random weights, stored as `save_pretrained` does."""
    transformers = pytest.importorskip("transformers", reason="needs the extra clip")
    import torch

    target = tmp_path_factory.mktemp("clip")
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(letter + "</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]
    names = [*letters, "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=32)
    tokenizer.save_pretrained(target)
    small: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": 8,
    }
    config = transformers.CLIPConfig(
        text_config=small
        | {
            "vocab_size": len(names),
            "max_position_embeddings": 32,
            "bos_token_id": len(names) - 2,
            "eos_token_id": len(names) - 1,
            "pad_token_id": len(names) - 1,
        },
        vision_config=small | {"image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(target)
    return target


def values() -> np.ndarray:
    return np.random.default_rng(0).integers(-200, 300, (3, 24, 24)).astype(np.int16)


def copied(folder: Path, target: Path, **changed: Any) -> Path:
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    described = json.loads((target / "config.json").read_text()) | changed
    (target / "config.json").write_text(json.dumps(described))
    return target


def test_texts_and_images_come_to_one_embedding_of_length_one(folder: Path) -> None:
    clip = load_local_clip(folder)
    texts, images = clip.embed_text(TEXTS), clip.embed_images(values())
    assert texts.shape == (2, 8)
    assert images.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([texts, images]), axis=1), 1, rtol=1e-5)
    assert (texts[0] != texts[1]).any()


def test_it_ranks_by_the_models_own_features(folder: Path) -> None:
    import torch
    import transformers

    clip = load_local_clip(folder)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    tokens = transformers.CLIPTokenizer.from_pretrained(folder)(list(TEXTS), padding=True, return_tensors="pt")
    with torch.inference_mode():
        wanted = model(**tokens, pixel_values=clip._shown(values(), 0)).logits_per_text
        expected = (wanted / model.logit_scale.exp()).numpy()
    np.testing.assert_allclose(clip.scores(TEXTS, values()), expected, atol=1e-5)
    np.testing.assert_array_equal(clip.rank(TEXTS, values()), np.argsort(-expected, axis=1))


def test_the_window_decides_what_is_seen(folder: Path) -> None:
    lung = load_local_clip(folder, LocalClipConfig(window_centre=-600, window_width=400))
    bright = np.full((2, 24, 24), 50, np.int16)
    bright[1] = 120
    soft = load_local_clip(folder)
    np.testing.assert_array_equal(*lung.embed_images(bright))
    assert (np.abs(np.diff(soft.embed_images(bright), axis=0)) > 1e-6).any()


def test_a_text_that_is_empty_or_too_long_is_refused(folder: Path) -> None:
    clip = load_local_clip(folder)
    with pytest.raises(InputError, match="empty"):
        clip.embed_text([" "])
    with pytest.raises(InputError, match="32"):
        clip.embed_text(["a" * 64])


def test_a_folder_with_pickled_weights_alone_is_refused_unread(tmp_path: Path) -> None:
    class Loud:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "was-run",))

    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Loud()))
    with pytest.raises(InputError, match="safetensors"):
        load_local_clip(tmp_path)
    assert not (tmp_path / "was-run").exists()


def test_a_folder_that_asks_for_its_own_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip", "auto_map": {"AutoModel": "mine.Model"}}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="code of its own"):
        load_local_clip(tmp_path)


def test_another_architecture_no_config_and_broken_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        load_local_clip(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="'bert'"):
        load_local_clip(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="no JSON"):
        load_local_clip(tmp_path)


def test_broken_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    broken = copied(folder, tmp_path)
    (broken / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0no header here..")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_local_clip(broken)


def test_without_transformers_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigurationError, match=r"medillus-pipeline\[clip\]"):
        load_local_clip(tmp_path)
