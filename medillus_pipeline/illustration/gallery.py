"""All figures of a run on one HTML page that needs nothing else: no network, no other file.

Figures are embedded as SVG images (each isolated with its own fonts), so the page can be mailed, printed and archived.
Links to the separate files are relative names that the caller passes in.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from medillus_pipeline.illustration import captions, fonts, wording
from medillus_pipeline.illustration.figure import Figure
from medillus_pipeline.illustration.panels import display_name

_CSS = """
:root{--ink:#17202b;--muted:#5c6875;--line:#d8dee5;--warning:#a8201a}
*{box-sizing:border-box}
body{margin:0;background:#f3f5f7;color:var(--ink);font:15px/1.5 FAMILY,system-ui,sans-serif}
header,main,footer{max-width:1720px;margin:0 auto;padding:0 28px}
header{padding-top:30px;padding-bottom:6px}
h1{font-size:27px;line-height:1.25;margin:0}
h1 span,h2 span{color:var(--muted);font-weight:400;font-size:.7em;margin-left:.6em}
.warning{color:var(--warning);font-weight:700;margin:6px 0 16px}
.warning span{font-weight:400;margin-left:.6em}
input{font:inherit;width:min(100%,500px);padding:8px 12px;border:1px solid #aab4bf;border-radius:7px;background:#fff}
input:focus-visible,a:focus-visible{outline:2px solid #2b6cb0;outline-offset:2px}
#count{color:var(--muted);margin-left:14px}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,720px),1fr));gap:24px;padding-top:18px;padding-bottom:36px}
figure{margin:0;background:#fff;border:1px solid var(--line);border-radius:10px;padding:18px 22px;break-inside:avoid}
figure[hidden]{display:none}
figure img{display:block;width:100%;height:auto;border-bottom:1px solid var(--line);margin-bottom:14px}
h2{font-size:18px;margin:0 0 4px}
p{margin:0 0 6px}
.names{color:var(--muted);font-size:13.5px}
.files{font-size:13.5px}
.files a{color:#1f5f99;margin-right:16px}
code{font:12.5px ui-monospace,monospace;color:var(--muted)}
@media print{body{background:#fff}input,#count,.files{display:none}main{display:block;padding:0}
figure{border:0;padding:0;page-break-after:always}}
"""

_SCRIPT = """
const box=document.getElementById('search'),all=[...document.querySelectorAll('figure')],
count=document.getElementById('count'),none=document.getElementById('none'),spoken=count.textContent;
box.addEventListener('input',()=>{const words=box.value.toLowerCase().split(/\\s+/).filter(Boolean);let shown=0;
for(const f of all){f.hidden=!words.every(w=>f.dataset.text.includes(w));if(!f.hidden)shown++}
count.textContent=words.length?shown+' / '+all.length:spoken;none.hidden=shown>0});
"""


@dataclass(frozen=True)
class GalleryEntry:
    """A figure and the names under which its files lie beside the page, None where there is no such file."""

    figure: Figure
    sidecar_name: str | None = None
    png_name: str | None = None
    svg_name: str | None = None


def build_gallery(entries: Sequence[GalleryEntry], *, title: wording.Bilingual | None = None) -> bytes:
    """The page, UTF-8 HTML, figures in the order given.

    Raises:
        InputError: a text holds a character without a glyph.
    """
    heading = title or wording.GALLERY["title"]
    said = list(dict.fromkeys(captions.warning(e.figure.request) for e in entries)) or [wording.GENERATED]
    count = _spans(_filled(wording.GALLERY["figures"], len(entries)))
    body = "\n".join(
        (
            "<header>",
            f"<h1>{_spans(heading)}</h1>",
            *(f'<p class="warning">{_spans(text)}</p>' for text in said),
            _search_box(),
            f'<span id="count" role="status">{count}</span>',
            f'<p id="none" hidden>{_spans(wording.GALLERY["none"])}</p>',
            "</header>",
            "<main>",
            *(_card(entry) for entry in entries),
            "</main>",
        )
    )
    # What the page shows is drawn in the shipped typeface, so that names in Chinese need no installed font.
    css = fonts.face_rules(body) + _CSS.replace("FAMILY", f"'{fonts.EMBEDDED_FAMILY}'")
    policy = "default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(heading.en)} {html.escape(heading.zh)}</title>",
            f"<style>{css}</style>\n</head>\n<body>",
            body,
            f"<script>{_SCRIPT}</script>\n</body>\n</html>\n",
        )
    ).encode()


def _card(entry: GalleryEntry) -> str:
    figure = entry.figure
    title = captions.title(figure.request)
    caption = figure.sidecar["caption"]
    shown = {s["id"] for s in figure.sidecar["structures"]}
    structures = [s for s in figure.request.structures if s.id in shown]
    names = ", ".join(display_name(s) for s in structures)
    names_zh = "、".join(s.name_zh for s in structures)
    codes = " ".join(s.code for s in structures)
    found = " ".join((figure.name, *title, names, names_zh, codes, figure.request.slice_name)).lower()
    alternative = f"{title.en}: {names}. {captions.warning(figure.request).en}."
    source = "data:image/svg+xml," + quote(figure.svg.decode(), safe="/:;=,+()'!*~-_.@&?$ ")
    links = "".join(
        f'<a href="{html.escape(quote(name))}">{_spans(wording.GALLERY[key])}</a>'
        for key, name in (
            ("image", entry.png_name),
            ("drawing", entry.svg_name),
            ("provenance", entry.sidecar_name),
        )
        if name
    )
    return "\n".join(
        (
            f'<figure id="{figure.name}" data-text="{html.escape(found)}">',
            f'<img alt="{html.escape(alternative)}" src="{html.escape(source)}" loading="lazy">',
            f"<figcaption><h2>{_spans(title)}</h2>",
            f'<p>{html.escape(caption["en"])}</p><p lang="zh-CN">{html.escape(caption["zh"])}</p>',
            f'<p class="names">{html.escape(names)} <span lang="zh-CN">{html.escape(names_zh)}</span></p>',
            f'<p class="files">{links}<code>{figure.name}</code></p></figcaption></figure>',
        )
    )


def _search_box() -> str:
    hint = wording.GALLERY["search"]
    text = html.escape(f"{hint.en} {hint.zh}")
    return f'<input id="search" type="search" placeholder="{text}" aria-label="{text}">'


def _filled(text: wording.Bilingual, count: int) -> wording.Bilingual:
    return wording.Bilingual(text.en.format(count=count), text.zh.format(count=count))


def _spans(text: wording.Bilingual) -> str:
    return f'{html.escape(text.en)} <span lang="zh-CN">{html.escape(text.zh)}</span>'
