"""Where a picture may be mirrored left to right and still show a person, and which classes then trade places.

Two things must hold. The body part must look alike on both sides (a table with a reason each; what is not in it is
never mirrored: thorax, abdomen and pelvis have a situs). And every structure drawn there must have a counterpart among
the classes, lie in the middle, or be nothing that has a side. How a picture is mirrored is not here: see
`augmentation.py`.
"""

from collections.abc import Collection, Sequence

from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary

PERMITTED: dict[str, str] = {
    part: reason
    for reason, parts in {
        "the head is alike on both sides but for slight differences of the brain's halves": (
            "HEAD BRAIN SKULL FACE FACIALBONES CEREBELLUM BRAINSTEM HIPPOCAMPUS SELLA PITUITARY INTRACRANIAL"
        ),
        "organs of sense, jaws and salivary glands come in pairs": (
            "ORBIT EYE OPTICCANAL EAR IAC MASTOID TEMPORALBONE SINUS JAW MANDIBLE MAXILLA TMJ ZYGOMA PAROTID "
            "SUBMANDIBULAR"
        ),
        "vessels and muscles of the neck come in pairs; its great vessels differ only where the thorax begins": (
            "NECK HEADNECK PHARYNX NASOPHARYNX LARYNX CSPINE CERVICALSPINE THYROID"
        ),
        "a limb mirrored is the limb of the other side": (
            "EXTREMITY UPPERLIMB ARM HUMERUS ELBOW FOREARM RADIUS ULNA RADIUSULNA WRIST HAND FINGER THUMB "
            "LOWERLIMB LEG THIGH FEMUR KNEE PATELLA CALF TIBIA FIBULA TIBIAFIBULA ANKLE FOOT HEEL CALCANEUS TOE"
        ),
    }.items()
    for part in parts.split()
}
"""Terms of Body Part Examined (PS3.16 Annex L), each with why it may be mirrored.

Chest and abdomen are missing because heart, liver, spleen and stomach lie on one side. So are pelvis and hip: the
sigmoid colon lies left and the caecum right, drawn or not. So are breast and shoulder, which show heart or liver.
"""

MIDLINE = (
    *("brain", "brainstem", "cerebellum", "pituitary", "optic_chiasm", "skull", "face", "mandible", "oral_cavity"),
    *("tongue", "lips", "pharynx", "pharyngeal_constrictor", "larynx", "thyroid_gland", "trachea"),
    *("spinal_cord", "spinal_canal", "spine", "cauda_equina"),
)
"""Structures that lie in the middle. The oesophagus does not: it leans to the left (in 20 of 24 patients of OpenKBP,
2.9 mm from the spinal cord on average).
"""

NO_SIDE = (
    *("body", "skin", "subcutaneous_fat", "skeletal_muscle"),
    *("hippocampus_anterior", "hippocampus_posterior"),
)
"""Structures all over the body part, or whose name tells no side."""

UNLIKE_PAIRS = (
    *("heart_", "atrial_", "lung_", "main_bronchus_", "brachiocephalic_vein_", "subclavian_artery_"),
    *("kidney_", "adrenal_gland_", "ovary_"),
)
"""Beginnings of names that come left and right but are no mirror images; where they show, the trunk is in view."""

NO_SIDE_KINDS = ("lesion", "target")
"""Kinds of structures that may lie anywhere and whose names, but for those in pairs, tell no side."""


def exchanged_classes(
    classes: Sequence[int], shown: Collection[int], body_part: str | None, vocabulary: Vocabulary
) -> tuple[int, ...] | None:
    """What becomes of each class index in a mirrored slice of that body part; None where mirroring is not permitted.

    `classes` are vocabulary ids in the order of the dataset, `shown` those that slices of the body part show. The
    result has len(classes) + 1 entries: entry i is the index that index i turns into, entry 0 (background) is 0.
    """
    if (body_part or "").strip().upper() not in PERMITTED:
        return None
    index = {vocabulary.by_id(identifier).key: number for number, identifier in enumerate(classes, start=1)}
    exchanged = list(range(len(classes) + 1))
    for identifier in classes:
        structure = vocabulary.by_id(identifier)
        other = counterpart(structure, vocabulary)
        if other is not None and other.key in index:
            exchanged[index[structure.key]] = index[other.key]
        elif identifier in shown and not _either_side(structure):
            return None
    return tuple(exchanged)


def counterpart(structure: Structure, vocabulary: Vocabulary) -> Structure | None:
    """The mirror image of a structure, femur_left for femur_right; None for what has none in the vocabulary."""
    turned = "_".join({"left": "right", "right": "left"}.get(part, part) for part in structure.key.split("_"))
    found = next((other for other in vocabulary if other.key == turned), None)
    alike = not structure.key.startswith(UNLIKE_PAIRS)
    sides = {structure.laterality, found.laterality if found is not None else ""}
    return found if alike and sides == {"left", "right"} else None


def _either_side(structure: Structure) -> bool:
    if structure.laterality in ("left", "right"):
        return False
    anywhere = structure.kind in NO_SIDE_KINDS or structure.key in NO_SIDE or structure.laterality == "both"
    return anywhere or structure.key in MIDLINE or structure.key.startswith("vertebrae_C")
