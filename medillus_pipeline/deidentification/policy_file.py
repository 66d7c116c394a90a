"""A site's choices about de-identification, read from a TOML file or from words of the command line.

What the choices mean is in `policy.py` and `profile.py`; which file is read is decided in `settings.py` and the command
line. Every mistake is one ConfigurationError that says where in the file it stands: a choice that was misspelt must
never be a choice that was not made.
"""

import re
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydicom.valuerep import VR

from medillus_pipeline.deidentification.options import DEFAULT_OPTIONS, Option
from medillus_pipeline.deidentification.pixel_rules import PIXEL_RULES, PixelRule
from medillus_pipeline.deidentification.policy import Policy, RegionRule
from medillus_pipeline.deidentification.private import SafePrivate
from medillus_pipeline.deidentification.profile import EDITION
from medillus_pipeline.dicom.outcomes import Reason
from medillus_pipeline.errors import ConfigurationError

OPTIONS = {option.name_in_settings: option for option in Option}
"""Name in settings → option."""

PIXEL_REASONS = tuple(dict.fromkeys(rule.reason for rule in PIXEL_RULES))
"""Reasons that a site's pixel rule may give: those of the built-in rules, so that the ledger's words stay the same."""

MAXIMUM_TERM = 64
"""Characters of a term: longer text would be a sentence, and sentences name people."""

_VRS = frozenset(str(vr.value) for vr in VR if len(vr.value) == 2)


def read_policy(path: Path) -> Policy:
    """The policy that a TOML file describes; what it leaves out is as in `Policy()`.

    Raises ConfigurationError, in one line, for a file that cannot be read or is no TOML, and for every unknown key,
    unknown name, wrong type or value out of bounds.
    """
    try:
        with path.open("rb") as handle:
            found = tomllib.load(handle)
    except OSError as error:
        raise ConfigurationError(f"{path.name}: the configuration cannot be read ({type(error).__name__})") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path.name}: the configuration is no UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path.name}: the configuration is no valid TOML: {error}") from None
    try:
        return _File.model_validate(found).policy()
    except ValidationError as error:
        raise ConfigurationError(f"{path.name}: {_in_one_line(error)}") from None


def options_named(names: Iterable[str]) -> frozenset[Option]:
    """Options by their names in settings. Raises ConfigurationError for an unknown name, or two that contradict."""
    try:
        return _contradicting(frozenset(_option(name) for name in names))
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def chosen(policy: Policy, *, retain: str | None, clean: str | None) -> frozenset[Option]:
    """The policy's options, with those of a kind replaced by what stands on the command line.

    `retain` and `clean` are names without their prefix, separated by commas, or `none`; None leaves that kind as it is.
    Raises ConfigurationError like `options_named`.
    """
    options = set(policy.options)
    for prefix, words in (("retain-", retain), ("clean-", clean)):
        if words is None:
            continue
        options = {option for option in options if not option.name_in_settings.startswith(prefix)}
        names = [name for word in words.split(",") if (name := word.strip().lower())]
        if not names:
            raise ConfigurationError(f"--{prefix}".rstrip("-") + ": name options, or none")
        if names != ["none"]:
            options |= options_named(prefix + name.removeprefix(prefix) for name in names)
    return _checked(frozenset(options))


def policy_summary(policy: Policy) -> dict[str, Any]:
    """What was chosen, as far as it may be shown anywhere: names of options, and how many terms and rules."""
    return {
        "edition": EDITION,
        "options": sorted(option.name_in_settings for option in policy.options),
        "documents": policy.documents,
        "terms": len(policy.terms),
        "regions": len(policy.regions),
        "safe_private": len(policy.safe_private),
        "pixel_rules": len(policy.pixel_rules),
    }


def _checked(options: frozenset[Option]) -> frozenset[Option]:
    try:
        return _contradicting(options)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _contradicting(options: frozenset[Option]) -> frozenset[Option]:
    if {Option.RETAIN_MODIFIED_DATES, Option.RETAIN_FULL_DATES} <= options:
        raise ValueError("retain-dates and retain-full-dates contradict each other: name one of them")
    return options


def _option(name: object) -> Option:
    if not isinstance(name, str):
        raise ValueError("an option is a text")
    if name not in OPTIONS:
        raise ValueError(f"unknown option {name!r}{_closest(name, OPTIONS)}")
    return OPTIONS[name]


def _closest(name: str, known: Iterable[str]) -> str:
    listed = list(known)
    near = get_close_matches(name, listed, n=1, cutoff=0.5)
    return f": did you mean {near[0]!r}?" if near else f"; known are {', '.join(listed)}"


def _number(value: object) -> object:
    """A tag part as text `0x0019` as well as a TOML number."""
    if isinstance(value, str) and re.fullmatch(r"0[xX][0-9a-fA-F]{1,4}", value):
        return int(value, 16)
    if isinstance(value, str):
        raise ValueError('a hexadecimal number is written like "0x0019"')
    return value


