"""`illustrate`: from a request to a figure that may leave, or a refusal with reasons. The one way for all callers.

The same request with the same models gives the same bytes. What is not here: how a request becomes a label map
(`composing.py`), images (`candidates.py`), the checks (`compliance.py`), files and signatures (`finished.py`).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.answer import Answer, IllustrationRefused, same_words
from medillus_pipeline.illustration.composing import Composed, Read, compose
from medillus_pipeline.illustration.confidence import provenance
from medillus_pipeline.illustration.figure import Figure, draw_figure
from medillus_pipeline.illustration.illustration_request import IllustrationRequest
from medillus_pipeline.illustration.models import Models, Scan
from medillus_pipeline.illustration.request import FigureRequest
from medillus_pipeline.illustration.summary import Summary, draw_summary
from medillus_pipeline.illustration.wording import Bilingual

__all__ = ["Illustrated", "IllustrationRefused", "illustrate", "read_file", "understood"]

LARGEST_FILE = 1 << 30


@dataclass(frozen=True)
class Illustrated:
    """A figure that passed, and how it came about. `label_map` (h, w) vocabulary ids, `image` (h, w) HU for CT."""

    figure: Figure | Summary
    label_map: np.ndarray
    image: np.ndarray
    answer: Answer


def read_file(path: Path) -> bytes:
    """The bytes of a local file. Raises InputError for one that cannot be read, or of more than 1 GiB."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path.name} has more than 1 GiB")
        return path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise InputError(f"{path.name} cannot be read ({reason})") from None


def illustrate(
    request: IllustrationRequest,
    models: Models,
    *,
    read: Read = read_file,
    progress: Callable[[int, int], None] | None = None,
) -> Illustrated:
    """The figure of a request.

    Args:
        request: what is asked for.
        models: with what it is made.
        read: gives the bytes of a file that the request names.
        progress: told (done, total) after each candidate.

    Raises:
        IllustrationRefused: a way in is refused, or no candidate passes; it holds every reason and, where candidates
            were drawn, how each fared.
        InputError: a file cannot be read.
    """
    from medillus_pipeline.illustration import candidates, compliance

    if request.way == "scan":
        return _of_scan(request, models, read)
    composed = _composed(request, models, read)
    try:
        drawn = candidates.draw_candidates(request, composed, models, progress)
    except InputError as error:
        raise _cannot(error) from error
    reports = compliance.check(drawn, composed, models)
    calibration = compliance.calibration_for(composed, models)
    answer = Answer(
        way=request.way,
        understood=composed.understood,
        remarks=composed.remarks,
        candidates=reports,
        origin=composed.geometry.origin,
        floors=compliance.floors_facts(models, composed),
    )
    passing = [i for i, report in enumerate(reports) if report.passed]
    if not passing:
        raise IllustrationRefused(
            Bilingual("no candidate passes the checks", "没有候选图通过检查"), compliance.refusals(reports), answer
        )
    chosen = max(passing, key=lambda i: (reports[i].likeness, -i))
    scores = compliance.confidences_of(drawn.probabilities[chosen], composed, models, calibration)
    facts, geometry = models.facts, composed.geometry
    named = compliance.recognised(reports[chosen], composed, models)
    unnamed = tuple(
        Bilingual(
            f"{s.name_en} is drawn and not named: the segmenter does not find it in this image",
            f"{s.name_zh}已绘制但未标注名称：分割模型未能在图像中识别",
        )
        for s in models.structures(tuple(i for i in composed.name if i not in named))
    )
    figure = _figure(
        FigureRequest(
            image=drawn.images[chosen],
            labels=geometry.label_map,
            structures=models.structures(named),
            modality=composed.said.modality,
            pixel_mm=(geometry.pixel_mm, geometry.pixel_mm),
            source="generated",
            slice_name=geometry.source,
            patient=geometry.patient,
            split=geometry.split,
            confidences=scores,
            calibration=None if calibration is None else provenance(calibration),
            body_part=composed.said.body_part,
            level=geometry.level,
            window=request.chosen_window(),
            model_name=facts.name,
            model_version=facts.version,
            model_stale=facts.stale,
            dataset_fingerprint=facts.dataset_fingerprint,
            seed=drawn.seeds[chosen],
            steps=request.steps or models.generator.release_steps,
            code_version=facts.code_version,
            vocabulary_version=facts.vocabulary_version,
            run_ids=facts.run_ids,
            ethics=facts.ethics,
            language=request.language,
            style=request.style,
            marks=request.marks,
            palette=request.palette,
            pathologies=composed.said.pathologies,
        )
    )
    told = replace(answer, remarks=(*answer.remarks, *unnamed), chosen=chosen, confidences=_by_key(scores, models))
    return Illustrated(figure, geometry.label_map, drawn.images[chosen], told)


