"""An SVG drawing, made safe: only plain shapes are kept, everything else is refused or left out; then it is rendered.

Groups that name a structure are rendered alone too. What their ink means is in `legend.py`.
"""

import io
import re
import xml.parsers.expat
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.sketches.picture_file import WORKING_SIDE

GREATEST_BYTES = 4 << 20
GREATEST_ELEMENTS = 20_000
GREATEST_DEPTH = 64
GREATEST_NAMED = 64
SIZE = ("width", "height")
NAMESPACE = "http://www.w3.org/2000/svg"

SHAPES = frozenset(["path", "line", "polyline", "polygon", "rect", "circle", "ellipse"])
GROUPS = frozenset(["svg", "g", "a", "switch"])
UNSEEN = frozenset(["title", "desc", "metadata", "defs", "text"])
"""Elements that are read for names or left out: they draw no organ."""

REFUSED = frozenset(["script", "foreignObject", "image", "use", "iframe", "object", "embed", "audio", "video"])

PAINT = {
    *("fill", "fill-rule", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-linecap"),
    *("stroke-linejoin", "opacity", "display", "visibility", "color"),
}
"""Properties kept, as attributes or out of `style`."""

KEPT = {
    *PAINT,
    *("d", "points", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "width", "height", "transform"),
    "class",
}
_EXTERNAL = re.compile(r"url\s*\(|@|expression\s*\(|\\", re.IGNORECASE)
_NUMBERED = re.compile(r"[-_ .]*\d+$")


@dataclass(frozen=True)
class SvgDrawing:
    """`rgb` (h, w, 3) float32 in 0 … 1, all shapes on white; `named`: for structures that groups or shapes name, their
    own darkness (h, w) float32, 0 sheet and 1 ink or filling; `unknown`: `data-structure` names that are no structure.
    """

    rgb: NDArray[np.float32]
    named: dict[str, NDArray[np.float32]]
    unknown: tuple[str, ...]


def looks_like_svg(data: bytes) -> bool:
    """Whether a file's first kilobyte opens an SVG or another XML document."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    return head.startswith((b"<?xml", b"<svg", b"<!DOCTYPE", b"<!--"))


def svg_drawing(data: bytes, vocabulary: Vocabulary) -> SvgDrawing:
    """The rendered drawing. A group or shape names a structure by `data-structure`, title, label or id.

    Raises InputError for scripts, entities and document types, embedded pictures, references to anything outside, and
    for a file that is too large, too deep, malformed or empty.
    """
    root = _parsed(data)
    names: dict[int, str] = {}
    unknown: list[str] = []
    style = _stylesheet(root)
    for element in root.iter():
        said = element.get("data-structure")
        structure = _structure(element, vocabulary)
        if structure is not None:
            names[id(element)] = structure.key
        elif said:
            unknown.append(said[:40])
    box = _viewport(root)
    rgb = _rendered(root, box, style, None, names)
    keys = sorted(set(names.values()))
    if len(keys) > GREATEST_NAMED:
        raise InputError(f"the SVG names {len(keys)} structures, more than {GREATEST_NAMED}: leave some out")
    named = {key: 1 - _rendered(root, box, style, key, names).min(2) for key in keys}
    return SvgDrawing(rgb, {key: ink for key, ink in named.items() if ink.max() > 0.5}, tuple(unknown))


def _parsed(data: bytes) -> ElementTree.Element:
    if len(data) > GREATEST_BYTES:
        raise InputError(f"the SVG has {len(data) >> 20} MB, more than {GREATEST_BYTES >> 20}: simplify its paths")
    builder = ElementTree.TreeBuilder()
    parser = xml.parsers.expat.ParserCreate(namespace_separator="}")
    depth = elements = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > GREATEST_DEPTH or elements > GREATEST_ELEMENTS:
            raise InputError("the SVG is nested too deeply or has too many elements: simplify it")
        local = name.rpartition("}")[2]
        if local in REFUSED:
            raise InputError(f"the SVG holds <{local}>: only drawn shapes are read, take it out")
        for key, value in attributes.items():
            short = key.rpartition("}")[2]
            if short.lower().startswith("on"):
                raise InputError("the SVG holds an event handler: only drawn shapes are read, take it out")
            if short in ("href", "src") and not value.startswith("#"):
                raise InputError("the SVG refers to something outside itself: only drawn shapes are read")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refused(*_: object) -> None:
        raise InputError("the SVG declares a document type or entities, which are not read: export it as plain SVG")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refused
    parser.ProcessingInstructionHandler = refused
    try:
        parser.Parse(data, True)
        root = builder.close()
    except (xml.parsers.expat.ExpatError, ValueError, LookupError, AssertionError) as error:
        raise InputError("the SVG is malformed: export it again") from error
    if root.tag.rpartition("}")[2] != "svg":
        raise InputError("the file is XML and no SVG: send an SVG, PNG or JPEG")
    return root


def _local(element: ElementTree.Element) -> str:
    """The element's name in SVG; empty for one of another namespace, such as an editor's own."""
    space, _, local = element.tag.rpartition("}")
    return local if space in ("", NAMESPACE) else ""


def _structure(element: ElementTree.Element, vocabulary: Vocabulary) -> Structure | None:
    """What an element names; an id may end in a number (liver-2), since ids must differ."""
    if _local(element) not in GROUPS | SHAPES or element.get("class") == "label":
        return None
    title = next((child.text for child in element if _local(child) == "title" and child.text), None)
    labels = [value for key, value in element.attrib.items() if key.rpartition("}")[2] in ("label", "aria-label")]
    for name in (element.get("data-structure"), title, *labels, element.get("id")):
        if name and len(name) <= 80:
            found = vocabulary.resolve(name) or vocabulary.resolve(_NUMBERED.sub("", name))
            if found is not None:
                return found
    return None


def _stylesheet(root: ElementTree.Element) -> str:
    sheet = "\n".join(element.text or "" for element in root.iter() if _local(element) == "style")
    if _EXTERNAL.search(sheet):
        raise InputError("the SVG's style sheet refers to something outside or escapes characters: use plain colours")
    # Dashes are gaps to be closed anyway, and short ones on a long path take a renderer hours.
    return re.sub(r"stroke-dash[a-z]*\s*:[^;}]*;?", "", sheet)


def _viewport(root: ElementTree.Element) -> tuple[float, float, float, float]:
    """View box: left, top, width, height, in user units."""
    try:
        box = [float(part) for part in re.split(r"[\s,]+", root.get("viewBox", "").strip()) if part]
        if len(box) != 4:
            size = [float(re.sub(r"(px|mm|cm|pt|in|pc)$", "", root.get(name, "").strip())) for name in SIZE]
            box = [0.0, 0.0, *size]
    except ValueError as error:
        raise InputError("the SVG has neither a view box nor a width and height in numbers: give a view box") from error
    if not (np.isfinite(box).all() and 1e-3 < box[2] < 1e6 and 1e-3 < box[3] < 1e6 and 0.05 < box[2] / box[3] < 20):
        raise InputError("the SVG's view box is empty, endless or a mere strip: give one that fits the drawing")
    return box[0], box[1], box[2], box[3]


def _copied(
    element: ElementTree.Element, wanted: str | None, names: dict[int, str], inside: bool
) -> ElementTree.Element | None:
    """Groups and shapes with harmless attributes; with `wanted` only the shapes that bear or lie in that name."""
    local = _local(element)
    own = names.get(id(element))
    inside = (own == wanted) if own is not None else inside
    if local not in GROUPS | SHAPES or (local in SHAPES and wanted is not None and not inside):
        return None
    kept = {key: value for key, value in element.attrib.items() if key in KEPT and not _EXTERNAL.search(value)}
    styled = [part.partition(":") for part in element.get("style", "").split(";")]
    kept |= {key.strip(): value.strip() for key, _, value in styled if key.strip() in PAINT and _plain(value)}
    copy = ElementTree.Element("g" if local in GROUPS else local, kept)
    copy.extend(child for each in element if (child := _copied(each, wanted, names, inside)) is not None)
    return copy


def _plain(value: str) -> bool:
    return not _EXTERNAL.search(value)


def _rendered(
    root: ElementTree.Element,
    box: tuple[float, float, float, float],
    style: str,
    wanted: str | None,
    names: dict[int, str],
) -> NDArray[np.float32]:
    import resvg_py

    drawing = _copied(root, wanted, names, False)
    assert drawing is not None
    for name in ("viewBox", "preserveAspectRatio", "x", "y", *SIZE):
        drawing.attrib.pop(name, None)
    scale = WORKING_SIDE / max(box[2:])
    size = {name: str(max(1, round(length * scale))) for name, length in zip(SIZE, box[2:], strict=True)}
    page = ElementTree.Element("svg", {"xmlns": NAMESPACE, "viewBox": " ".join(f"{part:g}" for part in box), **size})
    if style:
        ElementTree.SubElement(page, "style").text = style
    page.append(drawing)
    text = ElementTree.tostring(page, encoding="unicode")
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=text, background="#ffffff", skip_system_fonts=True))
    except ValueError as error:
        raise InputError("the SVG cannot be rendered: export it again as plain SVG") from error
    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        return np.asarray(picture.convert("RGB"), np.float32) / np.float32(255)
