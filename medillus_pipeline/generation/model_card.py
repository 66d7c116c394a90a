"""The model card: what a generator was made from, what it is for and what not, for whoever finds it in a registry.

A pure function from the model's own documents, so the card says nothing that they do not. It names structures and
counts, never a delivery or a patient. Where it is kept is decided by the caller (`model_file.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from medillus_pipeline.annotation.vocabulary import Vocabulary

NOT_FOR_DIAGNOSIS = "AI-generated images, not for diagnosis"
UNJUDGED = (
    "Not judged yet when this card was written. The validation report of this version holds its figures against the "
    "gates; the version's tags say whether it was promoted, and by which sentence."
)
INTENDED = """\
For teaching and research: medical illustrations whose anatomy comes from a mask, and synthetic examples for
developing software. Every picture is to be shown as AI-generated.

Not for diagnosis, treatment, planning or measurement; not as evidence about a person; not as the only training data of
a medical device."""
LIMITS = (
    "It draws one slice at a time: neighbouring slices do not fit each other.",
    "A structure that is not listed above is filled in from what training patients usually have there.",
    "It has seen only the patients counted above. Rare anatomy, disease, implants and other scanners look usual in its "
    "images, or wrong.",
    "With few patients a model may repeat what it saw: see the figures on memorisation in the validation report.",
)
FAMILIES = {
    "flow": "A rectified flow, which draws from noise in steps.",
    "gan": "A generative adversarial network, which draws in one pass.",
}
CHANNELS = " It was trained on slices between those below and above them, and draws all three."


def model_card(
    described: Mapping[str, Any],
    manifest: Mapping[str, Any],
    vocabulary: Vocabulary,
    *,
    prior_sha256: str,
    prior: Mapping[str, Any] | None = None,
    start_sha256: str | None = None,
    verdict: Sequence[str] = (),
    ethics: Mapping[str, str] | None = None,
    data_licence: str | None = None,
) -> str:
    """The card as Markdown; the same arguments give the same text.

    `described` is the model's config.json, `manifest` the dataset's, `prior` what `Prior.describe` says. `verdict`
    holds the sentences of a validation report on this version, where there is one; `ethics` is the record of the
    roster (see `review/roster.py`), `data_licence` what the owner of the data states.
    """
    modalities, size = described["modalities"], described["size"]
    units = {m: "HU" if m == "CT" else "series-normalised values, -1000 to 1000" for m in modalities}
    unit = "; ".join(f"{m} in {told}" for m, told in units.items())
    drawn = " and ".join(modalities)
    frames = manifest["config"]
    parts = {name.title(): mm for name, mm in sorted(frames.get("field_of_view_mm", {}).items())}
    fields = ", ".join(
        f"{name} {mm:g} mm" for name, mm in {"others": frames["default_field_of_view_mm"], **parts}.items()
    )
    origin = "fresh weights" if start_sha256 is None else f"another generator's weights, SHA-256 `{start_sha256}`"
    sections = [
        f"# {drawn} slice generator: {NOT_FOR_DIAGNOSIS}",
        f"Draws axial {drawn} slices of {size} × {size} pixels ({unit}) from label maps. Field of view: {fields}. "
        f"{FAMILIES[described['family']]}{CHANNELS if described['images'] == 3 else ''}",
        "## Intended use",
        INTENDED,
        _responsible(ethics),
        "## Data",
        f"Dataset fingerprint `{described['dataset_fingerprint']}`, split `{described.get('split_hash')}`.",
        _table(
            ("modality", "split", "patients", "slices"),
            [
                (modality, name, str(n["patients"]), str(n["slices"]))
                for modality, counts in _counts(modalities, manifest).items()
                for name, n in counts.items()
            ],
        ),
        f"The generator learned from the split train alone. Licence of the data: {data_licence or 'not stated'}.",
        "## Structures",
        f"Vocabulary version `{described.get('vocabulary_version')}`. Codes are SNOMED CT.",
        _classes(described["classes"], manifest, vocabulary),
        "## What it can be told",
        _attributes(described["attributes"]),
        "## Gates",
        "\n".join(f"* {line}" for line in verdict) if verdict else UNJUDGED,
        "## Limits",
        "\n".join(f"* {line}" for line in LIMITS),
        "## Training",
        f"Package version {described.get('package_version')}, seed {described['seed']}, begun from {origin}.",
        _prior(prior_sha256, prior),
        _table(
            ("setting", "value"),
            [(f"`{name}`", str(value)) for name, value in described["config"].items() if name != "threads"],
        ),
    ]
    return "\n\n".join(sections) + "\n"


def summary(described: Mapping[str, Any], manifest: Mapping[str, Any], verdict: str | None = None) -> str:
    """The card in a few lines, for a registry's description of a version; `verdict` is the sentence of a validation
    report on it.
    """
    train, drawn = manifest["counts"]["train"], " and ".join(described["modalities"])
    return (
        f"Draws {drawn} slices of {described['size']} × {described['size']} pixels from label maps of "
        f"{len(described['classes'])} structures; trained on {train['slices']} slices of {train['patients']} patients, "
        f"dataset {described['dataset_fingerprint'][:8]}. {NOT_FOR_DIAGNOSIS}. The model card is the artifact card.md."
        + (f" {verdict}" if verdict else "")
    )


def _responsible(ethics: Mapping[str, str] | None) -> str:
    if ethics is None:
        return "No ethics record stood when this card was written."
    said = f"On record since {ethics['date']}: {ethics['intended_use']}. Responsible: {ethics['responsible']}."
    return f"{said} Reference: {ethics['reference']}." if ethics.get("reference") else said


def _counts(modalities: Sequence[str], manifest: Mapping[str, Any]) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
    """Patients and slices by modality and split; manifests that do not count by modality count all of them."""
    return manifest.get("counts_by_modality") or {", ".join(modalities): manifest["counts"]}


def _attributes(known: Sequence[str]) -> str:
    kinds: dict[str, list[str]] = {}
    for name in known:
        kind, _, value = name.partition("=")
        kinds.setdefault(kind.replace("_", " "), []).append(f"`{value}`")
    lines = [f"* {kind}: {', '.join(values)}" for kind, values in kinds.items()]
    return "\n".join(lines) or "Nothing but the mask."


def _prior(sha256: str, prior: Mapping[str, Any] | None) -> str:
    if prior is None:
        return f"Anatomical prior with SHA-256 `{sha256}`."
    return (
        f"Anatomical prior version `{prior['version']}` (SHA-256 `{sha256}`), made of {prior['origin']}: "
        f"{prior['patients']} patients, {prior['levels']} levels."
    )


def _classes(classes: Sequence[int], manifest: Mapping[str, Any], vocabulary: Vocabulary) -> str:
    known = {structure.id: structure for structure in vocabulary}
    unmeasured = set(manifest.get("classes_without_judge_patients", ()))
    rows = []
    for label in classes:
        structure = known.get(label)
        name = structure.name_en if structure else "not in this vocabulary"
        code = f"{structure.code} {structure.meaning}".strip() if structure else ""
        if structure and structure.laterality and not structure.one_sided:
            code += f" ({structure.laterality})"
        rows.append((str(label), name, code, "no" if label in unmeasured else "yes"))
    return _table(("id", "structure", "code", "measured by the judge"), rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)
