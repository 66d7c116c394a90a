"""A small SVG writer: every text is measured and escaped, numbers are short and stable, nothing is left to a renderer.

What is not here: where things go (`figure.py`).
"""

import base64
from collections.abc import Sequence
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from medillus_pipeline.illustration import fonts

Align = Literal["start", "middle", "end"]

_FAMILY = f"'{fonts.EMBEDDED_FAMILY}','{fonts.FAMILY}'"


def number(value: float) -> str:
    """At most two decimals, no trailing zeros, no minus zero."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


class Svg:
    """Collects the elements of one drawing. Coordinates and sizes are in user units (CSS pixels)."""

    def __init__(self, width: float, *, width_mm: float | None = None) -> None:
        """`width_mm` is the width on paper, where it is fixed; else a user unit is a CSS pixel."""
        self.width = width
        self.width_mm = width_mm
        self._parts: list[str] = []
        self._characters: set[str] = set()

    def open(self, **attributes: str | float) -> None:
        """Start a group; underscores in names become hyphens (`data_structure`), a last one falls away (`class_`)."""
        self._parts.append(f"<g{_attributes(attributes)}>")

    def close(self) -> None:
        """End the group opened last."""
        self._parts.append("</g>")

    def title(self, text: str) -> None:
        """Name the group just opened: a tooltip in browsers, its name to a screen reader."""
        self._parts.append(f"<title>{escape(text)}</title>")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        weight: fonts.Weight = "regular",
        fill: str = "#000000",
        align: Align = "start",
        language: Literal["en", "zh-CN"] = "en",
        halo: str | None = None,
    ) -> None:
        """One line with its baseline at y; `halo` is the colour of a rim around its letters.

        Raises:
            InputError: the typeface lacks a character.
        """
        fonts.width(text, size, weight)
        self._characters.update(text)
        attributes: dict[str, str | float] = {"x": x, "y": y, "font_size": size, "fill": fill}
        if weight == "bold":
            attributes["font_weight"] = fonts.CSS_WEIGHT[weight]
        if align != "start":
            attributes["text_anchor"] = align
        if halo:
            attributes |= {
                "stroke": halo,
                "stroke_width": round(size / 5, 2),
                "stroke_opacity": 0.6,
                "paint_order": "stroke",
            }
        tongue = ' xml:lang="zh-CN"' if language == "zh-CN" else ""
        self._parts.append(f"<text{_attributes(attributes)}{tongue}>{escape(text)}</text>")

    def line(self, points: Sequence[tuple[float, float]], **attributes: str | float) -> None:
        """An open polyline."""
        joined = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self._parts.append(f'<polyline points="{joined}"{_attributes({"fill": "none"} | attributes)}/>')

    def rectangle(self, x: float, y: float, width: float, height: float, **attributes: str | float) -> None:
        """A rectangle from its upper left corner."""
        shape: dict[str, str | float] = {"x": x, "y": y, "width": width, "height": height}
        self._parts.append(f"<rect{_attributes(shape | attributes)}/>")

    def circle(self, x: float, y: float, radius: float, **attributes: str | float) -> None:
        """A circle from its centre."""
        self._parts.append(f"<circle{_attributes({'cx': x, 'cy': y, 'r': radius} | attributes)}/>")

    def path(self, rings: Sequence[np.ndarray], **attributes: str | float) -> None:
        """Closed rings, (n, 2) x, y each, filled by the even-odd rule."""
        data = "".join("M" + "L".join(f"{number(x)},{number(y)}" for x, y in ring) + "Z" for ring in rings)
        self._parts.append(f'<path d="{data}" fill-rule="evenodd"{_attributes(attributes)}/>')

    def image(self, png: bytes, x: float, y: float, width: float, height: float) -> None:
        """A PNG, embedded."""
        source = base64.b64encode(png).decode("ascii")
        place = _attributes({"x": x, "y": y, "width": width, "height": height})
        self._parts.append(
            f'<image class="scan"{place} preserveAspectRatio="none" xlink:href="data:image/png;base64,{source}"/>'
        )

    def document(self, height: float, *, title: str, description: str, metadata: str) -> bytes:
        """The whole file, UTF-8. The fonts' glyphs that the drawing uses are embedded."""
        size = f'width="{number(self.width)}" height="{number(height)}"'
        if self.width_mm is not None:
            tall = number(height * self.width_mm / self.width)
            size = f'width="{number(self.width_mm)}mm" height="{tall}mm"'
        box = f'viewBox="0 0 {number(self.width)} {number(height)}"'
        return "\n".join(
            (
                '<?xml version="1.0" encoding="UTF-8"?>',
                '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'{size} {box} role="img" xml:lang="en" font-family={quoteattr(_FAMILY)}>',
                f"<title>{escape(title)}</title>",
                f"<desc>{escape(description)}</desc>",
                f"<metadata>{escape(metadata)}</metadata>",
                f"<style>{fonts.face_rules(self._characters)}</style>",
                '<rect width="100%" height="100%" fill="#ffffff"/>',
                *self._parts,
                "</svg>\n",
            )
        ).encode()


def _attributes(attributes: dict[str, str | float]) -> str:
    return "".join(
        f" {name.rstrip('_').replace('_', '-')}={quoteattr(value if isinstance(value, str) else number(value))}"
        for name, value in attributes.items()
    )
