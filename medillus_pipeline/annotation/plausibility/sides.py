"""Left and right exchanged, told by patient coordinates (LPS, x to the patient's left), never by pixel columns.

`left` and `right` in a name are sides of the patient. Mirrored organs (situs inversus, dextrocardia) therefore exchange
no pair: the left kidney of such a patient still lies on the left. A pair on the wrong sides is an error, mostly sides
taken from the screen, and is refused. There is one exception: when liver, spleen and their like are mirrored too and no
pair lies right, the whole image is mirrored against its coordinates, and whether names or coordinates are wrong is for
a person to decide: a warning. Heart chambers bear sides that say nothing on the patient's, and legs and arms can
cross: the chambers are not judged, and limbs only warn. So do organs that may cross the midline (ovary, testis, ureter,
a kidney that lies a little beyond it).
"""

from collections.abc import Iterator

from medillus_pipeline.annotation.plausibility.findings import Finding, FindingKind, Severity
from medillus_pipeline.annotation.plausibility.survey import Survey

CHAMBERS = ("heart_", "atrial_")
LIMBS = ("humerus", "ulna", "radius", "femur", "patella", "tibia", "fibula")
MOBILE = ("ovary", "testis", "ureter")
"""A mass, a low position or an operation takes these across the midline."""
LOBES = "lobe"
"""Lobes of the lung are named by their shape: in a mirrored patient the three-lobed lung lies on the left."""
KIDNEY = "kidney"
MIDLINE = ("spine", "spinal_cord", "sacrum", "brainstem", "sternum", "mandible")
VERTEBRA = "vertebrae_"
FURTHER_LEFT = (
    ("spleen", "liver"),
    ("stomach", "liver"),
    ("spleen", "gallbladder"),
    ("stomach", "gallbladder"),
    ("aorta", "inferior_vena_cava"),
)
"""Unpaired structures whose first lies further to the patient's left, unless the organs or the image are mirrored."""


def examine_sides(found: Survey) -> Iterator[Finding]:
    """Pairs on exchanged sides, in the series or on single slices; mirrored organs; one of a pair past the midline."""
    centres = {
        found.vocabulary.by_id(structure).key: float(centre[0])
        for structure, drawn in found.structures.items()
        if (centre := drawn.centre) is not None
    }
    margin = found.limits.side_mm
    pairs = [(key, other) for key in centres if "left" in key and (other := _other(key)) is not None]
    apart = {pair: centres[pair[0]] - centres[pair[1]] for pair in pairs if pair[1] in centres}
    unpaired = {names: centres[names[0]] - centres[names[1]] for names in FURTHER_LEFT if set(names) <= set(centres)}
    mirrored = min(unpaired.values(), default=0.0) < -margin and max(unpaired.values()) < margin
    whole_image = mirrored and all(distance < 0 for distance in apart.values())
    for (left, right), distance in apart.items():
        if distance < -margin:
            lenient = whole_image or left.startswith(LIMBS + MOBILE) or (mirrored and LOBES in left)
            lenient = lenient or (left.startswith(KIDNEY) and distance > -found.limits.kidney_mm)
            for key in (left, right):
                yield _swapped(found, key, None, distance, Severity.WARN if lenient else Severity.REFUSE)
        else:
            yield from _on_slices(found, left, right)
    if mirrored:
        for key in dict.fromkeys(key for names, distance in unpaired.items() if distance < -margin for key in names):
            worst = min(distance for names, distance in unpaired.items() if key in names)
            yield _finding(found, FindingKind.MIRRORED, key, None, worst, -margin, Severity.WARN)
    for key, x in centres.items():
        if _other(key) is not None and _other(key) not in centres:
            yield from _alone(found, key, x, centres)


def _other(key: str) -> str | None:
    """The same structure on the other side; None for what has no side of the patient."""
    if key.startswith(CHAMBERS):
        return None
    parts = key.split("_")
    turned = [{"left": "right", "right": "left"}.get(part, part) for part in parts]
    return "_".join(turned) if turned != parts else None


def _on_slices(found: Survey, left: str, right: str) -> Iterator[Finding]:
    """Slices on which a pair is exchanged that lies right in the series: someone named the sides slice by slice."""
    if left.startswith((*LIMBS, *MOBILE, KIDNEY)) or LOBES in left or found.vocabulary.by_key(left).kind == "vessel":
        return
    drawn = [found.structures[found.vocabulary.by_key(key).id].slices for key in (left, right)]
    others = {one.order: one.centre for one in drawn[1]}
    for one in drawn[0]:
        other = others.get(one.order)
        if one.centre is None or other is None:
            continue
        distance = float(one.centre[0] - other[0])
        if distance < -found.limits.side_mm:
            for key in (left, right):
                yield _swapped(found, key, one.target.slice_name, distance, Severity.REFUSE)


def _alone(found: Survey, key: str, x: float, centres: dict[str, float]) -> Iterator[Finding]:
    """One of a pair without the other: beyond the midline of the spine, or else of the body's outline, is a warning."""
    spine = [centre for name, centre in centres.items() if name in MIDLINE or name.startswith(VERTEBRA)]
    margin = found.limits.side_mm
    if spine:
        middle = sum(spine) / len(spine)
    else:
        slices = found.structures[found.vocabulary.by_key(key).id].slices
        middles = [m for one in slices if (m := found.middles.get(one.target.slice_name)) is not None]
        if not middles or key.startswith(LIMBS):
            return
        middle, margin = sum(middles) / len(middles), found.limits.middle_mm
    distance = x - middle if "left" in key else middle - x
    if distance < -margin:
        yield _finding(found, FindingKind.SIDES_SWAPPED, key, None, distance, -margin, Severity.WARN)


def _swapped(found: Survey, key: str, slice_name: str | None, distance: float, severity: Severity) -> Finding:
    return _finding(found, FindingKind.SIDES_SWAPPED, key, slice_name, distance, -found.limits.side_mm, severity)


def _finding(
    found: Survey, kind: FindingKind, key: str, slice_name: str | None, value: float, low: float, severity: Severity
) -> Finding:
    return Finding(kind, found.vocabulary.by_key(key).id, slice_name, value, low, None, "mm", severity)