def understood(request: IllustrationRequest, models: Models, *, read: Read = read_file) -> Answer:
    """What is understood of a request, with its remarks; nothing is drawn. Raises as `illustrate` does."""
    if request.way == "scan":
        scan, remarks = _scan(request, models, read)
        return Answer("scan", _shown(scan, models), remarks)
    composed = _composed(request, models, read)
    return Answer(request.way, composed.understood, composed.remarks, origin=composed.geometry.origin)


def _composed(request: IllustrationRequest, models: Models, read: Read) -> Composed:
    from medillus_pipeline.illustration import compliance

    composed = compose(request, models, read)
    strange = compliance.objections(composed, models)
    if strange and not compliance.FLOORS[models.facts.profile].strange_mask:
        raise IllustrationRefused(
            Bilingual("the label map shows what no training patient has", "标注图中有训练患者均没有的情形"), strange
        )
    noted = tuple(Bilingual(f"in the label map itself: {each.en}", f"标注图本身：{each.zh}") for each in strange)
    return replace(composed, remarks=(*composed.remarks, *noted))


def _of_scan(request: IllustrationRequest, models: Models, read: Read) -> Illustrated:
    scan, remarks = _scan(request, models, read)
    assert scan.labels is not None
    facts = models.facts
    ids = _named(request, scan, models)
    figure = _figure(
        FigureRequest(
            image=scan.image,
            labels=scan.labels,
            structures=models.structures(ids),
            modality=scan.modality,
            pixel_mm=scan.pixel_mm,
            source="scan",
            slice_name=scan.slice_name,
            patient=scan.patient,
            split=scan.split,
            body_part=request.body_part or scan.body_part,
            level=request.level if request.level is not None else scan.level,
            window=request.chosen_window(),
            orientation=scan.orientation,
            labelled_by=scan.labelled_by,
            code_version=facts.code_version,
            vocabulary_version=facts.vocabulary_version,
            language=request.language,
            style=request.style,
            marks=request.marks,
            palette=request.palette,
        )
    )
    answer = Answer("scan", _shown(scan, models), remarks, confidences=_by_key(scan.scores, models))
    return Illustrated(figure, scan.labels, scan.image, answer)


def _scan(request: IllustrationRequest, models: Models, read: Read) -> tuple[Scan, tuple[Bilingual, ...]]:
    from medillus_pipeline.illustration import composing_scan

    try:
        return composing_scan.labelled(request, models, read)
    except IllustrationRefused:
        raise
    except InputError as error:
        raise _cannot(error) from error


def _named(request: IllustrationRequest, scan: Scan, models: Models) -> tuple[int, ...]:
    assert scan.labels is not None
    present = tuple(int(v) for v in np.unique(scan.labels) if v)
    if not request.structures:
        return present
    reasons, wanted = [], []
    for key in request.structures:
        structure = models.vocabulary.resolve(key)
        if structure is None:
            reasons.append(Bilingual(f"{key!r} is no structure", f"“{key}”不是词表中的结构"))
        elif structure.id not in present:
            reasons.append(
                Bilingual(f"{structure.name_en} was not found in the scan", f"扫描图中未找到{structure.name_zh}")
            )
        else:
            wanted.append(structure.id)
    if reasons:
        headline = Bilingual("a structure that was asked for is not there", "缺少所要求的结构")
        raise IllustrationRefused(headline, tuple(reasons))
    return tuple(wanted)


def _shown(scan: Scan, models: Models) -> Bilingual:
    assert scan.labels is not None
    structures = models.structures(np.unique(scan.labels))
    by = {"annotator": ("an annotator", "标注者"), "organ_segmenter": ("the organ segmenter", "分割模型")}
    en, zh = by[scan.labelled_by]
    return Bilingual(
        f"A real slice, labelled by {en}: {', '.join(s.name_en for s in structures)}.",
        f"真实切片，由{zh}标注：{'、'.join(s.name_zh for s in structures)}。",
    )


def _figure(request: FigureRequest) -> Figure | Summary:
    return draw_summary([request]) if request.style == "summary" else draw_figure(request)


def _by_key(scores: Mapping[int, float], models: Models) -> dict[str, float]:
    return {models.vocabulary.by_id(identifier).key: score for identifier, score in scores.items()}


def _cannot(error: InputError) -> IllustrationRefused:
    return IllustrationRefused(Bilingual("the figure cannot be drawn", "无法绘图"), same_words([str(error)]))
