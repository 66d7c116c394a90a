"""A released generator as a report asks it, and the slices of a dataset as a report takes them.

Beside its mask and level each image is told for which classes the mask is complete, and what is said of the slice.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.sampling import Generator
from medillus_pipeline.generation.tissue_context import mapped_thresholds, tissue_context
from medillus_pipeline.validation.contexts import Context
from medillus_pipeline.validation.measures import ClassMaps, Values
from medillus_pipeline.validation.one_pass import Cohort
from medillus_pipeline.validation.sampler import Sample

Levels = NDArray[np.floating]


def cohort(dataset: Dataset) -> Cohort:
    """The slices of a dataset, with what `sampler` wants to be given."""
    said = np.empty(len(dataset), object)
    said[:] = dataset.attributes
    return Cohort(
        values=dataset.values,
        class_maps=dataset.labels,
        patients=dataset.patients,
        levels=dataset.levels,
        pixel_mm=np.array([row["affine"][0] for row in dataset.rows]),
        attributes=dataset.attributes,
        given={"drawn": dataset.claimed, "said": said, "modality": np.array([r["modality"] for r in dataset.rows])},
    )


def sampler(generator: Generator, context: Literal["proposed", "none", "true"] = "proposed") -> Sample:
    """The generator under a tissue context; for the true one it is given the real slices too.

    Attributes that the generator does not know are not said.
    """
    known = set(generator.attributes)

    def sample(
        maps: ClassMaps,
        levels: Levels,
        seed: int,
        /,
        *,
        drawn: NDArray[np.bool_],
        said: NDArray[np.object_],
        modality: NDArray[np.str_],
        real: Values | None = None,
    ) -> Values:
        tissues: str | NDArray[np.float32] = context
        if context == "true":
            if real is None:
                raise ValueError("the true context comes from real slices, and none were given")
            thresholds = np.stack([mapped_thresholds(str(name), generator.intensity) for name in modality])
            tissues = tissue_context(generator.intensity.forward(real), thresholds)
        names = [[name for name in own if name in known] for own in said]
        return generator.sample(maps, levels, seed=seed, drawn=drawn, said=names, context=tissues)  # pyright: ignore[reportArgumentType]

    return sample


def contexts(generator: Generator) -> dict[Context, Sample]:
    """The contexts that the proposed one is shown beside."""
    return {"true": sampler(generator, "true"), "none": sampler(generator, "none")}
