"""A figure as one HTML page to explore: point at an organ, or go to it by keyboard, and read what it is.

One file: no network, no other file, no storage. Script and style are named by their hash in the page's policy, so that
nothing else in it can run, and neither is put together from data. Everything is in the page from the start; the script
only shows and hides, so that without it all can still be read. The page inherits the drawing's groups
(`data-structure`); its parts are the templates beside this module. The gallery of many figures is `gallery.py`.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import captions, fonts
from medillus_pipeline.illustration.figure import Figure
from medillus_pipeline.illustration.functions import function_of
from medillus_pipeline.illustration.interactive_wording import KINDS, WORDS
from medillus_pipeline.illustration.panels import display_name
from medillus_pipeline.illustration.provenance import Origin
from medillus_pipeline.illustration.wording import Bilingual

_FACE = re.compile(r"@font-face\{[^}]*\}")


@dataclass(frozen=True)
class Card:
    """What the page says of a structure; `codes` are (scheme, code, meaning)."""

    key: str
    name: Bilingual
    kind: Bilingual
    function: Bilingual | None
    codes: tuple[tuple[str, str, str], ...]
    confidence: str
    area_cm2: str
    colour: str


def interactive_page(figure: Figure, origin: Origin) -> bytes:
    """The page, UTF-8; the same figure and origin give the same bytes.

    Raises:
        InputError: the figure's SVG cannot be read, or has none of the structures that its sidecar lists.
    """
    drawn = {entry["id"]: entry for entry in figure.sidecar["structures"]}
    cards = [_card(s, drawn[s.id]) for s in figure.request.structures if s.id in drawn]
    drawing, style, layers = _inlined(figure.svg, {card.key: card for card in cards})
    script = _templates().get_template("interactive.js.j2").render()
    facts = {
        "cards": cards,
        "layers": layers,
        "drawing": Markup(drawing),
        "title": captions.title(figure.request),
        "warning": captions.warning(figure.request),
        "caption": Bilingual(figure.sidecar["caption"]["en"], figure.sidecar["caption"]["zh"]),
        "confidence_note": captions.confidence_note(figure.request),
        "scored": any(card.confidence for card in cards),
        "origin": origin,
        "language": figure.request.language,
        "words": WORDS,
        "both": _both,
        "script": Markup(script),
    }
    page = _templates().get_template("interactive.html.j2")
    plain = page.render(facts | {"style": "", "policy": ""})
    css = fonts.face_rules(plain) + style + _templates().get_template("interactive.css.j2").render()
    css = css.replace("FAMILY", f"'{fonts.EMBEDDED_FAMILY}'")
    return page.render(facts | {"style": Markup(css), "policy": _policy(css, script)}).encode()


def _policy(css: str, script: str) -> str:
    return (
        "default-src 'none'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(css)}'; script-src '{_hash(script)}'"
    )


def _hash(text: str) -> str:
    """As a content security policy names an inline script or style (CSP 3, 6.7.3.1)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _card(structure: Structure, entry: Mapping[str, Any]) -> Card:
    codes = [("SNOMED CT", structure.code, structure.meaning)] if structure.code else []
    if structure.region:
        codes.append(("SNOMED CT", structure.region, structure.region_meaning))
    if structure.cui:
        codes.append(("UMLS", structure.cui, ""))
    if structure.tg263:
        codes.append(("TG-263", structure.tg263[0], ""))
    score = entry["confidence"]
    return Card(
        key=structure.key,
        name=Bilingual(display_name(structure), structure.name_zh),
        kind=KINDS[structure.kind],
        function=function_of(structure),
        codes=tuple(codes),
        confidence="" if score is None else f"{score:.0%}",
        area_cm2=f"{entry['area_cm2']:g}",
        colour=entry["colour"],
    )


def _inlined(svg: bytes, cards: Mapping[str, Card]) -> tuple[str, str, frozenset[str]]:
    """The drawing ready to stand in HTML, its style without fonts, and which layers it has (`scan`, `label`).

    Each structure's outline becomes a button with a name; the arrow keys lead from one to the next, so that the whole
    drawing is one stop of the tabulator.
    """
    try:
        document = minidom.parseString(svg)
    except ExpatError as error:
        raise InputError(f"the figure's SVG cannot be read ({error}): draw it again") from None
    root = document.documentElement
    if root is None or root.tagName != "svg":
        raise InputError("the figure's SVG has no <svg> element: draw it again")
    style = ""
    for name in ("metadata", "style"):
        for element in list(root.getElementsByTagName(name)):
            if name == "style":
                style += _FACE.sub("", _content(element))
            if element.parentNode is not None:
                element.parentNode.removeChild(element)
    for child in [c for c in root.childNodes if c.nodeName in ("title", "desc")]:
        root.removeChild(child)  # the page says both; as tooltips they would cover the drawing
    root.setAttribute("role", "group")
    root.setAttribute("aria-label", f"{WORDS['structures'].en} {WORDS['structures'].zh}")
    root.setAttribute("aria-describedby", "keys")
    layers = set()
    for image in root.getElementsByTagName("image"):
        _mark(image, "scan")
        image.setAttribute("aria-hidden", "true")
        layers.add("scan")
    first = True
    for group in root.getElementsByTagName("g"):
        card = cards.get(group.getAttribute("data-structure"))
        if card is None:
            continue
        if "label" in group.getAttribute("class").split():
            layers.add("label")
            continue
        _mark(group, "structure")
        group.setAttribute("role", "button")
        group.setAttribute("tabindex", "0" if first else "-1")
        group.setAttribute("aria-label", f"{card.name.en} {card.name.zh}")
        group.setAttribute("aria-describedby", f"about-{card.key}")
        group.setAttribute("aria-pressed", "false")
        for title in [c for c in group.childNodes if c.nodeName == "title"]:
            group.removeChild(title)
        first = False
    if first and cards:
        raise InputError("the figure's SVG names no structure that its sidecar lists: draw it again")
    return root.toxml(), style, frozenset(layers)


def _mark(element: Any, name: str) -> None:
    names = element.getAttribute("class").split()
    element.setAttribute("class", " ".join(dict.fromkeys([*names, name])))


def _content(element: Any) -> str:
    return "".join(child.data for child in element.childNodes)


def _both(text: Bilingual) -> Markup:
    """Both languages; the style sheet shows the one that is chosen, or both."""
    return Markup(f'<span lang="en">{escape(text.en)}</span> <span lang="zh-CN">{escape(text.zh)}</span>')


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("medillus_pipeline.illustration", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
