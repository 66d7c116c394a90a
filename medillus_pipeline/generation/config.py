"""What a user may turn in the dataset, the prior, the segmenters and the generator, with presets.

Importing this module is cheap (pydantic only). Where the values come from is not here: see Dagster's run config.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medillus_pipeline.generation.augmentation_config import AugmentationConfig


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetConfig(_Config):
    """The canonical frame and what goes into a snapshot."""

    preset: str = Field(default="demo", description="preset whose prior, segmenters and generator go with the dataset")
    size: int = Field(
        default=64, ge=16, le=512, multiple_of=8, description="height and width of a packed slice in pixels"
    )
    modalities: tuple[str, ...] = Field(
        default=("CT",),
        min_length=1,
        description="DICOM Modalities that the snapshot holds, kept in alphabetical order; slices of others are left "
        "out",
    )
    channels: Literal[1, 3] = Field(
        default=1, description="3 packs the slices just below and above each slice too; an end slice repeats itself"
    )
    field_of_view_mm: dict[str, float] = Field(
        default={"HEAD": 280.0, "NECK": 280.0, "HEADNECK": 400.0, "BRAIN": 280.0},
        description="side of the square canonical frame in mm, by BodyPartExamined in upper case",
    )
    default_field_of_view_mm: float = Field(
        default=420.0, gt=0, le=1000, description="side of the canonical frame in mm for every other body part"
    )
    axial_tolerance_degrees: float = Field(
        default=20.0,
        ge=0,
        le=45,
        description="greatest angle between slice normal and body axis; slices beyond are left out",
    )
    readers: Literal["primary", "majority", "staple"] = Field(
        default="primary",
        description="where several annotators drew a slice: the one with most slices, what more than half of them drew "
        "(of two, what both drew), or STAPLE (three or more)",
    )
    minimum_class_patients: int = Field(
        default=2, ge=1, description="a structure becomes a class when at least so many training patients have it"
    )

    @field_validator("modalities")
    @classmethod
    def _in_order(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted({modality.strip().upper() for modality in given}))

    @model_validator(mode="before")
    @classmethod
    def _of_one_modality(cls, given: Any) -> Any:
        """Manifests of earlier snapshots, which segmenters name as what they learned from, give one `modality`."""
        if isinstance(given, dict) and "modality" in given and "modalities" not in given:
            return {name: value for name, value in given.items() if name != "modality"} | {
                "modalities": (given["modality"],)
            }
        return given


class PriorConfig(_Config):
    """The anatomical prior."""

    levels: int = Field(default=24, ge=2, le=256, description="number of positions along the body axis, feet to head")
    level_smoothing: float = Field(
        default=1.0, ge=0, le=10, description="standard deviation of the smoothing along the body axis, in levels"
    )
    plane_smoothing: float = Field(
        default=1.0, ge=0, le=10, description="standard deviation of the smoothing within a slice, in pixels"
    )
    shape_modes: int = Field(
        default=12, ge=1, le=64, description="modes of the shape model at each level: more take more room in the file"
    )
    shape_resolution: int = Field(
        default=32, ge=8, le=64, description="greatest height and width of the shape model's grid in pixels"
    )
    shape_clip: float = Field(
        default=2.0,
        gt=0.5,
        le=16,
        description="distance from a border, in pixels of that grid, beyond which all is far",
    )
    shape_shared_pixels: float = Field(
        default=300.0,
        ge=1,
        le=10_000,
        description="pixels of a drawn structure that tell as much as an independent one: more let proposals vary more",
    )


class SegmenterConfig(_Config):
    """A small U-Net that labels images: the judge, or the organ segmenter."""

    channels: tuple[int, ...] = Field(default=(16, 32, 64), description="feature channels, finest resolution first")
    blocks: int = Field(default=1, ge=1, le=4, description="residual blocks at each resolution")
    steps: int = Field(default=480, ge=1, description="training steps")
    batch_size: int = Field(default=8, ge=1, description="slices in a training step")
    learning_rate: float = Field(default=6e-3, gt=0, le=1, description="greatest learning rate (AdamW, one cycle)")
    weight_decay: float = Field(default=1e-4, ge=0, description="weight decay of AdamW")
    shift: float = Field(
        default=0.03, ge=0, le=0.5, description="augmentation: greatest shift, as a share of the frame"
    )
    rotation_degrees: float = Field(default=4.0, ge=0, le=45, description="augmentation: greatest rotation")
    scale: float = Field(default=0.05, ge=0, le=0.5, description="augmentation: greatest relative change of size")
    noise: float = Field(default=0.03, ge=0, le=1, description="augmentation: added noise, in units of the [-1, 1] map")
    threads: int = Field(
        default=1, ge=1, le=256, description="CPU threads; more than idle cores slow it down severalfold"
    )
    accelerator: Literal["cpu", "auto"] = Field(default="cpu", description="auto: on a GPU, where one is here")


class GeneratorConfig(_Config):
    """The default family, a mask-conditioned rectified flow, and its training."""

    family: Literal["flow"] = "flow"
    channels: tuple[int, ...] = Field(default=(48, 96, 128), description="feature channels, finest resolution first")
    patch: int = Field(
        default=2, ge=1, le=16, description="pixels along a patch: the finest resolution is size / patch"
    )
    detail: int = Field(default=16, ge=4, le=256, description="feature channels at full resolution")
    embedding: int = Field(default=64, ge=8, description="width of the embedding of the flow time and the attributes")
    attention: int = Field(
        default=1, ge=0, le=4, description="coarsest resolutions with self-attention; 2 or more from 128² up"
    )
    steps: int = Field(default=1600, ge=1, description="training steps")
    batch_size: int = Field(default=8, ge=1, description="slices in a training step")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="learning rate of AdamW after warm-up")
    betas: tuple[float, float] = Field(default=(0.9, 0.99), description="moment decays of AdamW")
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay of AdamW")
    warmup_steps: int = Field(default=50, ge=0, description="steps over which the learning rate rises")
    final_learning_rate: float = Field(
        default=0.1, ge=0, le=1, description="share of the learning rate at the end (cosine)"
    )
    ema_decay: float = Field(default=0.995, ge=0, lt=1, description="decay of the moving average of the weights")
    gradient_clip: float = Field(default=1.0, gt=0, description="greatest norm of the gradient")
    time_mean: float = Field(
        default=1.0,
        description="mean of the logit-normal flow time; positive is nearer the image, where what differs between "
        "patients is decided",
    )
    time_deviation: float = Field(default=1.0, gt=0, description="standard deviation of the logit-normal flow time")
    border_weight: float = Field(
        default=4.0,
        ge=0,
        le=100,
        description="how much more the loss counts within two pixels of 64 of a drawn border, where a wrong pixel is a "
        "wrong outline; 0: alike everywhere",
    )
    augmentation: AugmentationConfig = AugmentationConfig()
    precision: Literal["bf16-mixed", "32-true"] = Field(default="bf16-mixed", description="Lightning Fabric precision")
    accelerator: Literal["cpu", "gpu", "auto"] = Field(default="cpu", description="Lightning Fabric accelerator")
    devices: int = Field(default=1, ge=1, le=64, description="number of devices, or of processes on a CPU")
    nodes: int = Field(default=1, ge=1, le=1024, description="number of machines")
    threads: int = Field(
        default=1, ge=1, le=256, description="CPU threads; more than idle cores slow it down severalfold"
    )
    channels_last: bool = Field(default=False, description="memory layout of the weights: faster on recent GPUs")
    compile: bool = Field(default=False, description="compile the network first: minutes at the start, faster steps")
    checkpoint_every: int = Field(default=200, ge=1, description="steps between checkpoints")
    log_every: int = Field(default=20, ge=1, description="steps between logged figures")
    preview_every: int = Field(default=250, ge=1, description="steps between sample grids")
    preview_steps: int = Field(default=10, ge=1, le=1000, description="Euler steps of a sample grid")
    release_steps: int = Field(default=25, ge=1, le=1000, description="Euler steps of released images")


class GanConfig(_Config):
    """The second model family: the generative adversarial network and its training."""

    family: Literal["gan"] = "gan"
    channels: tuple[int, ...] = Field(
        default=(32, 64, 96), min_length=2, description="feature channels of the generator, finest resolution first"
    )
    discriminator_channels: tuple[int, ...] = Field(
        default=(32, 64, 96), min_length=2, description="feature channels of the discriminator, finest resolution first"
    )
    patch: int = Field(
        default=2, ge=1, le=16, description="pixels along a patch: the finest resolution is size / patch"
    )
    detail: int = Field(default=16, ge=4, le=256, description="feature channels at full resolution")
    embedding: int = Field(default=64, ge=8, description="width of the embedding of latent vector and attributes")
    adversarial: Literal["hinge", "wgan-gp"] = Field(
        default="hinge", description="hinge loss with spectral normalisation, or Wasserstein with gradient penalty"
    )
    adversarial_weight: float = Field(default=0.2, ge=0, le=100, description="weight of the adversarial loss")
    gradient_penalty: float = Field(default=10.0, ge=0, le=1000, description="weight of the penalty of wgan-gp")
    alpha: float = Field(default=1.0, ge=0, le=100, description="weight of L_seg, cross-entropy of the structures")
    beta: float = Field(default=1.0, ge=0, le=100, description="weight of L_anat, Dice of the structures")
    ramp_start: int = Field(
        default=50, ge=0, description="steps before alpha and beta count: the head must learn first"
    )
    ramp_steps: int = Field(default=150, ge=0, description="steps over which alpha and beta then rise to their weights")
    l1: float = Field(default=40.0, ge=0, le=1000, description="weight of the L1 distance to the real image")
    l1_levels: int = Field(
        default=4, ge=1, le=6, description="resolutions, each half the one before, at which L1 and its spread are taken"
    )
    diversity_level: int = Field(
        default=1,
        ge=0,
        le=5,
        description="first of these resolutions whose spread is rewarded (0: pixels, 2: 4×4 means; l1_levels: none)",
    )
    feature_matching: float = Field(default=1.0, ge=0, le=1000, description="weight of feature matching")
    perceptual: float = Field(
        default=0.0, ge=0, le=1000, description="weight of the perceptual loss; above 0 it needs a weights file"
    )
    perceptual_sha256: str = Field(
        default="",
        pattern=r"^([0-9a-fA-F]{64})?$",
        description="SHA-256 of the perceptual loss's weights file",
    )
    diversity: float = Field(
        default=1.2,
        ge=0,
        le=1.5,
        description="reward for spread, in units of that which makes L1's best spread the real one (with two samples "
        "1.2 asks for 1.4 times that, and √3 for no bound)",
    )
    samples: int = Field(default=2, ge=2, le=16, description="images for each mask in a step, for L1 and its reward")
    steps: int = Field(default=600, ge=1, description="training steps")
    batch_size: int = Field(default=8, ge=1, description="masks in a training step")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="learning rate of the generator (Adam)")
    discriminator_learning_rate: float = Field(default=1e-3, gt=0, le=1, description="that of the discriminator")
    betas: tuple[float, float] = Field(default=(0.5, 0.99), description="moment decays of Adam")
    final_learning_rate: float = Field(default=0.1, ge=0, le=1, description="share of the rates at the end (cosine)")
    ema_decay: float = Field(default=0.995, ge=0, lt=1, description="decay of the moving average of the generator")
    gradient_clip: float = Field(default=5.0, gt=0, description="greatest norm of either gradient")
    augmentation: AugmentationConfig = AugmentationConfig()
    precision: Literal["bf16-mixed", "32-true"] = Field(default="bf16-mixed", description="Lightning Fabric precision")
    accelerator: Literal["cpu", "gpu", "auto"] = Field(default="cpu", description="Lightning Fabric accelerator")
    devices: int = Field(default=1, ge=1, le=64, description="number of devices, or of processes on a CPU")
    nodes: int = Field(default=1, ge=1, le=1024, description="number of machines")
    threads: int = Field(
        default=1, ge=1, le=256, description="CPU threads; more than idle cores slow it down severalfold"
    )
    checkpoint_every: int = Field(default=200, ge=1, description="steps between checkpoints")
    log_every: int = Field(default=20, ge=1, description="steps between logged figures")
    preview_every: int = Field(default=250, ge=1, description="steps between sample grids")


class GenerationConfig(_Config):
    """Everything of one preset."""

    dataset: DatasetConfig = DatasetConfig()
    prior: PriorConfig = PriorConfig()
    judge: SegmenterConfig = SegmenterConfig(channels=(16, 32, 64), blocks=1)
    organ_segmenter: SegmenterConfig = SegmenterConfig(channels=(12, 24, 48, 64), blocks=1)
    generator: GeneratorConfig = GeneratorConfig()
    gan: GanConfig = GanConfig()


PRESETS: dict[str, GenerationConfig] = {
    "demo": GenerationConfig(),
    "workstation": GenerationConfig(
        dataset=DatasetConfig(preset="workstation", size=256),
        prior=PriorConfig(levels=48, plane_smoothing=4),
        judge=SegmenterConfig(
            channels=(32, 64, 128, 256), steps=6000, batch_size=16, learning_rate=3e-3, accelerator="auto"
        ),
        organ_segmenter=SegmenterConfig(
            channels=(24, 48, 96, 192, 256), steps=6000, batch_size=16, learning_rate=3e-3, accelerator="auto"
        ),
        generator=GeneratorConfig(
            channels=(128, 256, 384, 512),
            patch=4,
            detail=32,
            embedding=256,
            attention=2,
            steps=60_000,
            batch_size=32,
            learning_rate=3e-4,
            warmup_steps=1000,
            ema_decay=0.9995,
            augmentation=AugmentationConfig(shift_pixels=8, elastic_pixels=4),
            accelerator="gpu",
            channels_last=True,
            checkpoint_every=1000,
            log_every=100,
            preview_every=5000,
        ),
        gan=GanConfig(
            channels=(64, 128, 256, 384),
            discriminator_channels=(64, 128, 256, 384),
            patch=4,
            detail=32,
            embedding=256,
            steps=60_000,
            batch_size=16,
            learning_rate=2e-4,
            discriminator_learning_rate=2e-4,
            ramp_start=2000,
            ramp_steps=6000,
            ema_decay=0.9995,
            augmentation=AugmentationConfig(shift_pixels=8, elastic_pixels=4),
            accelerator="gpu",
            checkpoint_every=1000,
            log_every=100,
            preview_every=5000,
        ),
    ),
    "node": GenerationConfig(
        dataset=DatasetConfig(preset="node", size=512),
        prior=PriorConfig(levels=64, plane_smoothing=8),
        judge=SegmenterConfig(
            channels=(32, 64, 128, 256, 256), steps=12_000, batch_size=16, learning_rate=3e-3, accelerator="auto"
        ),
        organ_segmenter=SegmenterConfig(
            channels=(24, 48, 96, 192, 256, 256), steps=12_000, batch_size=16, learning_rate=3e-3, accelerator="auto"
        ),
        generator=GeneratorConfig(
            channels=(128, 256, 384, 512, 640),
            patch=4,
            detail=32,
            embedding=384,
            attention=2,
            steps=150_000,
            batch_size=64,
            learning_rate=3e-4,
            warmup_steps=2000,
            ema_decay=0.9998,
            augmentation=AugmentationConfig(shift_pixels=16, elastic_pixels=8),
            accelerator="gpu",
            devices=8,
            channels_last=True,
            checkpoint_every=1000,
            log_every=100,
            preview_every=10_000,
        ),
        gan=GanConfig(
            channels=(64, 128, 256, 384, 512),
            discriminator_channels=(64, 128, 256, 384, 512),
            patch=4,
            detail=32,
            embedding=384,
            steps=150_000,
            batch_size=32,
            learning_rate=2e-4,
            discriminator_learning_rate=2e-4,
            ramp_start=2000,
            ramp_steps=6000,
            ema_decay=0.9998,
            augmentation=AugmentationConfig(shift_pixels=16, elastic_pixels=8),
            accelerator="gpu",
            devices=8,
            checkpoint_every=1000,
            log_every=100,
            preview_every=10_000,
        ),
    ),
    "tiny": GenerationConfig(
        dataset=DatasetConfig(preset="tiny", size=32),
        prior=PriorConfig(levels=8),
        judge=SegmenterConfig(channels=(8, 16), steps=30, batch_size=8),
        organ_segmenter=SegmenterConfig(channels=(8, 16, 24), steps=30, batch_size=8),
        generator=GeneratorConfig(
            channels=(8, 16),
            detail=8,
            embedding=16,
            steps=20,
            batch_size=4,
            warmup_steps=4,
            checkpoint_every=8,
            log_every=5,
            preview_every=10,
            preview_steps=2,
            release_steps=4,
        ),
        gan=GanConfig(
            channels=(8, 16),
            discriminator_channels=(8, 16),
            detail=8,
            embedding=16,
            steps=20,
            batch_size=4,
            ramp_start=2,
            ramp_steps=8,
            checkpoint_every=8,
            log_every=5,
            preview_every=10,
        ),
    ),
}
"""`demo`: 64², minutes on a CPU. `workstation`: 256², one GPU of 24 GB. `node`: 512², eight GPUs of one machine.
`tiny`: seconds, for tests; its images are of no use.
"""


def preset(name: str) -> GenerationConfig:
    """The preset of that name. Raises ValueError, naming the presets there are, for an unknown one."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; there are: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
