"""The roster: who may review, in which roles and with which key, and the ethics record. A TOML file of the site:

    keep_comments = false               # true: comments go into the clean zone as text; they may hold names

    [ethics]
    intended_use = "Illustrations for first-year anatomy teaching. Not for diagnosis."
    responsible = "Head of anatomy teaching"
    date = 2026-03-01
    reference = "EC 2026-017"           # optional

    [[reviewer]]
    name = "reader one"                 # as the site calls them; tables show a pseudonym
    roles = ["physician", "anatomist"]
    keys = ["64 hexadecimal digits"]    # public keys; `medillus review key` makes one

Taking a key off the roster takes the approvals signed with it away. Which file is read is decided in `settings.py`.
"""

import datetime
import hashlib
import hmac
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.review.signing import is_signed

Role = Literal["physician", "anatomist", "engineer", "educator", "ethicist"]
_OF_NOBODY = "01" + "00" * 63
"""A signature made without a secret: it holds for one message in eight or more under a key of small order, such as 64
zeros, and for none under a real one."""
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Ethics:
    """What the figures are for, who answers for that (a role or a name, as configured), and since when."""

    intended_use: str
    responsible: str
    date: str
    reference: str = ""

    def record(self) -> dict[str, str]:
        """As it stands in published documents."""
        return dict(vars(self))


@dataclass(frozen=True)
class Reviewer:
    """A reviewer by pseudonym, `r-` and 8 hexadecimal digits, with roles and public keys (64 hexadecimal digits)."""

    pseudonym: str
    roles: tuple[Role, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Roster:
    """Everybody who may review."""

    reviewers: tuple[Reviewer, ...] = ()
    ethics: Ethics | None = None
    keep_comments: bool = False

    def owner_of(self, key: str) -> Reviewer | None:
        """The reviewer of a public key, or None."""
        return next((reviewer for reviewer in self.reviewers if key in reviewer.keys), None)

    def by_pseudonym(self, pseudonym: str) -> Reviewer | None:
        """The reviewer of a pseudonym, or None."""
        return next((reviewer for reviewer in self.reviewers if reviewer.pseudonym == pseudonym), None)


def reviewer_pseudonym(name: str, key: bytes) -> str:
    """`r-` and 8 hexadecimal digits by the installation's pseudonym key, as annotators have theirs."""
    folded = " ".join(unicodedata.normalize("NFKC", name).split()).casefold()
    return "r-" + hmac.new(key, f"reviewer\x00{folded}".encode(), hashlib.sha256).hexdigest()[:8]


def read_roster(path: Path, key: bytes) -> Roster:
    """The roster of a TOML file, its names replaced by pseudonyms under the installation's key.

    Raises ConfigurationError for a file that cannot be read, an unknown key or role, a malformed public key, and a name
    or public key that stands there twice. No name is quoted.
    """
    try:
        with path.open("rb") as handle:
            found = tomllib.load(handle)
    except OSError as error:
        raise ConfigurationError(f"MEDILLUS_REVIEWERS: the file cannot be read ({type(error).__name__})") from None
    except (UnicodeDecodeError, RecursionError):
        raise ConfigurationError("MEDILLUS_REVIEWERS: the file is no TOML of UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"at line [0-9]+, column [0-9]+|at end of document", str(error))  # its text may quote a name
        said = f", {where.group()}" if where else ""
        raise ConfigurationError(f"MEDILLUS_REVIEWERS: the file is no TOML{said}") from None
    return parse_roster(found, key)


def parse_roster(found: Mapping[str, Any], key: bytes) -> Roster:
    """The roster of parsed TOML; see `read_roster`."""
    try:
        file = _File.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        raise ConfigurationError(f"MEDILLUS_REVIEWERS: {place}: {first['msg']}") from None
    reviewers = tuple(Reviewer(reviewer_pseudonym(r.name, key), r.roles, r.keys) for r in file.reviewer)
    keys = [public for reviewer in reviewers for public in reviewer.keys]
    if len({reviewer.pseudonym for reviewer in reviewers}) < len(reviewers):
        raise ConfigurationError("MEDILLUS_REVIEWERS: a reviewer stands there twice: give each one entry with all keys")
    if len(set(keys)) < len(keys):
        raise ConfigurationError("MEDILLUS_REVIEWERS: a public key stands there twice: everybody signs with a key of "
                                 "their own")  # fmt: skip
    ethics = file.ethics and Ethics(
        file.ethics.intended_use, file.ethics.responsible, file.ethics.date.isoformat(), file.ethics.reference
    )
    return Roster(reviewers, ethics, file.keep_comments)


def _public_key(text: str) -> str:
    try:
        plain = bytes.fromhex(text).hex()
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(plain))
    except ValueError:
        raise ValueError("a public key has 64 hexadecimal digits: `medillus review key` makes one") from None
    if any(is_signed(str(number), _OF_NOBODY, plain) for number in range(256)):
        raise ValueError("a placeholder, under which anybody can sign: `medillus review key` makes a key")
    return plain


_Text = Annotated[str, Field(min_length=1, max_length=500)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    name: Annotated[str, Field(min_length=1, max_length=100)]
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    keys: Annotated[tuple[Annotated[str, AfterValidator(_public_key)], ...], Field(min_length=1)]


class _Ethics(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    intended_use: _Text
    responsible: _Text
    date: datetime.date
    reference: Annotated[str, Field(max_length=200)] = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keep_comments: bool = False
    ethics: _Ethics | None = None
    reviewer: tuple[_Entry, ...] = ()
