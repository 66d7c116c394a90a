"""XMP (ISO 16684-1) for a figure: the packet, and where SVG and PNG keep it; a PDF takes it as it is made (`pdf.py`).

It says in the terms that picture archives and search engines read what the picture is: title, caption, IPTC digital
source type; and in a name space of our own the rest of its origin. What is not here: what makes it trustworthy
(`credential.py`).
"""

import re
from xml.sax.saxutils import escape

from medillus_pipeline.dicom.png import SIGNATURE
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.credential import png_chunk
from medillus_pipeline.illustration.provenance import Origin
from medillus_pipeline.illustration.wording import Bilingual

NAMESPACE = "urn:medillus:figure:1"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IHDR_END = 33
_OPENING = re.compile(rb"<svg\b(?:[^>\"']|\"[^\"]*\"|'[^']*')*>")


def xmp_packet(origin: Origin, *, title: Bilingual, caption: Bilingual, warning: Bilingual) -> bytes:
    """The packet, UTF-8, without padding; read-only."""
    own = "".join(
        f"   <medillus:{name}>{_text(str(value))}</medillus:{name}>\n"
        for name, value in sorted(origin.facts().items())
        if value is not None
    )
    languages = (("dc:title", title), ("dc:description", caption), ("xmpRights:UsageTerms", warning))
    texts = "".join(
        f'   <{name}><rdf:Alt><rdf:li xml:lang="x-default">{_text(text.en)}</rdf:li>'
        f'<rdf:li xml:lang="en">{_text(text.en)}</rdf:li>'
        f'<rdf:li xml:lang="zh-CN">{_text(text.zh)}</rdf:li></rdf:Alt></{name}>\n'
        for name, text in languages
    )
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about=""\n'
        '    xmlns:dc="http://purl.org/dc/elements/1.1/"\n'
        '    xmlns:xmp="http://ns.adobe.com/xap/1.0/"\n'
        '    xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/"\n'
        '    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"\n'
        f'    xmlns:medillus="{NAMESPACE}">\n'
        f"   <dc:identifier>{_text(origin.figure)}</dc:identifier>\n"
        f"{texts}"
        f"   <xmp:CreatorTool>{_text(f'medillus-pipeline {origin.code_version or str()}'.strip())}</xmp:CreatorTool>\n"
        f"   <xmp:CreateDate>{_text(origin.made_at)}</xmp:CreateDate>\n"
        "   <Iptc4xmpExt:DigitalSourceType>"
        f"{_text(origin.digital_source_type)}</Iptc4xmpExt:DigitalSourceType>\n"
        f"{own}"
        "  </rdf:Description>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
        '<?xpacket end="r"?>'
    ).encode()


def into_svg(svg: bytes, packet: bytes) -> bytes:
    """The drawing with the packet in a `metadata` element of its own, first of all. Raises InputError without <svg>."""
    opening = _OPENING.search(svg)
    if opening is None:
        raise InputError("that is no SVG drawing: it has no <svg> element")
    return svg[: opening.end()] + b'\n<metadata id="xmp">' + packet + b"</metadata>" + svg[opening.end() :]


def into_png(png: bytes, packet: bytes) -> bytes:
    """The picture with the packet as iTXt chunk `XML:com.adobe.xmp` after its header. Raises InputError for no PNG."""
    if not png.startswith(SIGNATURE) or png[12:16] != b"IHDR":
        raise InputError("that is no PNG picture")
    chunk = png_chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + packet)
    return png[:_IHDR_END] + chunk + png[_IHDR_END:]


def _text(text: str) -> str:
    """Escaped, with U+FFFD for what XML 1.0 cannot hold."""
    return escape(_NOT_XML.sub("\ufffd", text))
