"""The roster names people by pseudonym, and every mistake in it is one line that quotes nobody."""

from pathlib import Path
from typing import Any

import pytest

from medillus_pipeline.errors import ConfigurationError, InputError
from medillus_pipeline.review.roster import read_roster
from medillus_pipeline.review.signing import ReviewerKey, is_signed
from medillus_pipeline_tests.review.sheets import ADA, BO, KEY, ROSTER_FILE, roster

TEXT = f"""
[ethics]
intended_use = "Anatomy teaching."
responsible = "Head of anatomy"
date = 2026-03-01

[[reviewer]]
name = "Ada Holloway"
roles = ["physician"]
keys = ["{ADA.public}"]
"""
ENTRY = ROSTER_FILE["reviewer"][0]


def test_a_file_gives_pseudonyms_under_the_key_of_the_installation(tmp_path: Path) -> None:
    path = tmp_path / "roster.toml"
    path.write_text(TEXT)
    found = read_roster(path, KEY)
    assert "Holloway" not in repr(found)
    assert found.reviewers == roster(reviewer=[ENTRY | {"name": " ada  HOLLOWAY"}]).reviewers
    assert found.reviewers != read_roster(path, b"x" * 32).reviewers
    assert found.ethics is not None and found.ethics.date == "2026-03-01"
    assert found.keep_comments is False


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reviewer": [ENTRY | {"roles": ["surgeon"]}]}, "reviewer.1.roles"),
        ({"reviewer": [ENTRY | {"roles": []}]}, "reviewer.1.roles"),
        ({"reviewer": [ENTRY | {"keys": ["abc"]}]}, "64 hexadecimal digits"),
        ({"reviewer": [ENTRY, ENTRY | {"keys": [BO.public]}]}, "stands there twice"),
        ({"reviewer": [ENTRY, ENTRY | {"name": "Bo"}]}, "public key stands there twice"),
        ({"reviewers": []}, "reviewers"),
        ({"ethics": {"intended_use": "x"}}, "ethics.responsible"),
    ],
)
def test_a_mistake_is_said_in_one_line_without_a_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        roster(**change)
    assert "Holloway" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_toml_is_named_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[[reviewer")
    for name in ("broken.toml", "absent.toml"):
        with pytest.raises(ConfigurationError, match="MEDILLUS_REVIEWERS"):
            read_roster(tmp_path / name, KEY)


def test_a_secret_is_read_back_as_it_was_written_and_a_slip_is_noticed() -> None:
    text = ADA.text
    assert ReviewerKey.from_text(f"  {text.upper().replace('-', ' ')} \n") == ADA
    slips = [text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :] for at in range(4, len(text), 9)]
    for slip in [*slips, text[:-1], "", "mrk-zz"]:
        with pytest.raises(InputError, match="mistyped"):
            ReviewerKey.from_text(slip)
    assert ADA.secret.hex() not in repr(ADA)


def test_a_signature_holds_for_one_text_and_one_key() -> None:
    signature = ADA.sign("yes")
    assert is_signed("yes", signature, ADA.public)
    assert not is_signed("no", signature, ADA.public)
    assert not is_signed("yes", signature, BO.public)
    assert not is_signed("yes", "zz", ADA.public) and not is_signed("yes", signature, "")
