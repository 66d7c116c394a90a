"""What the page is told, as JSON: models and words at the start, a sentence shown back, a figure, a refusal, an error.

Only what a person needs stands in it: no path, no patient, no slice, no name of a file. What is not here: the sentences
themselves, which their parts have made (`illustration/answer.py`, `language/shown_back.py`).
"""

import math
import re
from typing import Any

from medillus_pipeline.illustration.answer import Answer, CandidateReport, IllustrationRefused
from medillus_pipeline.illustration.figure import Figure
from medillus_pipeline.illustration.models import Models
from medillus_pipeline.language.drawable import undrawable
from medillus_pipeline.language.parser import understand
from medillus_pipeline.language.shown_back import shown_back
from medillus_pipeline.studio import wording
from medillus_pipeline.studio.bench import Busy, Kept

MOST_REASONS = 40
_PATH = re.compile(r"(?<![\w.])(?:file://|[A-Za-z]:[\\/]|/)[^\s'\",;:]+")


def start(models: Models) -> dict[str, Any]:
    """The words, the structures that these models draw, and what is known of the models."""
    facts = models.facts
    known = [models.vocabulary.by_id(identifier) for identifier in models.drawable.classes]
    return {
        "words": {key: text._asdict() for key, text in wording.WORDS.items()},
        "structures": [
            {"id": s.id, "key": s.key, "en": s.name_en, "zh": s.name_zh, "colour": s.colour}
            for s in sorted(known, key=lambda s: (s.key == "body", s.id))
        ],
        "model": {
            "name": facts.name,
            "version": facts.version,
            "verdict": facts.verdict,
            "stale": list(facts.stale),
            "missing": list(models.missing),
            "steps": models.generator.release_steps or 1,
        },
    }


def understood(text: str, models: Models) -> dict[str, Any]:
    """A sentence as it was read, for correction: shown back, the places that were not understood, and what of it these
    models cannot draw. Raises InputError for a text that is none.
    """
    words = models.vocabulary
    request = understand(text, words)
    reasons = undrawable(request, models.drawable, words)
    return {
        "text": text,
        "settled": request.settled and not request.empty,
        "said": {"en": shown_back(request, words, "en"), "zh": shown_back(request, words, "zh")},
        "unclear": [[span.start, span.end] for span in request.spans if span.role == "not_understood"],
        "cannot": [{"en": reason.en, "zh": reason.zh} for reason in reasons],
    }


def told(kept: Kept) -> dict[str, Any]:
    """A figure: its name, what can be named in it, its checks, and which files can be had."""
    figure = kept.figure
    assert isinstance(figure, Figure)
    scores = figure.request.confidences
    quiz = figure.answer_key is not None
    return {
        "name": figure.name,
        "alt": {language: figure.sidecar["caption"][language] for language in ("en", "zh")},
        "present": [
            {"key": s.key, "en": s.name_en, "zh": s.name_zh, "confidence": _share(scores.get(s.id, math.nan))}
            for s in kept.nameable
        ],
        "files": ["svg", "png", "pdf", "dicom", "answers" if quiz else "html", "json", "manifest"],
        "answer": answer(kept.answer),
    }


def answer(found: Answer) -> dict[str, Any]:
    """What was understood, and how each candidate fared; without `origin`, which may name a training patient."""
    return {
        "understood": found.understood._asdict(),
        "remarks": [remark._asdict() for remark in found.remarks],
        "candidates": [_candidate(report) for report in found.candidates],
        "chosen": found.chosen,
    }


def refusal(error: IllustrationRefused) -> dict[str, Any]:
    """Why there is no figure."""
    return {
        "headline": error.headline._asdict(),
        "reasons": [_clean(reason._asdict()) for reason in error.reasons[:MOST_REASONS]],
        "answer": None if error.answer is None else answer(error.answer),
    }


def sentence(error: Exception) -> dict[str, str]:
    """The sentence of an error that was raised on purpose; where it names a place on this machine, without it."""
    if isinstance(error, Busy):
        return wording.BUSY._asdict()
    return _clean({"en": str(error), "zh": str(error)})


def _candidate(report: CandidateReport) -> dict[str, Any]:
    found = [score for score in report.recovered.values() if not math.isnan(score)]
    least = min(report.recovered, key=lambda key: report.recovered[key]) if found else None
    checks = [{"passed": False, "said": reason._asdict()} for reason in report.reasons[:MOST_REASONS]]
    if report.passed:
        checks += (
            [
                _held(
                    f"enough is recovered by the organ segmenter; least: {least}, Dice {min(found):.2f}",
                    f"分割模型识别出足够的结构；最低：{least}，Dice {min(found):.2f}",
                )
            ]
            if found
            else []
        )
        checks += [
            _held("the anatomy breaks no rule of the atlas", "解剖结构不违反图谱规则")
            if not report.errors
            else _held(
                f"departures from the atlas: {len(report.errors)}, within the bounds of this profile",
                f"与图谱有 {len(report.errors)} 处偏离，在当前配置允许范围内",
            ),
            _held(
                f"{report.similarity:.0%} of it lies where training patients have it",
                f"{report.similarity:.0%} 的区域与训练患者的位置一致",
            ),
        ]
    return {"seed": report.seed, "passed": report.passed, "checks": checks}


def _held(en: str, zh: str) -> dict[str, Any]:
    return {"passed": True, "said": {"en": en, "zh": zh}}


def _clean(text: dict[str, str]) -> dict[str, str]:
    return {language: _PATH.sub("…", said) for language, said in text.items()}


def _share(score: float) -> float | None:
    return None if math.isnan(score) else round(float(score), 3)
