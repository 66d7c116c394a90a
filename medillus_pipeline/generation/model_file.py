"""The generator as a registry model: one self-contained model file and its artifacts, without pickle.

The file that MLflow packages (models from code) is the text of the modules in PARTS, one after another: the same
networks that were trained, readable top to bottom, and loadable where this package is not installed. Which run or
version it belongs to is decided by the caller.
"""

import ast
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medillus_pipeline import __version__
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.sampling import Generator

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.models.model import ModelInfo

PARTS = ("conditions.py", "networks.py", "gan_networks.py", "families.py", "shape_model.py", "served.py")
REQUIREMENTS = ("mlflow", "numpy", "safetensors", "torch")
LAST_LINES = """

from mlflow.models import set_model

set_model(ServedGenerator())
"""


def model_source() -> str:
    """The text of the model file."""
    texts = [_without_own_imports(Path(__file__).with_name(name).read_text(encoding="utf-8")) for name in PARTS]
    return "\n".join(texts) + LAST_LINES


def _without_own_imports(text: str) -> str:
    lines = text.splitlines()
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medillus_pipeline."):
            del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(lines) + "\n"


def package(
    generator: Generator,
    prior: Prior,
    classes: tuple[int, ...],
    vocabulary_version: str,
    manifest: dict[str, Any],
    folder: Path,
    *,
    card: Callable[[dict[str, Any]], str] | None = None,
) -> dict[str, str]:
    """Write all that gives the model meaning into `folder`; returns artifact names with their paths.

    `weights` and `prior` (safetensors), `config` (JSON: network, classes as vocabulary ids, vocabulary version,
    intensity map, hash of the split), `manifest` (JSON: the dataset's partitions with data versions), and `card`
    (Markdown), which the function `card` makes of the configuration. Raises ValueError when generator, prior and
    classes do not belong together.
    """
    if not generator.classes == prior.classes == tuple(classes):
        raise ValueError("generator, prior and class list differ: package what was trained together")
    described = generator.describe() | {
        "vocabulary_version": vocabulary_version,
        "split_hash": manifest.get("split_hash"),
        "package_version": __version__,
    }
    contents = {
        "weights": ("weights.safetensors", generator.to_bytes()),
        "prior": ("prior.safetensors", prior.to_bytes()),
        "config": ("config.json", _json(described)),
        "manifest": ("manifest.json", _json(manifest)),
    }
    if card is not None:
        contents["card"] = ("card.md", card(described).encode())
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = {}
    for name, (file, data) in contents.items():
        (folder / file).write_bytes(data)
        artifacts[name] = str(folder / file)
    return artifacts


def load(folder: Path) -> Generator:
    """The generator that `package` wrote into `folder` (or a registry's copy of it), with its prior."""
    prior = Prior.from_bytes((folder / "prior.safetensors").read_bytes())
    return Generator.from_bytes((folder / "weights.safetensors").read_bytes(), prior)


def write_model_file(folder: Path) -> Path:
    """Write the model file, `generator.py`, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "generator.py"
    path.write_text(model_source(), encoding="utf-8")
    return path


def signature(release_steps: int = 25) -> "ModelSignature":
    """Tensors of free batch size: `mask` uint8 (n, h, w) and `level` float32 (n,) in, int16 (n, h, w) out."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    return ModelSignature(
        inputs=Schema(
            [
                TensorSpec(np.dtype(np.uint8), (-1, -1, -1), "mask"),
                TensorSpec(np.dtype(np.float32), (-1,), "level"),
            ]
        ),
        outputs=Schema([TensorSpec(np.dtype(np.int16), (-1, -1, -1))]),
        params=ParamSchema(
            [
                ParamSpec("seed", DataType.long, 0),
                ParamSpec("steps", DataType.long, release_steps),
                ParamSpec("method", DataType.string, "euler"),
                ParamSpec("guidance", DataType.double, 1.0),
                ParamSpec("attributes", DataType.string, ""),
                ParamSpec("partial", DataType.boolean, False),
                ParamSpec("context", DataType.string, "proposed"),
            ]
        ),
    )


def log_generator(
    artifacts: dict[str, str],
    model_file: Path,
    *,
    release_steps: int | None = None,
    name: str = "generator",
    registered_model_name: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> "ModelInfo":
    """Log the packaged model to the active MLflow run, and register it where a name is given.

    `release_steps` is the default of the parameter `steps`; without it, that of the generator's configuration.
    """
    import mlflow

    if release_steps is None:
        release_steps = int(json.loads(Path(artifacts["config"]).read_text())["config"].get("release_steps", 1))
    return mlflow.pyfunc.log_model(
        name=name,
        python_model=str(model_file),
        artifacts=artifacts,
        signature=signature(release_steps),
        pip_requirements=[f"{package}=={version(package).split('+')[0]}" for package in REQUIREMENTS],
        registered_model_name=registered_model_name,
        metadata=metadata,
    )


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()
