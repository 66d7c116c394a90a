"""Which kinds of object are known to carry text in their pixels: a table. Original CT and MR slices are in none of its
rows, being safe by SOP class and image type. Finding the text is not here: see `pixel_text.py`."""

from dataclasses import dataclass

from medillus_pipeline.dicom.outcomes import Reason


@dataclass(frozen=True)
class PixelRule:
    """Objects whose pixels are taken to carry text, unless BurnedInAnnotation says NO.

    They are quarantined for `reason`, or cleaned where Clean Pixel Data is chosen.

    An object matches when its SOP Class UID is one of `classes` (or lies under one that ends in a point), its
    BurnedInAnnotation is `flag` (what is neither empty nor NO counts as YES), and `image_type` is among its Image Type
    values; an empty field matches everything.
    """

    reason: Reason
    classes: tuple[str, ...] = ()
    flag: str = ""
    image_type: str = ""


_IMAGE = "1.2.840.10008.5.1.4.1.1."
PIXEL_RULES = (
    PixelRule(Reason.BURNED_IN_ANNOTATION, flag="YES"),
    PixelRule(Reason.SECONDARY_CAPTURE, classes=(_IMAGE + "7", _IMAGE + "7.")),
    PixelRule(
        Reason.ULTRASOUND,
        classes=(_IMAGE + "3", _IMAGE + "3.1", _IMAGE + "6", _IMAGE + "6.1", _IMAGE + "6.2", _IMAGE + "6.3"),
    ),
    PixelRule(Reason.ANGIOGRAPHY_OR_FLUOROSCOPY, classes=(_IMAGE + "12.",)),
    PixelRule(Reason.PHOTOGRAPH_OR_VIDEO, classes=(_IMAGE + "77.1.",)),
    PixelRule(Reason.DERIVED_CT, classes=(_IMAGE + "2", _IMAGE + "2.1", _IMAGE + "2.2"), image_type="SECONDARY"),
    PixelRule(Reason.DERIVED_CT, classes=(_IMAGE + "2", _IMAGE + "2.1", _IMAGE + "2.2"), image_type="SCREEN SAVE"),
    PixelRule(Reason.CT_LOCALIZER, classes=(_IMAGE + "2", _IMAGE + "2.1", _IMAGE + "2.2"), image_type="LOCALIZER"),
    PixelRule(Reason.SECONDARY_CAPTURE, image_type="SCREEN SAVE"),
)
"""First match decides."""


def matching_rule(
    rules: tuple[PixelRule, ...], sop_class_uid: str, flag: str, image_type: frozenset[str]
) -> PixelRule | None:
    """The first rule that an object falls under; None where its pixels are taken to be free of text."""
    if flag == "NO":
        return None
    for rule in rules:
        within = any(sop_class_uid.startswith(c) if c.endswith(".") else sop_class_uid == c for c in rule.classes)
        if (
            (within or not rule.classes)
            and (rule.flag in ("", flag) or (rule.flag == "YES" and flag not in ("", "NO")))
            and (not rule.image_type or rule.image_type in image_type)
        ):
            return rule
    return None
