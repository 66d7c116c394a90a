"""The case library: a page for each structure and pathology, found by search, used by keyboard, opened from a file."""

import re
import subprocess
from pathlib import Path

import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.illustration.case_library import Case, build_library
from medillus_pipeline.illustration.wording import Bilingual

CHROMIUM = Path("/usr/bin/chromium")
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8ffff3f0005fe02fe"
    "dccc59e70000000049454e44ae426082"
)


def case(number: int, **changes: object) -> Case:
    given: dict[str, object] = {
        "figure": f"f-{number:012x}",
        "source": "generated",
        "title": Bilingual("Abdomen, axial CT", "腹部横断面CT"),
        "caption": Bilingual("Liver and spleen.", "肝和脾。"),
        "structures": {"liver": 0.9, "spleen": None},
        "pathologies": (),
        "stage": None,
        "contrast_phase": "portal_venous",
        "level": 0.5,
        "modality": "CT",
        "approved": False,
        "failed": (),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "png": PNG,
    }
    return Case(**(given | changes))  # type: ignore[arg-type]


CASES = [
    case(1),
    case(2, pathologies=("acute_pancreatitis",), stage="II", level=0.6),
    case(3, pathologies=("acute_pancreatitis",), stage="I", structures={"liver": 0.4}, approved=True),
    case(4, pathologies=("acute_pancreatitis",), failed=("<script>bad()</script>",)),
]


def test_there_is_a_page_for_each_structure_and_pathology_and_none_besides() -> None:
    files = build_library(CASES, vocabulary.load())
    pages = {path for path in files if path.endswith(".html")}
    assert pages == {
        "index.html", "structures/liver.html", "structures/spleen.html", "pathologies/acute_pancreatitis.html"
    }  # fmt: skip


def test_stages_come_in_order_and_what_has_none_last() -> None:
    page = build_library(CASES, vocabulary.load())["pathologies/acute_pancreatitis.html"].decode()
    assert re.findall(r"<h2>([^<]+) <span", page) == ["stage I", "stage II", "stage not told"]
    assert "ICD-11" in page and "急性胰腺炎" in page


def test_every_link_and_picture_leads_to_a_file_of_the_library_and_none_outside() -> None:
    files = build_library(CASES, vocabulary.load())
    for path, data in files.items():
        for target in re.findall(r'(?:href|src)="([^"]+)"', data.decode()) if path.endswith(".html") else []:
            joined = Path(path).parent / target
            assert str(Path(*_plain(joined))) in files, (path, target)


def test_what_a_figure_says_is_text_on_the_page_and_not_markup() -> None:
    page = build_library(CASES, vocabulary.load())["structures/liver.html"].decode()
    assert "<script>bad()" not in page and "&lt;script&gt;bad()" in page


def test_the_same_cases_give_the_same_bytes_in_any_order() -> None:
    assert build_library(CASES, vocabulary.load()) == build_library(CASES[::-1], vocabulary.load())


@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium here")
def test_search_and_keyboard_work_from_a_file(tmp_path: Path) -> None:
    for path, data in build_library(CASES, vocabulary.load()).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    page = (tmp_path / "index.html").read_text("utf-8")
    act = """
const key=(k)=>document.activeElement.dispatchEvent(new KeyboardEvent('keydown',{key:k,bubbles:true,cancelable:true}));
key('/');document.title=[document.activeElement.id];
box.value='胰腺炎 icd-11';box.dispatchEvent(new Event('input'));
document.title+='|'+count.textContent+'|'+items.filter(i=>!i.hidden).length;
key('ArrowDown');document.title+='|'+document.activeElement.getAttribute('href');
box.value='zzz';box.dispatchEvent(new Event('input'));document.title+='|'+none.hidden;
"""
    (tmp_path / "acted.html").write_text(page.replace("look();\n</script>", f"look();\n{act}</script>"), "utf-8")
    dump = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--dump-dom", (tmp_path / "acted.html").as_uri()],
        check=True, capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    title = re.search("<title>([^<]*)", dump)
    assert title is not None
    assert title[1] == "search|1 / 3|1|pathologies/acute_pancreatitis.html|false"


def _plain(path: Path) -> list[str]:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return parts
