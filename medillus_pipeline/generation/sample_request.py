"""What a person asks of a model for one mask, and what the model is told of it: the bounds, and what it does not know.

What is not here: the mask itself (`sample_mask.py`), and what becomes of the images (`sample_folder.py`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from medillus_pipeline.errors import InputError

GREATEST_COUNT, GREATEST_STEPS, GREATEST_GUIDANCE = 1000, 1000, 20.0
OPTIONS = {
    "modality": "--modality",
    "body_part": "--body-part",
    "contrast_phase": "--phase",
    "pathology": "--pathology",
    "stage": "--stage",
}
"""The option that says each kind of attribute."""
OF_A_FLOW = {"steps": "--steps", "method": "--method", "guidance": "--guidance"}
"""What a gan does not have: it draws in one pass."""


@dataclass(frozen=True)
class SampleRequest:
    """What is asked for. Without a `level` (0 feet to 1 head) the prior's likeliest is taken; without `steps` those of
    a release; `pixel_size` in mm is that of the mask.

    `modality`, `body_part` (BodyPartExamined, which chooses the field of view too), `contrast_phase`, `pathologies` and
    `stage` are told to the model, and `guidance` times taken what they change. With `partial` the mask is complete only
    for the structures it holds. The tissue `context` is proposed by the anatomical prior or left to the model.
    """

    count: int = 1
    seed: int = 0
    steps: int | None = None
    method: Literal["euler", "heun"] = "euler"
    guidance: float = 1.0
    level: float | None = None
    modality: str | None = None
    body_part: str | None = None
    contrast_phase: str | None = None
    pathologies: tuple[str, ...] = ()
    stage: str | None = None
    partial: bool = False
    context: Literal["proposed", "none"] = "proposed"
    pixel_size: float | None = None


def modality_drawn(request: SampleRequest, described: Mapping[str, Any]) -> str:
    """The modality that is asked for, or the only one the model (its config.json, `described`) draws.

    Raises InputError for another, and where the model draws several and none is asked for.
    """
    drawn = [str(name) for name in described["modalities"]]
    if request.modality is None:
        if len(drawn) > 1:
            raise InputError(f"the model draws {' and '.join(drawn)}: say which with --modality")
        return drawn[0]
    if request.modality.upper() not in drawn:
        raise InputError(
            f"the model draws {' and '.join(drawn)}, not {request.modality}: name another model, or leave --modality"
        )
    return request.modality.upper()


def attributes_told(request: SampleRequest, described: Mapping[str, Any]) -> tuple[str, ...]:
    """What the model is told of the images, as "kind=value" in its own spelling and order.

    Raises InputError for what it does not know, naming what it knows of that kind.
    """
    known = [str(name) for name in described["attributes"]]
    modality = f"modality={modality_drawn(request, described)}"
    told = {modality} & set(known)
    asked = [
        ("body_part", request.body_part),
        ("contrast_phase", request.contrast_phase),
        *(("pathology", pathology) for pathology in request.pathologies),
        ("stage", request.stage),
    ]
    for kind, value in asked:
        if value is None:
            continue
        own = {name.casefold(): name for name in known if name.startswith(f"{kind}=")}
        name = own.get(f"{kind}={value.strip()}".casefold())
        if name is None:
            values = ", ".join(spelt.partition("=")[2] for spelt in own.values())
            raise InputError(
                f"the model does not know {OPTIONS[kind]} {value}; it knows {values}"
                if values
                else f"the model was told of no {kind.replace('_', ' ')} in training: leave {OPTIONS[kind]}"
            )
        told.add(name)
    return tuple(name for name in known if name in told)


def parameters_of(request: SampleRequest, described: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the served model. Raises InputError for what is out of bounds or not of the model's family."""
    for name, value, least, greatest in (
        ("--n", request.count, 1, GREATEST_COUNT),
        ("--seed", request.seed, 0, 2**63 - 1),
        ("--steps", request.steps, 1, GREATEST_STEPS),
        ("--guidance", request.guidance, 0, GREATEST_GUIDANCE),
        ("--level", request.level, 0, 1),
        ("--pixel-size", request.pixel_size, 1e-3, 100),
    ):
        if value is not None and not least <= value <= greatest:
            raise InputError(f"{name} is {least:g} to {greatest:g}, not {value}")
    for name, value, choices in (
        ("--method", request.method, ("euler", "heun")),
        ("--context", request.context, ("proposed", "none")),
    ):
        if value not in choices:
            raise InputError(f"{name} is {' or '.join(choices)}, not {value}")
    parameters: dict[str, Any] = {
        "seed": request.seed,
        "attributes": ";".join(attributes_told(request, described)),
        "partial": request.partial,
        "context": request.context,
    }
    if described["family"] == "gan":
        given, usual = asdict(request), asdict(SampleRequest())
        if asked := [option for name, option in OF_A_FLOW.items() if given[name] != usual[name]]:
            raise InputError(f"the model is a gan, which draws in one pass: leave {', '.join(asked)}")
        return parameters
    steps = request.steps or int(described["config"]["release_steps"])
    return parameters | {"steps": steps, "method": request.method, "guidance": float(request.guidance)}
