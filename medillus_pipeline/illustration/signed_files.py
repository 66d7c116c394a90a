"""The files of an illustrated request, in the formats asked for, signed: for the command line and the studio.

Beside the figure stands what was answered to the request. What is not here: how a single figure is finished
(`finished.py`), and how assets keep theirs.
"""

from collections.abc import Mapping
from datetime import datetime

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration import captions, embedded
from medillus_pipeline.illustration.finished import finish, seal
from medillus_pipeline.illustration.illustrate import Illustrated
from medillus_pipeline.illustration.illustration_request import ENDINGS, IllustrationRequest
from medillus_pipeline.illustration.provenance import MANIFEST_SUFFIX, Origin
from medillus_pipeline.illustration.request import canonical_json
from medillus_pipeline.illustration.signing import SigningKey
from medillus_pipeline.illustration.summary import Summary

ANSWER_SUFFIX = ".answer.json"
SUMMARY_FORMATS = ("svg", "png", "pdf")


def signed_files(
    done: Illustrated,
    request: IllustrationRequest,
    *,
    key: SigningKey,
    made_at: datetime,
    model_verdict: str | None = None,
) -> Mapping[str, bytes]:
    """File name → bytes: the formats asked for, sidecar, answer and manifest; a quiz's answer key among them.

    The same arguments give the same bytes. Raises InputError for a format that the style does not have.
    """
    refuse_formats(request)
    answer = canonical_json(done.answer.facts())
    name = done.figure.name
    if isinstance(done.figure, Summary):
        files = _summary_files(done.figure, answer, key=key, made_at=made_at, model_verdict=model_verdict)
    else:
        files = finish(
            done.figure,
            key=key,
            made_at=made_at,
            model_verdict=model_verdict,
            further={name + ANSWER_SUFFIX: answer},
        ).files
    kept = {ENDINGS[one] for one in request.formats} | {".json", ".answers.svg", ANSWER_SUFFIX, MANIFEST_SUFFIX}
    return {file: data for file, data in files.items() if file.removeprefix(name) in kept}


def refuse_formats(request: IllustrationRequest) -> None:
    """Raises InputError for a format that the style does not have."""
    if request.style == "quiz" and "html" in request.formats:
        raise InputError("a quiz has no interactive page, which would tell the answers: leave the format html")
    if request.style == "summary" and (more := [one for one in request.formats if one not in SUMMARY_FORMATS]):
        raise InputError(f"a summary is a page, {', '.join(SUMMARY_FORMATS)}: leave the format {', '.join(more)}")


def _summary_files(
    page: Summary, answer: bytes, *, key: SigningKey, made_at: datetime, model_verdict: str | None
) -> Mapping[str, bytes]:
    from dataclasses import replace

    from medillus_pipeline.illustration.pdf import to_pdf

    first = page.requests[0]
    origin = replace(Origin.of(first, made_at=made_at, model_verdict=model_verdict), figure=page.name)
    title = captions.Bilingual(page.sidecar["title"]["en"], page.sidecar["title"]["zh"])
    packet = embedded.xmp_packet(origin, title=title, caption=captions.caption(first), warning=captions.warning(first))
    bare = {
        f"{page.name}.svg": embedded.into_svg(page.svg, packet),
        f"{page.name}.png": embedded.into_png(page.png, packet),
        f"{page.name}.pdf": to_pdf(page.svg, xmp=packet),
        f"{page.name}.json": page.sidecar_json(),
        page.name + ANSWER_SUFFIX: answer,
    }
    facts = {"style": "summary", "slices": [each.facts() for each in page.requests]}
    return seal(origin, facts, bare, key=key, unchanged=(page.name + ANSWER_SUFFIX,))[1]
