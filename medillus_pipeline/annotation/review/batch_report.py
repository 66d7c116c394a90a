"""The report of one annotation batch: one self-contained HTML page for the annotators and the physicians who look at
what they drew.

It is made from rows and pictures of the clean side only, so it names nobody: annotators, patients and files stand under
their pseudonyms. Equal rows give an equal page. What is not here: the choice of slices (`worst_slices.py`), a slice's
picture (`slice_figure.py`), and every figure, which the rows bring along.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medillus_pipeline.annotation.outcomes import MEANINGS, Reason
from medillus_pipeline.annotation.plausibility.findings import ADVICE, FindingKind
from medillus_pipeline.annotation.review.agreement import BOTH, WHOLE_SERIES, in_force
from medillus_pipeline.annotation.review.batch_summary import (
    OUTCOMES,
    Amount,
    BatchRows,
    Titles,
    amounts,
    groups,
    structure_name,
    verdict,
    why,
)
from medillus_pipeline.annotation.review.disagreement import disagreement_map, meanings, swatch
from medillus_pipeline.annotation.review.slice_figure import SliceFigure, address, slice_figure
from medillus_pipeline.annotation.review.worst_slices import GRAVE, Shown, choose
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.png import decode_png, encode_png

Row = Mapping[str, Any]
WORST, MEDIAN, DISAGREEMENTS, LONGEST_TABLE = 4, 2, 3, 60


@dataclass(frozen=True)
class Figure:
    """A slice on the page: its caption, what is shown on it, and what there is to look at."""

    title: str
    why: str
    picture: SliceFigure
    window: str
    legend: list[Amount]
    description: str


@dataclass(frozen=True)
class Difference:
    """Two readers on one slice: caption, picture (a `data:` address), its description."""

    title: str
    picture: str
    description: str
    words: dict[int, str]


def build_batch_report(batch: str, rows: BatchRows, read: Callable[[str], bytes], vocabulary: Vocabulary) -> str:
    """The page of the batch with that key, as HTML; `read` gives the bytes of a payload path of the clean zone."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    numbered = {amount.structure.id: amount for amount in amounts(rows, vocabulary)}
    worst, middle = choose(
        in_force(rows.masks), rows.slices, worst=WORST, median=MEDIAN, findings=rows.findings, agreement=rows.agreement
    )
    titles = Titles(rows.masks, rows.slices)
    whole = [row for row in rows.agreement if row["slice_name"] == WHOLE_SERIES]
    whole.sort(key=lambda row: (row["dice"] is None, row["dice"] or 0.0, row["structure"], row["annotator_a"]))
    findings = sorted(
        rows.findings,
        key=lambda f: (f["severity"] != GRAVE, f["finding"], f["structure"], f["slice_name"]),
    )
    status, sentence = verdict(rows, vocabulary)
    environment = Environment(
        loader=PackageLoader("medillus_pipeline.annotation.review", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("batch_report.html.j2").render(
        batch=batch,
        status=status,
        sentence=sentence,
        groups=groups(rows.items, vocabulary),
        outcomes=OUTCOMES,
        items=sorted(rows.items, key=lambda i: (i["item"], i["structure"], i["outcome"], i["reason"])),
        structure_name=lambda key: structure_name(key, vocabulary),
        reason_text=lambda reason: MEANINGS[Reason(reason)] if reason else "",
        amounts=list(numbered.values()),
        worst=[_figure(one, rows, titles, numbered, read, vocabulary) for one in worst],
        median=[_figure(one, rows, titles, numbered, read, vocabulary) for one in middle],
        agreement=whole,
        longest=LONGEST_TABLE,
        both=BOTH,
        differences=_differences(rows, read, titles),
        swatches={case: address(encode_png(swatch(case))) for case in meanings("", "")},
        findings=findings,
        advice=lambda kind: ADVICE[FindingKind(kind)],
        grave=GRAVE,
        titles=titles,
        annotators=sorted({mask["annotator"] for mask in rows.masks}),
        policies=sorted({mask["overlap_policy"] for mask in rows.masks}),
        versions=sorted({mask["vocabulary"] for mask in rows.masks} or {vocabulary.version}),
        overlap_pixels=sum(mask["overlap_pixels"] for mask in rows.masks),
        overlap_slices=sum(mask["overlap_pixels"] > 0 for mask in rows.masks),
    )


def _figure(
    one: Shown,
    rows: BatchRows,
    titles: Titles,
    numbered: Mapping[int, Amount],
    read: Callable[[str], bytes],
    vocabulary: Vocabulary,
) -> Figure:
    numbers = {label: numbered[label].number for label in one.mask["labels"]}
    picture = slice_figure(
        decode_png(read(one.row["path"])), decode_png(read(one.mask["path"])), one.row, vocabulary.palette(), numbers
    )
    legend = [numbered[label] for label in one.mask["labels"]]
    title = titles.slice(one.row)
    names = ", ".join(f"{amount.number} {amount.structure.name_en}" for amount in legend)
    return Figure(title, why(one, rows, vocabulary), picture, _window(one.row), legend, f"Masks on {title}: {names}")


def _differences(rows: BatchRows, read: Callable[[str], bytes], titles: Titles) -> list[Difference]:
    """The slices on which two readers differ most, one picture per slice and pair."""
    masks = {(mask["slice_name"], mask["annotator"]): mask for mask in in_force([*rows.masks, *rows.others])}
    found = []
    for a, b in sorted({(row["annotator_a"], row["annotator_b"]) for row in rows.agreement}):
        of_pair = [row for row in rows.agreement if (row["annotator_a"], row["annotator_b"]) == (a, b)]
        on_slices = {row["slice_name"] for row in of_pair}
        shared = [{**masks[name, a], "overlap_pixels": 0} for name in sorted(on_slices) if (name, a) in masks]
        shared = [mask for mask in shared if (mask["slice_name"], b) in masks]
        chosen, _ = choose(shared, rows.slices, worst=DISAGREEMENTS, median=0, agreement=of_pair)
        for one in chosen:
            row, name = one.row, one.row["slice_name"]
            picture = decode_png(read(row["path"]))
            first, second = (decode_png(read(masks[name, reader]["path"])) for reader in (a, b))
            words = meanings(f"A ({a})", f"B ({b})")
            title = titles.slice(row)
            found.append(
                Difference(
                    title,
                    address(disagreement_map(picture, first, second, row, legend=False)),
                    f"Where {a} and {b} differ on {title}; {one.badness}",
                    words,
                )
            )
    return found


def _window(row: Row) -> str:
    """The grey window of a picture, by name and, where there are, centre and width."""
    centre, width = row["window_center"], row["window_width"]
    return str(row["window"]) + ("" if centre is None else f" {centre:.4g}/{width:.4g}")
