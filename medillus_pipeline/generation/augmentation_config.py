"""What a user may turn in how a training batch is drawn: balance, augmentation, and what is withheld from the model.

Importing this module is cheap (pydantic only). What is done with the values is not here: see `balance.py`,
`augmentation.py` and `batches.py`.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AugmentationConfig(BaseModel):
    """Every share is a chance for each sample by itself; 0 turns that part off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    balance_patients: bool = Field(
        default=True, description="draw a patient first, all alike; otherwise patients count by their slices"
    )
    rare_structures: float = Field(
        default=0.5, ge=0, le=1, description="share of samples drawn by how rare the structures of a slice are"
    )
    rare_weight: float = Field(
        default=10.0,
        ge=1,
        le=1000,
        description="greatest weight of a slice among those samples (its rarest structure's share of slices, inverted)",
    )
    shift_pixels: int = Field(default=2, ge=0, le=64, description="greatest shift in whole pixels: no interpolation")
    resampled: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of samples that are turned, sized and bent, all in one resampling, which costs sharpness",
    )
    rotation_degrees: float = Field(default=5.0, ge=0, le=45, description="greatest rotation of those")
    scale: float = Field(default=0.05, ge=0, le=0.5, description="greatest relative change of their size")
    elastic_pixels: float = Field(
        default=1.0, ge=0, le=64, description="greatest bend of those, in pixels at a point of the elastic grid"
    )
    elastic_cells: int = Field(
        default=4, ge=1, le=32, description="cells along a side of the elastic grid (cubic B-splines between)"
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        default="bicubic", description="how images are resampled; labels take the nearest pixel"
    )
    mirrored: float = Field(
        default=0.5, ge=0, le=1, description="share of samples mirrored left to right, where the anatomy permits it"
    )
    gain: float = Field(
        default=0.05, ge=0, le=0.5, description="greatest relative change of contrast, for values without a unit"
    )
    offset: float = Field(
        default=0.03, ge=0, le=0.5, description="greatest change of brightness on the [-1, 1] map, likewise"
    )
    grain: float = Field(
        default=0.01, ge=0, le=0.5, description="greatest deviation of added noise on the [-1, 1] map, likewise"
    )
    calibrated_too: bool = Field(
        default=False, description="change the intensity of CT as well, whose HU then no longer mean what they say"
    )
    partial_masks: float = Field(
        default=0.08,
        ge=0,
        le=1,
        description="share of masks whose classes are each left out with a chance of a half",
    )
    no_mask: float = Field(default=0.02, ge=0, le=1, description="share of masks of which nothing is told")
    attribute_dropout: float = Field(
        default=0.1, ge=0, le=1, description="chance of each kind of attribute (modality, stage) to be withheld"
    )
    no_attributes: float = Field(default=0.1, ge=0, le=1, description="share of samples without any attribute")
    context_dropout: float = Field(default=0.5, ge=0, le=1, description="share of samples without tissue context")
    context_coarse: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the others whose context is known in squares of 2, 4 or 8 pixels alone, as smooth as a "
        "proposed one",
    )
