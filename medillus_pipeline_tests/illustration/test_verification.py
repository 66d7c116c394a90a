"""Tampered files, foreign manifests, unknown keys: each is refused with a sentence that says which it is."""

import base64
import dataclasses
import json

import numpy as np
import pytest

from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.errors import ConfigurationError, InputError
from medillus_pipeline.illustration import credential
from medillus_pipeline.illustration.request import canonical_json
from medillus_pipeline.illustration.signing import (
    SignedManifest,
    SigningKey,
    parse_public_keys,
    public_key_file,
)
from medillus_pipeline.illustration.verification import verify, verify_manifest
from medillus_pipeline_tests.illustration.finished_figures import KEY, STRANGER, figure, finished, finished_scan, scan

CARRYING = (".svg", ".png", ".dcm", ".html", ".pdf")
TRUSTED = (KEY.public,)


def the_manifest() -> tuple[bytes]:
    return (finished().file(".manifest.json"),)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def refusal(data: bytes, name: str, **given) -> str:
    with pytest.raises(InputError) as caught:
        verify(data, name, **({"trusted": TRUSTED} | given))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", CARRYING)
def test_a_file_on_its_own_is_known_by_the_manifest_in_it(ending: str) -> None:
    found = verify(finished().file(ending), "renamed", trusted=TRUSTED)
    assert found.embedded and found.public_key == KEY.public and found.origin.figure == figure().name
    assert "medillus-generator version 3 (its report: passed)" in found.sentence()


def test_a_file_that_carries_nothing_is_known_by_the_manifest_beside_it() -> None:
    others = (finished_scan().file(".manifest.json"), *the_manifest())
    found = verify(finished().file(".json"), "sidecar.json", beside=others, trusted=TRUSTED)
    assert not found.embedded and found.origin.figure == figure().name
    bare, _ = credential.detach(finished().file(".png"))
    assert verify(bare, "stripped.png", beside=others, trusted=TRUSTED).origin.figure == figure().name


@pytest.mark.parametrize("ending", CARRYING)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_one_bit_anywhere_is_noticed(ending: str, share: float) -> None:
    data = finished().file(ending)
    said = refusal(flipped(data, int(len(data) * share)), f"{figure().name}{ending}", beside=the_manifest())
    assert "is not what it claims" in said or "cannot be verified" in said


def test_a_checksum_that_looks_like_letters_is_no_part_of_the_credential() -> None:
    picture = encode_png(np.zeros((8, 8), np.uint8))
    for number in range(200):
        written = f"{number:06d}".encode()  # six bytes are eight letters, with no padding before the checksum
        assert credential.detach(credential.attach(picture, written)) == (picture, written)


@pytest.mark.parametrize("ending", CARRYING)
def test_what_is_put_before_behind_or_within_the_credential_is_noticed(ending: str) -> None:
    data, name = finished().file(ending), f"{figure().name}{ending}"
    text = base64.b64encode(finished().file(".manifest.json"))
    at = data.index(text)
    for altered in (data + b"\n", data[:at] + text + data[at:], data[: at + 4] + data[at + 8 :], data + data[at:]):
        said = refusal(altered, name, beside=the_manifest())
        assert "is not what it claims" in said or "cannot be verified" in said


def test_an_altered_file_and_a_foreign_manifest_are_told_apart() -> None:
    name = f"{figure().name}.json"
    altered = finished().file(".json").replace(b'"seed": 42', b'"seed": 43')
    assert "it was altered after figure" in refusal(altered, name, beside=the_manifest())
    foreign = (finished_scan().file(".manifest.json"),)
    assert f"manifest of another figure, {scan().name}" in refusal(finished().file(".json"), name, beside=foreign)
    bare, _ = credential.detach(finished().file(".svg"))
    swapped = credential.attach(bare, foreign[0])
    assert f"carries the manifest of another figure, {scan().name}" in refusal(swapped, "a.svg", beside=the_manifest())


