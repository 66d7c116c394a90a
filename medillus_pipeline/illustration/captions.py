"""The sentences of a figure, from its request: title, warning, caption and provenance line, in both languages."""

from medillus_pipeline.illustration import wording
from medillus_pipeline.illustration.request import FigureRequest
from medillus_pipeline.illustration.wording import Bilingual

_PLANES = {
    frozenset("RLAP"): "axial",
    frozenset("RLHF"): "coronal",
    frozenset("APHF"): "sagittal",
}


def plane(request: FigureRequest) -> str:
    """axial, coronal or sagittal."""
    return _PLANES[frozenset("".join(request.orientation))]


def title(request: FigureRequest, *, with_plane: bool = True) -> Bilingual:
    """What is shown: plane, modality and body part."""
    modality = wording.modality(request.modality)
    shown = plane(request)
    part = wording.body_part(request.body_part)
    en, zh = modality
    if with_plane:
        en = f"{wording.PLANES[shown].en} {en}"
        zh = f"{wording.PLANES[shown].zh} {zh}" if zh.isascii() else wording.PLANES[shown].zh + zh
    if part:
        en, zh = f"{en}, {part.en.lower()}", f"{part.zh} {zh}" if part.zh.isascii() else part.zh + zh
    return Bilingual(en, zh)


def warning(request: FigureRequest) -> Bilingual:
    """What the picture is and what it must not be used for."""
    return wording.GENERATED if request.source == "generated" else wording.SCAN[request.labelled_by]


def caption(request: FigureRequest, unplaced: int = 0) -> Bilingual:
    """One paragraph: title, level, window, source, and how many structures have no label at the image."""
    heading = title(request)
    window = request.effective_window()
    center, width = f"{window.center:g}", f"{window.width:g}"
    frame = wording.WINDOW if request.modality == "CT" else wording.WINDOW_PLAIN
    parts_en, parts_zh = [heading.en], [heading.zh]
    if request.level is not None and plane(request) == "axial":
        level = f"{request.level:.0%}"
        parts_en.append(wording.LEVEL.en.format(level=level))
        parts_zh.append(wording.LEVEL.zh.format(level=level))
    parts_en.append(frame.en.format(center=center, width=width))
    parts_zh.append(frame.zh.format(center=center, width=width))
    if request.source == "generated":
        names = {"model": request.model_name or "model", "version": request.model_version, "slice": request.slice_name}
        asked = request.slice_name.startswith(("mask-", "sketch-", "text-"))
        made_by = wording.MADE_BY_REQUEST if asked else wording.MADE_BY
        origin = Bilingual(*(text.format(**names) for text in made_by))
    else:
        origin = Bilingual(*(text.format(slice=request.slice_name) for text in wording.TAKEN_FROM))
    en, zh = f"{', '.join(parts_en)}. {origin.en}", f"{'，'.join(parts_zh)}。{origin.zh}"
    if unplaced:
        en += " " + wording.CROWDED.en.format(count=unplaced)
        zh += wording.CROWDED.zh.format(count=unplaced)
    said = warning(request)
    return Bilingual(f"{en} {said.en}.", f"{zh}{said.zh}。")


def window(request: FigureRequest) -> Bilingual:
    """Modality and window in few characters, as they stand under the image."""
    shown = request.effective_window()
    words = {
        "center": f"{shown.center:g}",
        "width": f"{shown.width:g}",
        "unit": " HU" if request.modality == "CT" else "",
    }
    names = wording.modality(request.modality)
    return Bilingual(
        wording.WINDOW_SHORT.en.format(modality=names.en, **words),
        wording.WINDOW_SHORT.zh.format(modality=names.zh, **words),
    )


def line(request: FigureRequest, name: str) -> Bilingual:
    """What must stand with a figure that has no caption: the warning, which figure it is and who drew it."""
    said = warning(request)
    model = Bilingual("", "")
    if request.model_version is not None:
        model = Bilingual(*(text.format(version=request.model_version) for text in wording.LINE_MODEL))
    return Bilingual(
        f"{said.en}. {wording.LINE.en.format(figure=name, model=model.en)}",
        f"{said.zh}。{wording.LINE.zh.format(figure=name, model=model.zh)}",
    )


def plain_title(request: FigureRequest) -> Bilingual:
    """What a patient is told the picture is."""
    names, frame = wording.modality(request.modality), wording.PATIENT["title"]
    part = wording.body_part(request.body_part, plain=True) or wording.PATIENT["body"]
    return Bilingual(
        frame.en.format(modality=names.en, part=part.en.lower()), frame.zh.format(modality=names.zh, part=part.zh)
    )


def plain_caption(request: FigureRequest, *, ill: bool) -> Bilingual:
    """How a patient reads the picture; `ill` where a lesion is drawn."""
    sentences = [wording.PATIENT[plane(request)]]
    if request.orientation[0] == "R":
        sentences.append(wording.PATIENT["mirrored"])
    if ill:
        sentences.append(wording.PATIENT["red"])
    if request.source == "generated":
        sentences.append(wording.PATIENT["nobody"])
    return Bilingual(" ".join(s.en for s in sentences), "".join(s.zh for s in sentences))


def confidence_note(request: FigureRequest) -> Bilingual:
    """What the printed confidences are: a calibrated probability, or a raw agreement that says it is uncalibrated."""
    if request.calibration is None:
        return wording.FOOTNOTE
    dice = f"{request.calibration['found_dice']:.1f}"
    return Bilingual(*(text.format(dice=dice) for text in wording.FOOTNOTE_CALIBRATED))


def provenance(request: FigureRequest, name: str) -> str:
    """One line that names everything a reader needs to find the figure's origin; hashes shortened."""
    parts = [f"figure {name}"]
    if request.model_version is not None:
        parts.append(f"model {request.model_name or ''} v{request.model_version}".replace("  ", " "))
    for word, value in (("dataset", request.dataset_fingerprint), ("code", request.code_version)):
        if value:
            parts.append(f"{word} {value[:12]}")
    parts += [f"slice {request.slice_name}", f"patient {request.patient}"]
    if request.seed is not None:
        parts.append(f"seed {request.seed}")
    if request.vocabulary_version:
        parts.append(f"vocabulary {request.vocabulary_version[:12]}")
    return " | ".join(parts)