def _odd(group: int) -> int:
    if group % 2 == 0:
        raise ValueError("a private group is odd (PS3.5 7.8)")
    return group


def _vr(name: str) -> str:
    if name not in _VRS:
        raise ValueError(f"unknown VR {name!r}")
    return name


def _reason(name: object) -> Reason:
    if not isinstance(name, str) or name not in {str(reason) for reason in PIXEL_REASONS}:
        raise ValueError(f"unknown reason {name!r}{_closest(str(name), (str(reason) for reason in PIXEL_REASONS))}")
    return Reason(name)


def _sop_class(uid: str) -> str:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)+\.?", uid) or len(uid) > 64:
        raise ValueError("a class is a SOP Class UID, or the beginning of one that ends in a point")
    return uid


def _box(box: list[int]) -> tuple[int, int, int, int]:
    if len(box) != 4 or box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError("a box is [left, top, right, bottom] with right > left and bottom > top")
    return box[0], box[1], box[2], box[3]


def _flag(flag: str) -> str:
    if flag.strip().upper() == "NO":
        raise ValueError("an image whose BurnedInAnnotation is NO passes before any rule is asked")
    return flag.strip().upper()


Coordinate = Annotated[int, Field(ge=0, le=65_535)]
Box = Annotated[list[Coordinate], AfterValidator(_box)]
Frame = Annotated[int, Field(ge=1, le=65_535)]
Term = Annotated[str, Field(min_length=1, max_length=MAXIMUM_TERM, pattern=r"\S")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Region(_Part):
    manufacturer: str = ""
    model: str = ""
    rows: Frame | None = None
    columns: Frame | None = None
    boxes: Annotated[list[Box], Field(min_length=1)]


class _SafePrivate(_Part):
    creator: Annotated[str, Field(min_length=1, max_length=64, pattern=r"\S")]
    group: Annotated[int, BeforeValidator(_number), Field(ge=0x0009, le=0xFFFD), AfterValidator(_odd)]
    element: Annotated[int, BeforeValidator(_number), Field(ge=0, le=0xFF)]
    vr: Annotated[str, AfterValidator(_vr)]


class _PixelRule(_Part):
    reason: Annotated[Any, AfterValidator(_reason)]
    classes: list[Annotated[str, AfterValidator(_sop_class)]] = []
    flag: Annotated[str, AfterValidator(_flag)] = ""
    image_type: str = ""

    @model_validator(mode="after")
    def _says_something(self) -> "_PixelRule":
        if not (self.classes or self.flag or self.image_type.strip()):
            raise ValueError("a rule names classes, a flag or an image_type: without any it would match every image")
        return self


class _File(_Part):
    options: list[Annotated[Any, AfterValidator(_option)]] | None = None
    documents: bool = False
    terms: list[Term] = []
    region: list[_Region] = []
    safe_private: list[_SafePrivate] = []
    pixel_rule: list[_PixelRule] = []

    @model_validator(mode="after")
    def _agree(self) -> "_File":
        _contradicting(frozenset(self.options or ()))
        return self

    def policy(self) -> Policy:
        """The policy, site rules before the built-in ones."""
        rules = tuple(
            PixelRule(rule.reason, tuple(rule.classes), rule.flag, rule.image_type.strip().upper())
            for rule in self.pixel_rule
        )
        return Policy(
            options=DEFAULT_OPTIONS if self.options is None else frozenset(self.options),
            documents=self.documents,
            terms=tuple(term.strip() for term in self.terms),
            regions=tuple(RegionRule(_boxes(r.boxes), r.manufacturer, r.model, r.rows, r.columns) for r in self.region),
            safe_private=tuple(SafePrivate(p.creator, p.group, p.element, p.vr) for p in self.safe_private),
            pixel_rules=rules + PIXEL_RULES,
        )


def _boxes(boxes: Iterable[Any]) -> tuple[tuple[int, int, int, int], ...]:
    return tuple(tuple(box) for box in boxes)


def _in_one_line(error: ValidationError) -> str:
    """One mistake, a misspelt key before what is missing for it: where it stands (counted from 1), what is wrong."""
    mistakes = error.errors(include_url=False, include_input=False)
    first = next((mistake for mistake in mistakes if mistake["type"] == "extra_forbidden"), mistakes[0])
    words: list[str] = []
    for part in first["loc"]:
        if isinstance(part, int) and words:
            words[-1] += f" {part + 1}"
        else:
            words.append(str(part))
    if first["type"] == "extra_forbidden":
        table = words[-2].split(" ")[0] if len(words) > 1 else ""
        model = {"region": _Region, "safe_private": _SafePrivate, "pixel_rule": _PixelRule}.get(table, _File)
        place = ", ".join(words[:-1])
        return f"{f'{place}: ' if place else ''}unknown key {words[-1]!r}{_closest(words[-1], model.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "list_type" and words and words[-1] in ("region", "safe_private", "pixel_rule"):
        message = f"is a list of tables: write [[{words[-1]}]]"
    return f"{', '.join(words)}: {message}" if words else message
