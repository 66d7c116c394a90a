"""A drawing of this package (`svg.py`) as a PDF of one page, with its text as text and the shipped typeface embedded.

Written here rather than by a converter: the drawing holds seven kinds of elements, every glyph is known, the same
drawing gives the same bytes, and print needs inks (DeviceCMYK) that SVG has no word for. ISO 32000-1:2008 is the
reference for section numbers. What is not here: fonts as PDF has them (`pdf_font.py`), which inks a colour needs
(`print_colours.py`).
"""

import base64
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from xml.etree import ElementTree

from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import fonts, print_colours
from medillus_pipeline.illustration.pdf_font import embedded_font, encoded
from medillus_pipeline.illustration.svg import number

POINTS_PER_PIXEL, POINTS_PER_MM = 0.75, 72 / 25.4

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_CIRCLE = 0.5523
_JOINS = {"round": 1, "bevel": 2}


def to_pdf(svg: bytes, *, inks: bool = False, xmp: bytes | None = None) -> bytes:
    """The drawing as PDF 1.7, as wide on paper as the SVG says.

    Args:
        svg: a drawing made by `svg.Svg`; not an SVG from elsewhere.
        inks: colours in DeviceCMYK as `print_colours.inks` has them, grey images in DeviceGray; else in DeviceRGB.
        xmp: an XMP packet to be stored as the document's metadata (14.3.2).

    Raises:
        InputError: an element that this package does not draw, or a colour image where inks are asked for.
    """
    root = ElementTree.fromstring(svg)
    width, height = _length(root.attrib["width"]), _length(root.attrib["height"])
    scale = width / float(root.attrib["viewBox"].split()[2])
    page = _Page(inks)
    page.say(f"{number6(scale)} 0 0 {number6(-scale)} 0 {number6(height)} cm")
    for element in root:
        page.draw(element)
    file = _File()
    resources = page.resources(file)
    content = file.stream("\n".join(page.operators).encode("ascii"))
    tree = file.reserve()
    leaf = file.add(
        f"<</Type/Page/Parent {tree} 0 R/MediaBox[0 0 {number6(width)} {number6(height)}]"
        f"/Resources {resources} 0 R/Contents {content} 0 R>>"
    )
    file.fill(tree, f"<</Type/Pages/Kids[{leaf} 0 R]/Count 1>>".encode())
    metadata = "" if xmp is None else f"/Metadata {file.stream(xmp, '/Type/Metadata/Subtype/XML', packed=False)} 0 R"
    catalog = file.add(
        f"<</Type/Catalog/Pages {tree} 0 R/Lang(en)/ViewerPreferences<</DisplayDocTitle true>>{metadata}>>"
    )
    title = root.findtext(f"{_SVG}title") or ""
    subject = root.findtext(f"{_SVG}desc") or ""
    info = file.add(f"<</Title {_string(title)}/Subject {_string(subject)}/Creator(medillus_pipeline)>>")
    return file.bytes(catalog, info)


def number6(value: float) -> str:
    """At most five decimals, no trailing zeros: scales need more than an SVG's two."""
    text = f"{value:.5f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


