"""A site's configuration file: what it can say comes out as a policy, and every mistake is one line that names it."""

from pathlib import Path

import pytest

from medillus_pipeline.deidentification.options import Option
from medillus_pipeline.deidentification.pixel_rules import PIXEL_RULES, PixelRule
from medillus_pipeline.deidentification.policy import Policy, RegionRule
from medillus_pipeline.deidentification.policy_file import OPTIONS, chosen, options_named, policy_summary, read_policy
from medillus_pipeline.deidentification.private import SafePrivate
from medillus_pipeline.dicom.outcomes import Reason
from medillus_pipeline.errors import ConfigurationError

EVERYTHING = """
options = ["retain-dates", "retain-device", "clean-pixel-data"]
documents = true
terms = ["spiculated", " ground glass "]

[[region]]
manufacturer = "ACME"
model = "Scan 1"
rows = 512
boxes = [[0, 0, 512, 40], [400, 460, 512, 512]]

[[safe_private]]
creator = "ACME HEADER"
group = "0x0019"
element = "0x0C"
vr = "DS"

[[safe_private]]
creator = "ACME HEADER"
group = 0x0019
element = 13
vr = "IS"

[[pixel_rule]]
reason = "secondary_capture"
classes = ["1.2.840.10008.5.1.4.1.1.2"]
image_type = "mip"
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "site.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_everything_a_file_can_say_is_in_the_policy(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path, EVERYTHING))
    assert policy == Policy(
        options=frozenset({Option.RETAIN_MODIFIED_DATES, Option.RETAIN_DEVICE_IDENTITY, Option.CLEAN_PIXEL_DATA}),
        documents=True,
        terms=("spiculated", "ground glass"),
        regions=(RegionRule(((0, 0, 512, 40), (400, 460, 512, 512)), "ACME", "Scan 1", 512, None),),
        safe_private=(SafePrivate("ACME HEADER", 0x19, 0x0C, "DS"), SafePrivate("ACME HEADER", 0x19, 13, "IS")),
        pixel_rules=(
            PixelRule(Reason.SECONDARY_CAPTURE, ("1.2.840.10008.5.1.4.1.1.2",), image_type="MIP"),
            *PIXEL_RULES,
        ),
    )


def test_an_empty_file_changes_nothing_and_an_empty_list_of_options_is_the_bare_profile(tmp_path: Path) -> None:
    assert read_policy(written(tmp_path, "")) == Policy()
    assert read_policy(written(tmp_path, "options = []")).options == frozenset()


def test_every_option_can_be_named() -> None:
    assert set(OPTIONS.values()) == set(Option)
    for name, option in OPTIONS.items():
        assert options_named([name]) == {option}


PRIVATE = '[[safe_private]]\ncreator = "X"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optoins = []", "unknown key 'optoins': did you mean 'options'"),
        ('options = ["retain-datse"]', "did you mean 'retain-dates'"),
        ('options = ["retain-dates", "retain-full-dates"]', "contradict"),
        ('options = "retain-dates"', "options: "),
        ("options = [3]", "options 1: "),
        ('documents = "yes"', "documents: "),
        ("documents = 1", "documents: "),
        ('terms = "nodule"', "terms: "),
        ('terms = ["nodule", " "]', "terms 2: "),
        (f'terms = ["{"x" * 65}"]', "terms 1: "),
        ("[region]\nboxes = [[0, 0, 1, 1]]", r"write \[\[region\]\]"),
        ("[[region]]\nboxs = [[0, 0, 1, 1]]", "region 1: unknown key 'boxs': did you mean 'boxes'"),
        ("[[region]]\nmodel = 'A'", "region 1, boxes: "),
        ("[[region]]\nboxes = []", "region 1, boxes: "),
        ("[[region]]\nboxes = [[0, 0, 1, 1], [5, 0, 5, 9]]", "region 1, boxes 2: .*right > left"),
        ("[[region]]\nboxes = [[0, 9, 5, 8]]", "bottom > top"),
        ("[[region]]\nboxes = [[0, 0, 5]]", "region 1, boxes 1: "),
        ("[[region]]\nboxes = [[-1, 0, 5, 5]]", "region 1, boxes 1 1: "),
        ("[[region]]\nboxes = [[0, 0, 5.5, 5]]", "region 1, boxes 1 3: "),
        ("[[region]]\nrows = 0\nboxes = [[0, 0, 5, 5]]", "region 1, rows: "),
        (f'{PRIVATE}group = "0x0018"\nelement = 1\nvr = "DS"', "private group is odd"),
        (f'{PRIVATE}group = "19"\nelement = 1\nvr = "DS"', "hexadecimal"),
        (f'{PRIVATE}group = 0x19\nelement = "0x100C"\nvr = "DS"', "safe_private 1, element: "),
        (f'{PRIVATE}group = 0x19\nelement = 1\nvr = "DX"', "unknown VR 'DX'"),
        (f'{PRIVATE}group = 0x19\nelement = 1\nvr = "US or SS"', "unknown VR"),
        (f"{PRIVATE}group = 0x19\nelement = 1", "safe_private 1, vr: "),
        ('[[pixel_rule]]\nreason = "ultrasuond"\nflag = "YES"', "did you mean 'ultrasound'"),
        ('[[pixel_rule]]\nreason = "unreadable"\nflag = "YES"', "unknown reason"),
        ('[[pixel_rule]]\nreason = "ultrasound"', "match every image"),
        ('[[pixel_rule]]\nreason = "ultrasound"\nflag = "no"', "passes before any rule"),
        ('[[pixel_rule]]\nreason = "ultrasound"\npass = true\nflag = "YES"', "unknown key 'pass'"),
        ('[[pixel_rule]]\nreason = "ultrasound"\nclasses = ["CT"]', "pixel_rule 1, classes 1: "),
        ("options = [\n\n = 1", "no valid TOML: .*line 3"),
        (b"terms = ['\xff']", "no UTF-8"),
    ],
)
def test_a_mistake_is_one_line_that_says_where_it_stands(text: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"^site\.toml: .*{said}") as caught:
        read_policy(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_policy(path)


def test_words_of_the_command_line_replace_their_own_kind_only() -> None:
    policy = Policy(options=options_named(["retain-dates", "retain-device", "clean-descriptors"]))
    assert chosen(policy, retain=None, clean=None) == policy.options
    assert chosen(policy, retain="uids, patient", clean=None) == options_named(
        ["retain-uids", "retain-patient", "clean-descriptors"]
    )
    assert chosen(policy, retain=None, clean="none") == options_named(["retain-dates", "retain-device"])
    assert chosen(policy, retain="none", clean="none") == frozenset()


@pytest.mark.parametrize("retain", ["", ",", "dates,full-dates", "datse", "none,dates"])
def test_words_that_cannot_be_meant_are_refused(retain: str) -> None:
    with pytest.raises(ConfigurationError):
        chosen(Policy(), retain=retain, clean=None)


def test_the_summary_names_options_and_counts_what_a_site_added(tmp_path: Path) -> None:
    shown = policy_summary(read_policy(written(tmp_path, EVERYTHING)))
    assert shown["options"] == ["clean-pixel-data", "retain-dates", "retain-device"]
    assert (shown["terms"], shown["regions"], shown["safe_private"]) == (2, 1, 2)
    assert "spiculated" not in repr(shown) and "ACME" not in repr(shown)
