"""A drawing as PNG, in the shipped typeface and none that is installed, at a zoom or at a resolution on paper."""

import re
import struct
import zlib

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import fonts

PNG_ZOOM = 1.5
CSS_DPI = 96.0

_HEADER = 8 + 25


def render_png(svg: bytes, zoom: float = PNG_ZOOM, *, dpi: float | None = None) -> bytes:
    """An SVG of this package as PNG, `zoom` pixels to a user unit.

    With `dpi`, the size is the drawing's on paper (CSS pixels of 1/96 inch, or its width in mm) at that resolution,
    and the file says so (pHYs, PNG 11.3.4.3).

    Raises:
        InputError: the resolution is outside 36 to 1200.
    """
    import resvg_py

    if dpi is not None and not 36 <= dpi <= 1200:
        raise InputError(f"a PNG of {dpi:g} dpi is not drawn: choose 36 to 1200")
    png = bytes(
        resvg_py.svg_to_bytes(
            svg_string=_in_pixels(svg.decode()),
            skip_system_fonts=True,
            font_files=[str(path) for path in fonts.FILES.values()],
            zoom=zoom if dpi is None else dpi / CSS_DPI,
        )
    )
    return png if dpi is None else _with_resolution(png, dpi)


def _in_pixels(svg: str) -> str:
    """resvg_py takes no size in mm: the root's becomes that of its view box."""
    found = re.search(r'<svg [^>]*?(width="[\d.]+mm" height="[\d.]+mm") viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    return svg.replace(found[1], f'width="{found[2]}" height="{found[3]}"', 1) if found else svg


def _with_resolution(png: bytes, dpi: float) -> bytes:
    each_metre = round(dpi / 0.0254)
    body = b"pHYs" + struct.pack(">IIB", each_metre, each_metre, 1)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:_HEADER] + chunk + png[_HEADER:]