@dataclass
class _Page:
    """Content stream of the page, and the resources that it names."""

    inks: bool
    operators: list[str] = field(default_factory=list)
    characters: dict[fonts.Weight, set[str]] = field(default_factory=lambda: {"regular": set(), "bold": set()})
    images: list[bytes] = field(default_factory=list)
    opacities: dict[tuple[str, str], str] = field(default_factory=dict)

    def say(self, operators: str) -> None:
        self.operators.append(operators)

    def draw(self, element: ElementTree.Element) -> None:
        kind = element.tag.removeprefix(_SVG)
        if kind in ("title", "desc", "metadata", "style"):
            return
        if kind == "g":
            for child in element:
                self.draw(child)
            return
        drawers: dict[str, Callable[[dict[str, str], str], None]] = {
            "rect": self._rectangle,
            "path": self._path,
            "polyline": self._polyline,
            "circle": self._circle,
            "text": self._text,
            "image": self._image,
        }
        if kind not in drawers:
            raise InputError(f"a PDF is made from drawings of this package: the element {kind} is none of theirs")
        self.say("q")
        drawers[kind](dict(element.attrib), element.text or "")
        self.say("Q")

    def resources(self, file: "_File") -> int:
        named = []
        for weight, used in self.characters.items():
            if used:
                named.append(f"/{_font(weight)} {embedded_font(file, weight, used)} 0 R")
        states = "".join(f"/{name}<</ca {fill}/CA {stroke}>>" for (fill, stroke), name in self.opacities.items())
        pictures = "".join(f"/I{i} {_picture(file, png, self.inks)} 0 R" for i, png in enumerate(self.images))
        return file.add(f"<</Font<<{''.join(named)}>>/ExtGState<<{states}>>/XObject<<{pictures}>>>>")

    def _paint(self, a: dict[str, str], *, even_odd: bool = False) -> str:
        """Sets colours, opacities and pen; returns the painting operator (8.5.3)."""
        fill, stroke = a.get("fill", "#000000"), a.get("stroke", "none")
        opacity = (a.get("fill-opacity", "1"), a.get("stroke-opacity", "1"))
        filled = fill != "none" and float(opacity[0]) > 0
        if opacity != ("1", "1"):
            self.say(f"/{self.opacities.setdefault(opacity, f'G{len(self.opacities)}')} gs")
        if filled:
            self.say(self._colour(fill, stroking=False))
        if stroke != "none":
            self.say(self._colour(stroke, stroking=True))
            self.say(f"{a.get('stroke-width', '1')} w {_JOINS.get(a.get('stroke-linejoin', ''), 0)} j")
        star = "*" if even_odd else ""
        if filled:
            return f"B{star}" if stroke != "none" else f"f{star}"
        return "S" if stroke != "none" else "n"

    def _colour(self, colour: str, *, stroking: bool) -> str:
        if self.inks:
            return " ".join(number(v) for v in print_colours.inks(colour)) + (" K" if stroking else " k")
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return " ".join(f"{v:.4g}" for v in parts) + (" RG" if stroking else " rg")

    def _rectangle(self, a: dict[str, str], _: str) -> None:
        if a["width"] == "100%":
            return  # the white ground: a page is white already
        operator = self._paint(a)
        x, y, width, height, radius = (float(a.get(k, "0")) for k in ("x", "y", "width", "height", "rx"))
        radius = min(radius, width / 2, height / 2)
        if not radius:
            self.say(f"{number(x)} {number(y)} {number(width)} {number(height)} re {operator}")
            return
        right, bottom, c = x + width, y + height, radius * (1 - _CIRCLE)
        self.say(
            f"{_at(x + radius, y)} m {_at(right - radius, y)} l "
            f"{_at(right - c, y)} {_at(right, y + c)} {_at(right, y + radius)} c {_at(right, bottom - radius)} l "
            f"{_at(right, bottom - c)} {_at(right - c, bottom)} {_at(right - radius, bottom)} c "
            f"{_at(x + radius, bottom)} l {_at(x + c, bottom)} {_at(x, bottom - c)} {_at(x, bottom - radius)} c "
            f"{_at(x, y + radius)} l {_at(x, y + c)} {_at(x + c, y)} {_at(x + radius, y)} c h {operator}"
        )

    def _circle(self, a: dict[str, str], _: str) -> None:
        operator = self._paint(a)
        x, y, r = float(a["cx"]), float(a["cy"]), float(a["r"])
        c = r * _CIRCLE
        self.say(
            f"{_at(x + r, y)} m {_at(x + r, y + c)} {_at(x + c, y + r)} {_at(x, y + r)} c "
            f"{_at(x - c, y + r)} {_at(x - r, y + c)} {_at(x - r, y)} c "
            f"{_at(x - r, y - c)} {_at(x - c, y - r)} {_at(x, y - r)} c "
            f"{_at(x + c, y - r)} {_at(x + r, y - c)} {_at(x + r, y)} c h {operator}"
        )

    def _polyline(self, a: dict[str, str], _: str) -> None:
        operator = self._paint(a)
        points = [point.replace(",", " ") for point in a["points"].split()]
        self.say(" l ".join([f"{points[0]} m {points[1]}", *points[2:]]) + f" l {operator}")

    def _path(self, a: dict[str, str], _: str) -> None:
        operator = self._paint(a, even_odd=True)
        for ring in a["d"].split("Z")[:-1]:
            first, *rest = ring.removeprefix("M").replace(",", " ").split("L")
            self.say(f"{first} m " + "".join(f"{point} l " for point in rest) + "h")
        self.say(operator)

    def _text(self, a: dict[str, str], text: str) -> None:
        weight: fonts.Weight = "bold" if a.get("font-weight") == "700" else "regular"
        size = float(a["font-size"])
        shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[a.get("text-anchor", "start")]
        x = float(a["x"]) - shift * fonts.width(text, size, weight)
        self.characters[weight].update(text)
        shown = f"/{_font(weight)} {number(size)} Tf 1 0 0 -1 {_at(x, float(a['y']))} Tm <{encoded(text, weight)}> Tj"
        if "stroke" in a:
            # The rim lies under the letters, so that they keep their shape.
            self._paint({"fill": "none", **{k: a[k] for k in ("stroke", "stroke-width", "stroke-opacity")}})
            self.say(f"1 j BT 1 Tr {shown} ET Q q")
        self.say(self._colour(a.get("fill", "#000000"), stroking=False))
        self.say(f"BT 0 Tr {shown} ET")

    def _image(self, a: dict[str, str], _: str) -> None:
        self.images.append(base64.b64decode(a[_HREF].split("base64,", 1)[1]))
        x, y, width, height = (float(a[k]) for k in ("x", "y", "width", "height"))
        self.say(f"{number(width)} 0 0 {number(-height)} {_at(x, y + height)} cm /I{len(self.images) - 1} Do")