def test_a_manifest_that_is_named_counts_instead_of_the_one_in_the_file() -> None:
    foreign = (finished_scan().file(".manifest.json"),)
    data = finished().file(".svg")
    assert "another figure" in refusal(data, "a.svg", beside=foreign, only_beside=True)
    assert not verify(data, "a.svg", beside=the_manifest(), trusted=TRUSTED, only_beside=True).embedded


def test_a_missing_manifest_says_what_to_do() -> None:
    said = refusal(finished().file(".json"), "sidecar.json")
    assert "carries no signed manifest and none lies beside it" in said and "--manifest" in said


def test_a_damaged_manifest_of_another_figure_is_no_reason_to_refuse() -> None:
    data = finished().file(".json")
    assert verify(data, "sidecar.json", beside=(b"{}", *the_manifest()), trusted=TRUSTED)
    assert "cannot be verified" in refusal(data, "sidecar.json", beside=(b"{}",))


def test_an_unknown_key_is_named_and_trusts_nobody() -> None:
    said = refusal(finished().file(".svg"), "a.svg", trusted=(STRANGER.public,))
    assert KEY.public[:16] in said and STRANGER.public[:16] in said and "--public-key" in said


def test_a_manifest_that_somebody_wrote_anew_is_not_the_sites() -> None:
    plain = finished().signed.manifest
    claimed = plain | {"origin": plain["origin"] | {"model_version": "4"}}
    bare, _ = credential.detach(finished().file(".svg"))
    forged = dataclasses.replace(finished().signed, manifest=claimed)
    assert "altered after it was signed" in refusal(credential.attach(bare, forged.to_bytes()), "a.svg")
    borrowed = dataclasses.replace(STRANGER.sign(claimed), public_key=KEY.public)
    assert "altered after it was signed" in refusal(credential.attach(bare, borrowed.to_bytes()), "a.svg")
    own = credential.attach(bare, STRANGER.sign(claimed).to_bytes())
    assert "nobody known vouches" in refusal(own, "a.svg")


def test_a_manifest_is_checked_on_its_own() -> None:
    assert verify_manifest(the_manifest()[0], "m", trusted=TRUSTED).figure == figure().name
    with pytest.raises(InputError, match="not in the form"):
        verify_manifest(json.dumps(json.loads(the_manifest()[0])).encode(), "m", trusted=TRUSTED)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"manifest": 1, "signature": {}}', b'{"signature": null}']
)
def test_what_is_no_manifest_is_refused_as_such(data: bytes) -> None:
    with pytest.raises(InputError, match="none of this package"):
        SignedManifest.from_bytes(data)


def test_a_manifest_of_a_later_form_is_said_to_be_one() -> None:
    later = STRANGER.sign(finished().signed.manifest | {"format_version": 2})
    with pytest.raises(InputError, match="form 2"):
        SignedManifest.from_bytes(later.to_bytes())
    stranger = finished().signed.manifest | {"origin": {"figure": "f-1", "colour": "red"}}
    with pytest.raises(InputError, match="describes its figure"):
        _ = KEY.sign(stranger).origin


def test_a_signature_for_something_else_is_none_of_a_figure() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    plain = Ed25519PrivateKey.from_private_bytes(KEY.secret).sign(canonical_json(finished().signed.manifest)).hex()
    assert finished().signed.is_whole()
    assert not dataclasses.replace(finished().signed, signature=plain).is_whole()


def test_a_public_key_file_holds_keys_line_by_line_and_nothing_else() -> None:
    text = public_key_file(KEY) + f"\n  {STRANGER.public.upper()}  # until 2026\n"
    assert parse_public_keys(text) == (KEY.public, STRANGER.public)
    for wrong, said in (("", "holds no key"), ("# only a remark", "holds no key"), (f"{KEY.public}\nab", "line 2")):
        with pytest.raises(InputError, match=said):
            parse_public_keys(wrong)


def test_a_signing_key_has_32_bytes_and_is_never_shown() -> None:
    assert KEY.secret.hex() not in repr(KEY) and repr(KEY.secret) not in repr(KEY)
    with pytest.raises(ConfigurationError, match="64 hexadecimal digits"):
        SigningKey(b"k" * 33)
