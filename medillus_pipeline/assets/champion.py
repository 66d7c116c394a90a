"""The champion beside the version that a report is about: which it is, and whether the two can be compared at all.

No asset of its own; what is measured of both is in `validation/one_pass.py`.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medillus_pipeline.errors import InputError
from medillus_pipeline.resources.mlflow import CHAMPION, MLflowResource

if TYPE_CHECKING:
    from medillus_pipeline.generation.dataset import Dataset
    from medillus_pipeline.generation.sampling import Generator
    from medillus_pipeline.validation.report import Beside


def beside_champion(
    mlflow: MLflowResource, version: str, judge_sha256: str, dataset: "Dataset"
) -> "tuple[Generator | None, Beside]":
    """The champion, where it may stand beside the version; and what the page says of it."""
    from medillus_pipeline.generation import model_file
    from medillus_pipeline.validation.comparison import side_by_side
    from medillus_pipeline.validation.report import Beside

    found = mlflow.version_of_alias(CHAMPION)
    if found is None:
        return None, Beside(None, "there is none yet.")
    name = str(found.version)
    if name == version:
        return None, Beside(name, "this version is the champion.")
    theirs: dict[str, Any] = {"figures": {}}
    if "judge_sha256" in found.tags:
        theirs["feature_extractor"] = {"sha256": found.tags["judge_sha256"]}
    try:
        side_by_side([{"figures": {}, "feature_extractor": {"sha256": judge_sha256}}, theirs])
    except InputError as error:
        return None, Beside(name, f"{error}.")
    with tempfile.TemporaryDirectory() as folder:
        generator = model_file.load(mlflow.download(name, Path(folder)))
    if generator.classes != dataset.classes or generator.size != dataset.values.shape[-1]:
        return None, Beside(name, "the champion draws other structures or another size than this dataset has.")
    return generator, Beside(name, "")