class _File:
    """The objects of a PDF file (7.5), numbered from 1."""

    def __init__(self) -> None:
        self._objects: list[bytes] = []

    def reserve(self) -> int:
        self._objects.append(b"")
        return len(self._objects)

    def fill(self, identifier: int, body: bytes) -> None:
        self._objects[identifier - 1] = body

    def add(self, body: str) -> int:
        self._objects.append(body.encode("latin-1"))
        return len(self._objects)

    def stream(self, data: bytes, entries: str = "", *, packed: bool = True) -> int:
        body = zlib.compress(data, 9) if packed else data
        head = f"<<{entries}{'/Filter/FlateDecode' if packed else ''}/Length {len(body)}>>"
        self._objects.append(head.encode() + b"\nstream\n" + body + b"\nendstream")
        return len(self._objects)

    def bytes(self, catalog: int, info: int) -> bytes:
        parts, offsets = [b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"], []
        position = len(parts[0])
        for identifier, body in enumerate(self._objects, 1):
            offsets.append(position)
            parts.append(b"%d 0 obj\n" % identifier + body + b"\nendobj\n")
            position += len(parts[-1])
        identity = hashlib.sha256(b"".join(parts)).hexdigest()[:32]
        table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
        count = len(offsets) + 1
        parts.append(
            f"xref\n0 {count}\n0000000000 65535 f \n{table}trailer\n<</Size {count}/Root {catalog} 0 R/Info {info} 0 R"
            f"/ID[<{identity}><{identity}>]>>\nstartxref\n{position}\n%%EOF\n".encode()
        )
        return b"".join(parts)


def _picture(file: _File, png: bytes, inks: bool) -> int:
    pixels = decode_png(png)
    if inks and pixels.ndim == 3:
        raise InputError("a figure in inks holds a colour image: only grey images are separated")
    space: Literal["DeviceGray", "DeviceRGB"] = "DeviceGray" if pixels.ndim == 2 else "DeviceRGB"
    height, width = pixels.shape[:2]
    return file.stream(
        pixels.tobytes(),
        f"/Type/XObject/Subtype/Image/Width {width}/Height {height}/ColorSpace/{space}/BitsPerComponent 8"
        "/Interpolate true",
    )


def _length(text: str) -> float:
    """A length of the SVG root in points."""
    return float(text[:-2]) * POINTS_PER_MM if text.endswith("mm") else float(text) * POINTS_PER_PIXEL


def _at(x: float, y: float) -> str:
    return f"{number(x)} {number(y)}"


def _font(weight: fonts.Weight) -> str:
    return "F1" if weight == "regular" else "F2"


def _string(text: str) -> str:
    """A text string in UTF-16BE (7.9.2.2)."""
    return f"<FEFF{text.encode('utf-16-be').hex().upper()}>"
