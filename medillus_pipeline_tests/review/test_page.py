"""The page in a real browser, opened from a file: filled by keyboard, signed, saved, read; tampered with, refused.

The browser's Ed25519 and SHA-512 are held against `cryptography` and hashlib here.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from medillus_pipeline.review.page import build_page
from medillus_pipeline.review.refusals import Refusal
from medillus_pipeline.review.signing import CONTEXT, ReviewerKey
from medillus_pipeline.review.verdict import Verdict, read_verdict
from medillus_pipeline_tests.review.sheets import ADA, BO, key_of, roster, sheet

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
SHEET = sheet()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield started
        started.close()


class Opened:
    """The page in a fresh profile; what it asked the network for, and what it complained about."""

    def __init__(self, browser: Any, file: Path) -> None:
        self.context = browser.new_context(
            accept_downloads=True, locale="en-GB", viewport={"width": 1240, "height": 900}
        )
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.url = file.as_uri()
        self.page.goto(self.url)

    def answer_all(self, keys: str = "4312") -> None:
        """With the keyboard alone; every image gets the same answers."""
        self.page.locator("body").press("Home")
        for _ in SHEET.images:
            for key in keys:
                self.page.keyboard.press(key)
            self.page.keyboard.press("ArrowRight")

    def save(self, signer: ReviewerKey = ADA, decision: str = "approve") -> bytes:
        self.page.check(f"input[name=decision][value={decision}]")
        self.page.fill("#secret", signer.text)
        with self.page.expect_download() as download:
            self.page.keyboard.press("Enter")
        self.name = download.value.suggested_filename
        return Path(download.value.path()).read_bytes()

    def said(self) -> str:
        return self.page.inner_text("#said")


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    file = tmp_path / "sheet.html"
    file.write_bytes(build_page(SHEET, roster().ethics))
    page = Opened(browser, file)
    yield page
    page.context.close()


def read(data: bytes) -> Verdict | Refusal:
    return read_verdict(data, roster(), key_of(SHEET), now=datetime.now(UTC))


def test_a_verdict_made_with_the_keyboard_counts_and_its_alteration_does_not(opened: Opened) -> None:
    opened.answer_all()
    opened.page.locator("#places button").first.click()
    opened.page.locator("#wrong input").first.check()
    opened.page.fill("#comment", "Gefäße enden in Luft 血管 <b>")
    data = opened.save()
    assert opened.name.startswith("verdict-3-") and opened.name.endswith(".json")
    found = read(data)
    assert isinstance(found, Verdict)
    assert found.reviewer.roles == ("physician",) and found.statement.decision == "approve"
    first, *others = found.statement.answers
    assert (first.anatomy, first.realism, first.labels, first.origin) == ("4", "3", "yes", "generated")
    assert first.wrong == [SHEET.images[0].structures[0]] and not any(answer.wrong for answer in others)
    assert found.comments == {SHEET.images[0].id: "Gefäße enden in Luft 血管 <b>"}
    assert read(data.replace(rb"\"anatomy\":\"4\"", rb"\"anatomy\":\"5\"", 1)) is Refusal.BAD_SIGNATURE
    assert read(data.replace(b"Luft", b"Wand")) is Refusal.ALTERED_COMMENTS
    assert read(data.replace(ADA.public.encode(), BO.public.encode())) is Refusal.BAD_SIGNATURE


def test_it_opens_no_connection_and_complains_about_nothing(opened: Opened) -> None:
    opened.answer_all()
    opened.save()
    assert [url for url in opened.asked if not url.startswith(("data:", "blob:"))] == [opened.url]
    assert opened.complaints == []


def test_the_secret_is_neither_in_the_file_nor_in_the_browser_nor_on_the_page(opened: Opened) -> None:
    opened.answer_all()
    data = opened.save()
    kept = opened.page.evaluate("JSON.stringify(localStorage)") + opened.page.content() + data.decode()
    assert ADA.secret.hex() not in kept.replace("-", "") and ADA.text not in kept
    assert opened.page.input_value("#secret") == ""


def test_a_draft_survives_closing_the_page_and_can_be_deleted(opened: Opened) -> None:
    opened.answer_all()
    opened.page.fill("#comment", "later")
    opened.page.check("input[name=decision][value=reject]")
    opened.page.goto("about:blank")
    opened.page.goto(opened.url)
    assert opened.page.locator("#places button.done").count() == len(SHEET.images)
    assert opened.page.is_checked("input[name=decision][value=reject]")
    found = read(opened.save(BO, "reject"))
    assert isinstance(found, Verdict) and found.comments == {SHEET.images[-1].id: "later"}
    opened.page.once("dialog", lambda dialog: dialog.accept())
    opened.page.click("#clear")
    assert opened.page.locator("#places button.done").count() == 0
    assert "later" not in opened.page.evaluate("JSON.stringify(localStorage)")


def test_what_is_missing_is_said_and_nothing_is_saved(opened: Opened) -> None:
    opened.page.click("#save")
    assert opened.said() == "Still open: images 1, 2, 3, 4, 5, 6."
    opened.answer_all()
    opened.page.click("#save")
    assert opened.said() == "Choose a decision."
    opened.page.check("input[name=decision][value=approve]")
    opened.page.fill("#secret", ADA.text[:-1])
    opened.page.click("#save")
    assert opened.said().startswith("The secret is mistyped")


def test_an_answer_can_be_taken_back_and_letters_in_a_comment_answer_nothing(opened: Opened) -> None:
    opened.page.locator("body").press("4")
    opened.page.locator("body").press("Backspace")
    assert opened.page.locator("#answers input[type=radio]:checked").count() == 0
    opened.page.locator("#comment").press_sequentially("412l")
    assert opened.page.locator("#answers input[type=radio]:checked").count() == 0
    assert opened.page.is_hidden("#overlay")


def test_labels_are_shown_on_demand_in_both_languages(opened: Opened) -> None:
    opened.page.keyboard.press("l")
    assert opened.page.is_visible("#overlay")
    english = opened.page.inner_text("#wrong")
    opened.page.click("[data-language=zh]")
    assert opened.page.inner_text("h1") == "图像盲审"
    assert "Liver" in english and "肝" in opened.page.inner_text("#wrong")
    assert "Spleen" not in opened.page.inner_text("body")
    opened.page.click("#save")
    assert opened.said().startswith("尚未完成的图像")


def test_a_key_made_in_the_page_is_one_that_the_roster_takes(opened: Opened) -> None:
    opened.page.click("#make")
    made = ReviewerKey.from_text(opened.page.inner_text("#own-secret"))
    assert opened.page.inner_text("#own-public") == made.public
    opened.page.click("#make")
    assert ReviewerKey.from_text(opened.page.inner_text("#own-secret")) != made


def test_the_browser_hashes_and_signs_as_the_standards_say(opened: Opened) -> None:
    texts = ["", "abc", "x" * 111, "x" * 112, "x" * 127, "x" * 128, "血管" * 500]
    for number, text in enumerate(texts):
        key = ReviewerKey(hashlib.sha256(bytes([number])).digest())
        hashed, public, signature = opened.page.evaluate(
            "([secret, text, context]) => { const s = signing.parse(secret); "
            "return [signing.sha512(text), signing.publicKey(s), signing.sign(s, context + text)]; }",
            [key.text, text, CONTEXT.decode()],
        )
        assert hashed == hashlib.sha512(text.encode()).hexdigest()
        assert public == key.public
        assert signature == key.sign(text)


def test_the_first_vector_of_rfc_8032_is_signed_by_both(opened: Opened) -> None:
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature = (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    key = ReviewerKey(secret)
    assert key.public == public
    assert opened.page.evaluate("(text) => signing.sign(signing.parse(text), '')", key.text) == signature


def test_the_saved_file_is_json_with_three_texts(opened: Opened) -> None:
    opened.answer_all()
    file = json.loads(opened.save())
    assert set(file) == {"statement", "signature", "comments"}
    assert all(isinstance(part, str) for part in file.values())
