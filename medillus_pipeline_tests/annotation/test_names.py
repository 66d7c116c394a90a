"""Names: nothing but case and separators is overlooked, sides and numbers never; a site's own names are checked."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.vocabulary import Structure, load, normalised
from medillus_pipeline.errors import ConfigurationError

WORDS = load()
NAMES = [(n, s) for s in WORDS for n in (s.key, s.name_en, s.name_zh, *s.synonyms, *s.tg263)]
OTHER_SIDE = {"left": "right", "right": "left", "L": "R", "R": "L", "左": "右", "右": "左"}
SIDE = re.compile(r"left|right|(?<![A-Za-z])[LR](?![A-Za-z0-9])|左|右", re.IGNORECASE)
NUMBER = re.compile(r"\d+")


@given(named=st.sampled_from(NAMES), joint=st.sampled_from(["", " ", "_", "-", ".", " - "]), upper=st.booleans())
def test_case_and_separators_do_not_matter(named: tuple[str, Structure], joint: str, upper: bool) -> None:
    name, structure = named
    parts = re.split(r"[\s_\-.]+", name)
    text = parts[0]
    for part in parts[1:]:
        between_digits = text[-1:].isdigit() and part[:1].isdigit()
        text += (joint or "_" if between_digits else joint) + part
    assert WORDS.resolve(text.upper() if upper else text.lower()) is structure


@given(named=st.sampled_from([pair for pair in NAMES if SIDE.search(pair[0])]))
def test_the_other_side_is_never_the_same_structure(named: tuple[str, Structure]) -> None:
    name, structure = named
    other = SIDE.sub(lambda found: OTHER_SIDE.get(found[0]) or OTHER_SIDE[found[0].lower()], name)
    assert WORDS.resolve(other) is not structure
    assert normalised(other) != normalised(name)


@given(
    named=st.sampled_from([pair for pair in NAMES if NUMBER.search(pair[0])]),
    number=st.integers(0, 30),
    joint=st.sampled_from([" ", "_", "-", "."]),
)
def test_another_number_is_never_the_same_structure(named: tuple[str, Structure], number: int, joint: str) -> None:
    name, structure = named
    if structure.kind in ("target", "lesion"):
        return
    first = NUMBER.search(name)
    assert first is not None
    if number != int(first[0]):
        assert WORDS.resolve(NUMBER.sub(str(number), name, count=1)) is not structure
    for beside in (f"{number}{joint}{first[0]}", f"{first[0]}{joint}{number}"):
        assert WORDS.resolve(NUMBER.sub(beside, name, count=1)) is None


def test_rib_one_one_is_not_rib_eleven() -> None:
    assert normalised("rib_left_1-1") != normalised("rib_left_11")
    assert WORDS.resolve("VB L1.1") is None


@given(text=st.text(max_size=30))
def test_whatever_resolves_is_a_name_but_for_case_and_separators(text: str) -> None:
    found = WORDS.resolve(text)
    names = {name for name, structure in NAMES if structure is found}
    assert found is None or normalised(text) in {normalised(name) for name in names}


def _site(folder: Path, text: str) -> Path:
    file = folder / "names.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_site_maps_its_own_names(tmp_path: Path) -> None:
    words = load(_site(tmp_path, '[names]\n"Foie_dr" = "liver"\n"niere li" = "kidney_left"\n'))
    assert words.by_key("liver") is words.resolve("Foie_dr") is words.resolve("foie DR")
    found = words.resolve("Niere-LI")
    assert found is not None and found.key == "kidney_left"
    assert load().resolve("Foie_dr") is None
    assert [s.id for s in words] == [s.id for s in load()]


def test_the_version_tells_vocabularies_with_different_names_apart(tmp_path: Path) -> None:
    one = load(_site(tmp_path, '[names]\n"Foie" = "liver"\n"Rate" = "spleen"\n')).version
    reordered = load(_site(tmp_path, '# ours\n[names]\n"Rate" = "spleen"\n"Foie" = "liver"\n')).version
    other = load(_site(tmp_path, '[names]\n"Foie" = "liver"\n"Rate" = "stomach"\n')).version
    nothing = load(_site(tmp_path, '[names]\n"Liver" = "liver"\n')).version
    assert one == reordered and len({one, other, load().version}) == 3 and nothing == load().version


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[names]\n"Foie" = "livr"\n', r"'Foie' is given the unknown key 'livr' \(liver"),
        ('[names]\n"Spleen" = "liver"\n', "'Spleen' already means spleen"),
        ('[names]\n"LUNG l" = "lung_right"\n', "'LUNG l' already means lung_left"),
        ('[names]\n"Foie" = "liver"\n"FOIE" = "spleen"\n', "stands for both"),
        ('[names]\n"Foie" = "liver"\n"Foie" = "spleen"\n', "is not TOML"),
        ('[names]\n"Foie" = 5\n', "needs a key in quotes"),
        ('[names]\n"Foie" = ["liver"]\n', "needs a key in quotes"),
        ('[names]\n" " = "liver"\n', "empty name"),
        ('names = "liver"\n', "names is a table"),
        ('[name]\n"Foie" = "liver"\n', "only .names. belongs there"),
        ("Foie = ", "is not TOML"),
    ],
)
def test_a_site_file_that_contradicts_says_what_to_change(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(_site(tmp_path, text))


def test_a_site_file_that_is_absent_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path / "absent.toml")
    (tmp_path / "names.toml").write_bytes(b"\xff\xfe[names]")
    with pytest.raises(ConfigurationError, match="is not TOML in UTF-8"):
        load(tmp_path / "names.toml")


def test_the_table_is_read_as_it_was_written() -> None:
    assert vocabulary.read(vocabulary.TABLE).version == load().version
