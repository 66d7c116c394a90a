"""What a user may turn in the text encoder: facts, captions, networks and training, with presets.

Importing this module is cheap (pydantic only).
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FactsConfig(_Config):
    """When something is true of a slice."""

    smallest_share: float = Field(
        default=0.0005,
        ge=0,
        le=0.1,
        description="share of the frame's pixels from which a structure is present; below it is neither present nor "
        "absent",
    )
    size_deviations: float = Field(
        default=1.0,
        gt=0,
        le=5,
        description="standard deviations from the prior's mean area at the level from which a structure is large or "
        "small",
    )
    size_margin: float = Field(
        default=0.5, ge=0, le=5, description="how far below that, in standard deviations, it surely is not"
    )
    size_share: float = Field(
        default=0.005,
        ge=0,
        le=0.5,
        description="share of the frame's pixels that a structure's mean area at the level has at least, for a size to "
        "be said of it: that of a smaller one is a matter of single pixels",
    )
    region_reach: float = Field(
        default=0.08, gt=0, le=0.5, description="greatest distance in level from the middle of a region of the body"
    )
    level_margin: float = Field(
        default=0.05, ge=0, le=0.5, description="how much further away, in level, a slice surely is elsewhere"
    )


class CaptionsConfig(_Config):
    """What captions say: for each kind of fact, the share of captions that claim it where it is known."""

    modality: float = Field(default=0.6, ge=0, le=1, description="share of captions that say the modality")
    body_part: float = Field(default=0.25, ge=0, le=1, description="share that say the body part examined")
    contrast_phase: float = Field(default=0.7, ge=0, le=1, description="share that say the contrast phase")
    pathology: float = Field(default=0.3, ge=0, le=1, description="share that say a pathology")
    stage: float = Field(default=0.3, ge=0, le=1, description="share that say a stage")
    region: float = Field(default=0.35, ge=0, le=1, description="share that say a region of the body")
    level: float = Field(default=0.2, ge=0, le=1, description="share that say the level in tenths")
    size: float = Field(default=0.25, ge=0, le=1, description="share that call one structure large or small")
    most_present: int = Field(default=4, ge=0, le=32, description="most structures that a caption says are there")
    most_absent: int = Field(default=2, ge=0, le=32, description="most structures that it says are not there")


class TextEncoderConfig(_Config):
    """A small CLIP: image tower, character-level text tower, one embedding, attribute heads that both share."""

    size: int = Field(
        default=64, ge=16, le=512, multiple_of=16, description="side of the image tower's input in pixels"
    )
    channels: tuple[int, ...] = Field(
        default=(24, 48, 96, 128), min_length=1, max_length=6, description="feature channels of the image tower"
    )
    characters: int = Field(default=64, ge=8, le=1024, description="feature channels of the text tower")
    heads: int = Field(default=4, ge=1, le=16, description="attention heads of the text tower; divides `characters`")
    longest: int = Field(default=320, ge=16, le=4096, description="longest text in characters; a longer one is refused")
    embedding: int = Field(default=128, ge=8, le=2048, description="width of the embedding that both towers share")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout before the embedding of an image")
    targets: Literal["multi_positive", "single"] = Field(
        default="multi_positive",
        description="what a caption is drawn to: every image that it is true of, or its own alone (plain InfoNCE, "
        "which fails where captions repeat)",
    )
    attribute_weight: float = Field(default=1.0, ge=0, le=100, description="weight of the attribute heads' loss")
    said_weight: float = Field(
        default=5.0, ge=0, le=100, description="weight of the loss of what a text itself says, of which `said` tells"
    )
    steps: int = Field(default=1200, ge=1, le=10_000_000, description="training steps")
    batch_size: int = Field(default=64, ge=2, le=4096, description="slices in a training step, one caption for each")
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="greatest learning rate (AdamW, one cycle)")
    weight_decay: float = Field(default=0.02, ge=0, le=10, description="weight decay of AdamW")
    shift: float = Field(
        default=0.08, ge=0, le=0.5, description="augmentation: greatest shift, as a share of the frame"
    )
    rotation_degrees: float = Field(default=6.0, ge=0, le=45, description="augmentation: greatest rotation")
    scale: float = Field(default=0.03, ge=0, le=0.5, description="augmentation: greatest relative change of size")
    noise: float = Field(default=0.03, ge=0, le=1, description="augmentation: added noise, in units of the [-1, 1] map")
    unread: float = Field(default=0.01, ge=0, le=0.5, description="augmentation: share of characters made unreadable")
    threads: int = Field(
        default=1, ge=1, le=256, description="CPU threads; more than idle cores slow it down severalfold"
    )
    facts: FactsConfig = FactsConfig()
    captions: CaptionsConfig = CaptionsConfig()

    @model_validator(mode="after")
    def _heads_share(self) -> "TextEncoderConfig":
        if self.characters % self.heads:
            raise ValueError(f"{self.characters} characters' channels are no multiple of {self.heads} heads")
        return self


PRESETS: dict[str, TextEncoderConfig] = {
    "demo": TextEncoderConfig(),
    "workstation": TextEncoderConfig(
        size=128, channels=(32, 64, 128, 192, 256), characters=128, heads=4, embedding=256, steps=8000, batch_size=128,
        learning_rate=1e-3,
    ),
    "node": TextEncoderConfig(
        size=256, channels=(32, 64, 128, 192, 256, 256), characters=256, heads=8, embedding=384, steps=40_000,
        batch_size=256, learning_rate=1e-3,
    ),
    "tiny": TextEncoderConfig(
        size=32, channels=(8, 16), characters=16, heads=2, embedding=16, steps=30, batch_size=8,
    ),
}  # fmt: skip
"""`demo`: three minutes on a CPU. `workstation` and `node` go with the generator's presets of these names. `tiny`:
seconds, for tests; it learns next to nothing.
"""


def preset(name: str) -> TextEncoderConfig:
    """The preset of that name. Raises ValueError, naming the presets there are, for an unknown one."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; there are: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
