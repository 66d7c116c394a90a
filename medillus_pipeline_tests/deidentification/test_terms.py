"""Clean Descriptors keeps words of radiology and technique, and nothing that could name somebody."""

import unicodedata
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medillus_pipeline.deidentification.terms import Terms

TERMS = Terms()
_LIST = resources.files("medillus_pipeline.deidentification") / "terms.txt"
LISTED = [
    line.lstrip("~") for line in _LIST.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
]
NAMES = ["Smith", "Müller", "王小明", "Rose", "Dixon", "12.03.1956", "1956", "030 1234567", "HW-4711", "Omar"]
FRAGMENTS = st.one_of(
    st.sampled_from(LISTED),
    st.sampled_from([*NAMES, "^", "=", "\\", "\n"]),
    st.from_regex(r"[0-9]{1,5}[.,/:x -]?[0-9]{0,4}"),
    st.text(max_size=6),
)
DESCRIPTIONS = st.lists(st.tuples(FRAGMENTS, st.sampled_from([" ", "_", "-", "/", ""])), max_size=8).map(
    lambda pairs: "".join(word + separator for word, separator in pairs)
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("CT THORAX-ABDOMEN 5.0 B30f", "CT THORAX ABDOMEN 5.0 B30f"),
        ("Thorax  1.25mm  Br40d3", "Thorax 1.25mm Br40d3"),
        ("ep2d_diff_b50_b400_b800_ADC", "ep2d diff b50 b400 b800 ADC"),
        ("AX T2* GRE 3D 1.5T", "AX T2* GRE 3D 1.5T"),
        ("t1_mprage_sag_p2_iso", "t1 mprage sag p2 iso"),
        ("C-SPINE W/WO CONTRAST", "C SPINE W WO CONTRAST"),
        ("Omnipaque 350 100 ml", "Omnipaque 350 100 ml"),
        ("Schädel nativ", "Schädel nativ"),
        ("0.6x0.6x1.0 iso", "0.6x0.6x1.0 iso"),
        ("胸部平扫5mm", "胸部平扫5mm"),
        ("上腹部增强 动脉期", "上腹部增强 动脉期"),
    ],
)
def test_what_describes_the_image_stays(text: str, kept: str) -> None:
    assert TERMS.cleaned(text) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("XR CHEST AP for Scott Kaufman", "XR CHEST AP"),
        ("CT HEAD Rose Dean Mark Grant", "CT HEAD"),
        ("胸部平扫王小明", "胸部平扫"),
        ("Dr. Müller: CT Thorax", "CT Thorax"),
        ("CT chest HW-47110815", "CT chest"),
        ("Smith^John", ""),
        ("王小明", ""),
        ("", ""),
    ],
)
def test_names_and_identifiers_go(text: str, kept: str) -> None:
    assert TERMS.cleaned(text) == kept


@pytest.mark.parametrize(
    "number", ["12.03.1956", "12/03/56", "1956-03-12", "19560312", "1956", "2024", "12.03", "14:35"]
)
def test_dates_and_times_go(number: str) -> None:
    assert TERMS.cleaned(f"CT chest {number} axial") == "CT chest axial"


@pytest.mark.parametrize("number", ["030 1234567", "030-123-456", "12345", "1.2.840.10008", "00815 12"])
def test_telephone_numbers_and_identifiers_of_digits_go(number: str) -> None:
    assert TERMS.cleaned(f"CT chest {number} axial") == "CT chest axial"


def test_a_date_in_chinese_goes_whole() -> None:
    assert TERMS.cleaned("2024年3月5日 胸部增强") == "胸部增强"


def test_a_number_goes_with_the_word_beside_it() -> None:
    assert TERMS.cleaned("CT chest 12 axial") == "CT chest 12 axial"
    assert TERMS.cleaned("CT chest Hauptstrasse 12 axial") == "CT chest axial"


def test_a_number_by_itself_goes() -> None:
    assert TERMS.cleaned("4711") == ""


def test_a_word_that_is_also_a_name_stays_only_among_kept_words() -> None:
    assert TERMS.cleaned("t1 vibe dixon tra") == "t1 vibe dixon tra"
    assert TERMS.cleaned("CT head Dixon Robert") == "CT head"
    assert TERMS.cleaned("CT head Dixon Omar 12 Robert") == "CT head"
    assert TERMS.cleaned("Omar") == ""


def test_a_decomposed_umlaut_is_the_same_letter() -> None:
    assert TERMS.cleaned(unicodedata.normalize("NFD", "Schädel nativ")) == "Schädel nativ"


def test_a_term_of_several_words_stays_only_as_a_whole() -> None:
    own = Terms(["Sonderprotokoll Blau 4711"])

    assert own.cleaned("CT sonderprotokoll-blau 4711") == "CT sonderprotokoll blau 4711"
    assert own.cleaned("CT Sonderprotokoll") == "CT"
    assert own.cleaned("CT 4711 Blau") == "CT"
    assert TERMS.cleaned("CT Sonderprotokoll Blau 4711") == "CT"


def test_a_site_can_keep_a_number_and_a_chinese_word_of_its_own() -> None:
    own = Terms(["20240", "深睿", "", "^"])

    assert own.cleaned("CT 20240 深睿胸部") == "CT 20240 深睿胸部"
    assert TERMS.cleaned("CT 20240 深睿胸部") == "CT 胸部"


def test_every_listed_term_is_kept_beside_a_modality() -> None:
    lost = [term for term in LISTED if TERMS.cleaned(f"CT {term} MR") != f"CT {term} MR"]

    assert len(LISTED) > 2000
    assert lost == []


def test_no_listed_word_is_a_single_letter_or_a_number() -> None:
    assert [term for term in LISTED if term.isdigit() or (len(term) == 1)] == []


@given(DESCRIPTIONS)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = TERMS.cleaned(text)

    assert Terms().cleaned(once) == once


@given(DESCRIPTIONS)
def test_the_result_is_never_longer_and_holds_no_delimiter(text: str) -> None:
    cleaned = TERMS.cleaned(text)

    assert len(cleaned) <= len(text)
    assert not any(mark in "\\^=" or unicodedata.category(mark).startswith("C") for mark in cleaned)


@given(DESCRIPTIONS, st.sampled_from(["Kaufman", "Müller", "王小明", "HW4711X", "19560312", "12.03.1956", "O'Brien"]))
def test_what_is_not_listed_never_survives_next_to_anything(text: str, name: str) -> None:
    cleaned = TERMS.cleaned(f"{text} {name} {text}")

    assert name not in cleaned
