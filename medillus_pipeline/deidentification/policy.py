"""What a site chooses about de-identification: options, terms, rules. Frozen, so that every worker has the same.

The defaults are the Basic Profile with modified dates. What each option does to an attribute is in `profile.py`.
"""

from dataclasses import dataclass, field

from medillus_pipeline.deidentification.options import DEFAULT_OPTIONS, Option
from medillus_pipeline.deidentification.pixel_rules import PIXEL_RULES, PixelRule
from medillus_pipeline.deidentification.private import SafePrivate


@dataclass(frozen=True)
class RegionRule:
    """Parts of the frames of one kind of device that are always blacked out under Clean Pixel Data.

    An instance matches when its Manufacturer and Manufacturer's Model Name equal these (case and outer white space
    aside; an empty one matches every device) and `rows` and `columns`, where given, are the frame's. `boxes` are
    (left, top, right, bottom) in pixels, right and bottom excluded; what lies outside the frame is ignored.
    """

    boxes: tuple[tuple[int, int, int, int], ...]
    manufacturer: str = ""
    model: str = ""
    rows: int | None = None
    columns: int | None = None

    def matches(self, manufacturer: str, model: str, rows: int, columns: int) -> bool:
        """Whether this is about an image of this size by this device."""
        return (
            self.manufacturer.strip().casefold() in ("", manufacturer.strip().casefold())
            and self.model.strip().casefold() in ("", model.strip().casefold())
            and self.rows in (None, rows)
            and self.columns in (None, columns)
        )


@dataclass(frozen=True)
class Policy:
    """Everything that a site can choose.

    `terms` are words that Clean Descriptors keeps besides ours, `regions` the fixed boxes of Clean Pixel Data,
    `safe_private` private elements that Retain Safe Private keeps besides the standard's list. Structured reports
    pass only with Clean Structured Content, encapsulated documents only with `documents` (their content is replaced).
    """

    options: frozenset[Option] = DEFAULT_OPTIONS
    documents: bool = False
    terms: tuple[str, ...] = ()
    regions: tuple[RegionRule, ...] = ()
    safe_private: tuple[SafePrivate, ...] = field(default=(), repr=False)
    pixel_rules: tuple[PixelRule, ...] = PIXEL_RULES


def ready(policy: Policy) -> None:
    """Raises ConfigurationError, before any file is read, where a policy needs what is not installed."""
    if policy.options & {Option.CLEAN_PIXEL_DATA, Option.CLEAN_GRAPHICS}:
        from medillus_pipeline.deidentification.pixel_text import require_ocr

        require_ocr()
