"""A sentence as a request to a prior's shape model alone: "liver, spleen at the level of the kidneys", 肝 脾, 不要胆囊.

For masks without a dataset at hand (`mask_answer.py` has sizes, training masks and the guard against copies). What the
shape model cannot take is refused by name. What is not here: how sentences are read (`parser.py`) and masks are drawn
(`generation/mask_requests.py`).
"""

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.body_regions import REGIONS, level_of_classes, level_of_region
from medillus_pipeline.generation.mask_requests import MaskRequest, ProposedMasks, known_classes, propose_mask
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.language.parser import understand
from medillus_pipeline.language.text_request import TextRequest


def understood(text: str, prior: Prior, vocabulary: Vocabulary) -> MaskRequest:
    """What a request in words asks of a prior. A structure with parts (kidneys, lungs) stands for those it has.

    Raises InputError, naming it, for what is not understood or contradicts itself, a structure or region that the prior
    does not have, sizes, pathologies and phases (the shape model draws none), and a request for nothing.
    """
    request = understand(text, vocabulary)
    if not request.settled:
        faults = [
            problem.en + (f" (near it: {', '.join(problem.near)})" if problem.near else "")
            for problem in request.problems
            if problem.kind != "assumption"
        ]
        raise InputError("the request has to be corrected: " + "; ".join(faults))
    beyond = [
        name
        for name, said in (
            ("a size", request.sizes),
            ("a pathology", request.pathologies or request.absent_pathologies),
            ("a contrast phase", request.contrast_phase),
            ("a stage", request.stage),
        )
        if said
    ]
    if beyond:
        raise InputError(f"the shape model alone cannot draw {' or '.join(beyond)}: leave it out")
    structures = _classes(request.structures, prior, vocabulary)
    level = _level(request, prior, vocabulary)
    if not structures and level is None:
        raise InputError("the request names no structure and no level: say for example 'liver, spleen' or 'at 0.6'")
    return MaskRequest(level, structures, _classes(request.absent, prior, vocabulary), request.only)


def sample_mask(prior: Prior, vocabulary: Vocabulary, text: str, *, count: int = 1, seed: int = 0) -> ProposedMasks:
    """`count` plausible masks for a request in words; the same seed gives the same masks. Raises InputError as
    `understood` and `propose_mask` do.
    """
    return propose_mask(prior, vocabulary, understood(text, prior, vocabulary), count=count, seed=seed)


def _level(request: TextRequest, prior: Prior, vocabulary: Vocabulary) -> float | None:
    level = request.level
    if level is None:
        named = (request.body_part or "").casefold()
        return level_of_region(prior, named, vocabulary) if named in REGIONS else None
    if level.region:
        return level_of_region(prior, level.region, vocabulary)
    return level_of_classes(prior, _classes(level.structures, prior, vocabulary)) if level.structures else level.value


def _classes(ids: tuple[int, ...], prior: Prior, vocabulary: Vocabulary) -> tuple[int, ...]:
    found = (label for each in ids for label in known_classes(vocabulary.by_id(each), prior, vocabulary))
    return tuple(dict.fromkeys(found))
