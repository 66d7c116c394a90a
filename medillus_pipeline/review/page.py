"""The blind sheet as one HTML page that works from a file: no network, no other file, nothing installed.

The page holds the images, the questions and what is signed about the model; it knows neither patients nor slices nor
which image is real. Its parts are the templates beside this module: `page.html.j2`, `page.css.j2`, `signing.js.j2`
(keys and signatures) and `form.js.j2` (answers, draft, keyboard, saving).
"""

import base64
import json
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from medillus_pipeline.review import questions, signing, verdict, wording
from medillus_pipeline.review.roster import Ethics
from medillus_pipeline.review.sheet import Sheet

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; form-action 'none'; "
    "base-uri 'none'"
)


def build_page(sheet: Sheet, ethics: Ethics | None) -> bytes:
    """The page, UTF-8 HTML; the same sheet and ethics record give the same bytes."""
    return (
        _templates()
        .get_template("page.html.j2")
        .render(
            policy=POLICY,
            words=wording.PAGE,
            questions=questions.QUESTIONS,
            decisions=questions.DECISIONS,
            maximum_comment=questions.MAXIMUM_COMMENT,
            sheet=sheet,
            use=wording.Bilingual(ethics.intended_use, ethics.intended_use) if ethics else wording.PAGE["no_use"],
            ethics=ethics,
            content=_embedded(_content(sheet)),
            both=_both,
            secret_prefix=signing.SECRET_PREFIX,
            secret_bytes=signing.SECRET_BYTES,
            check_digits=signing.CHECK_DIGITS,
        )
        .encode()
    )


def _content(sheet: Sheet) -> dict[str, Any]:
    """What the scripts work with."""
    return {
        "form": verdict.FORM,
        "context": signing.CONTEXT.decode(),
        "model": sheet.model,
        "version": sheet.version,
        "weights_sha256": sheet.weights_sha256,
        "sheet": sheet.id,
        "questions": {question.key: list(question.answers) for question in questions.QUESTIONS},
        "structures": {
            structure.id: {"en": structure.name.en, "zh": structure.name.zh, "colour": structure.colour}
            for structure in sheet.structures
        },
        "images": [
            {
                "id": image.id,
                "picture": _data_url(image.picture),
                "labels": _data_url(image.labels),
                "structures": list(image.structures),
            }
            for image in sheet.images
        ],
        "words": {name: list(text) for name, text in wording.PAGE.items()},
    }


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _embedded(content: dict[str, Any]) -> Markup:
    """JSON that may stand within a script element: no text in it can end the element."""
    plain = json.dumps(content, ensure_ascii=False)
    return Markup(plain.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _both(text: wording.Bilingual) -> Markup:
    """Both languages; the style sheet shows one of them."""
    return Markup(f'<span lang="en">{escape(text.en)}</span><span lang="zh">{escape(text.zh)}</span>')


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("medillus_pipeline.review", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
