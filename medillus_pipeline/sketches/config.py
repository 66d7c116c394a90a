"""What a user may turn in synthesised drawings and in the network that reads them.

Importing this module is cheap (pydantic only). How a drawing is read is not here: see `reading.py`.
"""

from pydantic import BaseModel, ConfigDict, Field


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DrawingConfig(_Config):
    """How a hand draws. Lengths are shares of the frame's side unless said otherwise."""

    whole: float = Field(default=0.4, ge=0, le=1, description="share of drawings that show every organ of the slice")
    least_kept: float = Field(
        default=0.3, gt=0, le=1, description="in the others, smallest probability with which an organ is drawn"
    )
    least_pixels: int = Field(
        default=2, ge=1, le=1000, description="pixels of the label map from which a part of an organ is drawn"
    )
    least_radius: float = Field(
        default=0.028,
        ge=0,
        le=0.2,
        description="radius below which an organ is drawn larger: nobody draws a circle below 1 cm on a sheet of 20 cm",
    )
    wobble: float = Field(default=0.012, ge=0, le=0.1, description="smooth departure of a contour from the organ's")
    tremor: float = Field(default=0.0015, ge=0, le=0.02, description="unsteadiness of the stroke along the contour")
    bend: float = Field(default=0.01, ge=0, le=0.1, description="smooth displacement that neighbouring organs share")
    shift: float = Field(default=0.05, ge=0, le=0.5, description="greatest shift of the whole drawing")
    rotation_degrees: float = Field(default=6.0, ge=0, le=45, description="greatest rotation of the whole drawing")
    scale: float = Field(default=0.12, ge=0, le=0.5, description="greatest relative change of the drawing's size")
    organ_scale: float = Field(default=0.1, ge=0, le=0.5, description="greatest relative change of an organ's size")
    organ_shift: float = Field(default=0.01, ge=0, le=0.2, description="greatest shift of a single organ")
    gaps: float = Field(default=0.4, ge=0, le=0.9, description="greatest share of a contour that is left out")
    stroke: tuple[float, float] = Field(
        default=(0.008, 0.02), description="thinnest and thickest stroke; 0.01 is 2 mm on a sheet of 20 cm"
    )
    body: float = Field(default=0.5, ge=0, le=1, description="share of drawings that show the body's outline too")
    stray: float = Field(default=0.3, ge=0, le=1, description="share of drawings with strokes that mean nothing")
    photographed: float = Field(
        default=0.5, ge=0, le=1, description="share of drawings seen as photos; the others as redrawn with one pen"
    )
    noise: float = Field(default=0.05, ge=0, le=0.5, description="greatest deviation of the paper's noise, of white")
    shade: float = Field(default=0.5, ge=0, le=0.9, description="greatest loss of light across the sheet")
    contrast: tuple[float, float] = Field(
        default=(0.45, 1.0), description="faintest and darkest stroke, as a share of the paper's brightness"
    )


class SketchConfig(_Config):
    """The network and its training; `drawing` is what it is trained on."""

    channels: tuple[int, ...] = Field(
        default=(16, 32, 64, 96), min_length=2, description="feature channels, finest resolution first"
    )
    blocks: int = Field(default=1, ge=1, le=4, description="pairs of convolutions at each resolution")
    steps: int = Field(default=2100, ge=1, le=1_000_000, description="training steps")
    batch_size: int = Field(default=8, ge=1, le=4096, description="drawings in a training step")
    learning_rate: float = Field(default=4e-3, gt=0, le=1, description="greatest learning rate (AdamW, one cycle)")
    weight_decay: float = Field(default=1e-4, ge=0, le=1, description="weight decay of AdamW")
    level_told: float = Field(
        default=0.4, ge=0, le=1, description="share of drawings for which the network is told the level along the body"
    )
    calibration_patients: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="share of the training patients kept from the weights, on whose drawings confidence is calibrated",
    )
    calibration_drawings: int = Field(
        default=240, ge=8, le=100_000, description="drawings of them that confidence is calibrated on"
    )
    threads: int = Field(
        default=1, ge=1, le=256, description="CPU threads; more than idle cores slow it down severalfold"
    )
    drawing: DrawingConfig = DrawingConfig()
