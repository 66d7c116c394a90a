"""Keyed stand-ins (HMAC-SHA256) for identifiers. The same key gives the same pseudonym everywhere; without it, none.

What is not here: which attribute gets which treatment (`profile.py`), and where the key is kept (`settings.py`).
"""

import hashlib
import hmac
from dataclasses import dataclass, field

MINIMUM_KEY_BYTES = 32
SHIFT_DAYS = (365, 3650)
"""Least and greatest number of days by which a patient's dates move into the past."""


def normalised_patient_id(patient_id: str) -> str:
    """The id as compared across deliveries: white space and case do not distinguish patients, nor leading zeros
    of an id that is all digits. The issuer is not used: the same patient is often delivered with and without it.
    """
    folded = "".join(patient_id.split()).casefold()
    return folded.lstrip("0") or folded if folded.isdigit() else folded


@dataclass(frozen=True)
class Pseudonymiser:
    """Makes pseudonyms from a secret key of at least 32 bytes and a split salt that outlives key rotation.

    Raises ValueError when either is shorter. Neither is ever printed.
    """

    key: bytes = field(repr=False)
    split_salt: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for name, value in (("key", self.key), ("split salt", self.split_salt)):
            if len(value) < MINIMUM_KEY_BYTES:
                raise ValueError(f"the {name} has {len(value)} bytes; at least {MINIMUM_KEY_BYTES} are needed")

    def _digest(self, domain: str, value: str) -> bytes:
        return hmac.new(self.key, f"{domain}\x00{value}".encode(errors="surrogatepass"), hashlib.sha256).digest()

    def uid(self, original: str) -> str:
        """A UID under 2.25 (PS3.5 B.2) from the first 128 bits; white space and trailing NULs do not matter."""
        return f"2.25.{int.from_bytes(self._digest('uid', original.strip().rstrip(chr(0)))[:16])}"

    def patient(self, patient_id: str) -> str:
        """`p-` and 16 hexadecimal digits."""
        return "p-" + self._digest("patient", normalised_patient_id(patient_id)).hex()[:16]

    def accession(self, number: str) -> str:
        """16 hexadecimal digits in upper case: fits the VR SH."""
        return self._digest("accession", number.strip()).hex()[:16].upper()

    def annotator(self, name: str) -> str:
        """`a-` and 8 hexadecimal digits."""
        return "a-" + self._digest("annotator", " ".join(name.split()).casefold()).hex()[:8]

    def folder(self, name: str) -> str:
        """8 hexadecimal digits for a landing folder's name."""
        return self._digest("folder", name).hex()[:8]

    def item(self, content_sha256: str, name: str) -> str:
        """`i-` and 12 hexadecimal digits for a submitted annotation file."""
        return "i-" + self._digest("item", f"{content_sha256}\x00{name}").hex()[:12]

    def date_shift(self, patient_id: str) -> int:
        """Days (negative) by which all dates of this patient move; the intervals between them stay."""
        low, high = SHIFT_DAYS
        drawn = int.from_bytes(self._digest("dates", normalised_patient_id(patient_id))[:8])
        return -(low + drawn % (high - low + 1))

    def split_token(self, patient_id: str) -> str:
        """32 hexadecimal digits, keyed by the salt alone: key rotation moves nobody to another split."""
        value = normalised_patient_id(patient_id).encode()
        return hmac.new(self.split_salt, value, hashlib.sha256).hexdigest()[:32]
