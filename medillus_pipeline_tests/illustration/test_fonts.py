import base64
import io
import re

import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import font_subset, fonts, wording

WEIGHTS: tuple[fonts.Weight, ...] = ("regular", "bold")


@pytest.mark.parametrize("weight", WEIGHTS)
def test_every_character_of_the_vocabulary_and_the_fixed_texts_has_a_glyph(weight: fonts.Weight) -> None:
    lacking = fonts.missing("".join(sorted(font_subset.required())), weight)
    assert not lacking, f"run python -m medillus_pipeline.illustration.font_subset: {lacking}"


def test_uncommon_anatomical_characters_are_covered() -> None:
    assert not fonts.missing("髂骶肱腭腘髌膈肋腓胫")
    assert vocabulary.load().by_key("liver").name_zh == "肝"
    assert wording.GENERATED.zh


def test_a_missing_glyph_is_an_error_that_names_the_character() -> None:
    for text in ("\U0001f480", "a\tb", "\ufffe"):
        with pytest.raises(InputError, match=r"U\+"):
            fonts.width(text, 12)


def test_all_of_gb2312_is_covered() -> None:
    characters = font_subset.gb2312()
    assert len(characters) == 6763 and {"恢", "髂", "齄"} <= characters
    assert not fonts.missing("".join(sorted(characters)))


def test_shipped_files_are_small_and_carry_their_licence() -> None:
    assert fonts.FILES["regular"].stat().st_size < 1_600_000 and fonts.FILES["bold"].stat().st_size < 200_000
    assert "SIL OPEN FONT LICENSE Version 1.1" in (fonts.FOLDER / "OFL.txt").read_text(encoding="utf-8")


def test_widths_agree_with_an_independent_renderer() -> None:
    from PIL import ImageFont

    for weight, path in fonts.FILES.items():
        font = ImageFont.truetype(str(path), 200)
        for text in ("Left adrenal gland", "左肾上腺", "CT 腹部 62%", "AVATAR To"):
            assert fonts.width(text, 200, weight) == pytest.approx(font.getlength(text), rel=0.01)


def test_wrapped_lines_fit_and_lose_no_character() -> None:
    text = "Real de-identified scan, 真实去标识扫描图像，标注来自标注者，不可用于诊断 " + "x" * 120
    for limit in (40.0, 90.0, 300.0):
        lines = fonts.wrap(text, 13, limit)
        assert all(fonts.width(line, 13) <= limit for line in lines)
        assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", text)
    assert not any(line.startswith(("，", "。")) for line in fonts.wrap(text, 13, 90.0))


def test_a_text_too_long_ends_in_an_ellipsis() -> None:
    lines = fonts.fit("门静脉和脾静脉" * 9, 13, 100, 2)
    assert len(lines) == 2 and lines[1].endswith("…") and fonts.width(lines[1], 13) <= 100
    assert fonts.fit("肝", 13, 100, 2) == ["肝"]


def test_the_embedded_subset_is_a_font_with_the_characters_asked_for() -> None:
    from fontTools.ttLib import TTFont

    rules = fonts.face_rules("肝脾", ["regular"])
    data = re.search(r"base64,([A-Za-z0-9+/=]+)\)", rules)
    assert data is not None
    covered = TTFont(io.BytesIO(base64.b64decode(data[1]))).getBestCmap()
    assert {ord("肝"), ord("脾"), ord("A")} <= set(covered) and ord("胃") not in covered
    assert len(rules) < 30_000 and rules == fonts.face_rules("脾肝", ["regular"])


def test_the_shipped_files_can_be_made_again(tmp_path) -> None:
    if not (font_subset.DEBIAN / font_subset.SOURCES["regular"]).is_file():
        pytest.skip("fonts-noto-cjk is not installed: the source of the shipped typeface is absent")
    from fontTools.ttLib import TTFont

    font_subset.build(font_subset.DEBIAN, tmp_path)
    for path in fonts.FILES.values():
        made, shipped = (set(TTFont(p).getBestCmap()) for p in (tmp_path / path.name, path))
        assert made == shipped, "run python -m medillus_pipeline.illustration.font_subset and commit the result"


def test_an_absent_source_says_what_to_install(tmp_path) -> None:
    with pytest.raises(InputError, match="fonts-noto-cjk"):
        font_subset.build(tmp_path, tmp_path)
