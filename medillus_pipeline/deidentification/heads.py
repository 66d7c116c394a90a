"""Whether an instance may show a face, by what the source says of it.

A conservative answer for Clean Recognizable Visual Features (PS3.15 E.3.2). Identified text is read here and never
given out. Looking at a volume that nobody names, and removing the face, is done in `defacing.py`: it needs scipy, which
the de-identification of a file does not load.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from medillus_pipeline.dicom.encoded import Elements, EncodedDataSet, items_of, text_in
from medillus_pipeline.dicom.face import Face

VOLUMES = frozenset(("CT", "MR", "PT"))
"""Modalities whose stacks can be rendered as a surface; PET shows the skin when not attenuation corrected."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HEAD_PARTS = _words("""
    HEAD HEADNECK HEADANDNECK BRAIN SKULL FACE FACIALBONES FACIAL NECK ORBIT ORBITS EYE EYES BOTHEYES EYEBALL EYELID
    SINUS SINUSES PSINUS PARANASALSINUS JAW JAWREGION MANDIBLE MAXILLA TMJ TMJOINT EAR EARS IAC MASTOID TEMPORALBONE
    PETROUSBONE TEMPLE SELLA PITUITARY HYPOPHYSIS SKULLBASE CEREBELLUM CEREBRUM HIPPOCAMPUS CRANIUM MOUTH TEETH TOOTH
    TONGUE PALATE LIP CHEEK CHIN FOREHEAD SCALP NOSE NASALBONE NASOPHARYNX PHARYNX OROPHARYNX HYPOPHARYNX LARYNX
    PHARYNXLARYNX PAROTID SALIVARYGLAND SUBMANDIBULAR SUBMANDIBULARGLAND OPTICCANAL OPTICNERVE CIRCLEOFWILLIS CAROTID
    CCA ICA ECA INTRACRANIAL CEREBRALA BRAINSTEM ZYGOMA THYROID CSPINE CTSPINE CERVICALSPINE SPINE WSPINE WHOLESPINE
    WHOLEBODY ENTIREBODY NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV SHOULDER CLAVICLE
""")
"""Defined terms of Body Part Examined (PS3.16 Annex L) without spaces that include or touch the face, and spellings
seen for them. Shoulders: the chin is often in view.
"""

OTHER_PARTS = _words("""
    CHEST THORAX LUNG HEART CORONARYARTERY ABDOMEN ABDOMENPELVIS ABDPELVIS CHESTABDOMEN CHESTABDPELVIS CHESTABDPELV
    PELVIS LIVER KIDNEY PANCREAS SPLEEN COLON RECTUM BLADDER PROSTATE UTERUS OVARY BREAST LSPINE LUMBARSPINE TSPINE
    THORACICSPINE TLSPINE LSSPINE SSPINE SACRUM COCCYX HIP KNEE ANKLE FOOT TOE THIGH LEG CALF FEMUR TIBIA TIBIAFIBULA
    FIBULA PATELLA HEEL HAND FINGER THUMB WRIST FOREARM ELBOW ARM HUMERUS RADIUS ULNA RADIUSULNA EXTREMITY UPPERLIMB
    LOWERLIMB AORTA RIB STERNUM STOMACH GALLBLADDER BILEDUCT ADRENAL PERITONEUM DUODENUM JEJUNUM ILEUM SMALLINTESTINE
    LARGEINTESTINE ESOPHAGUS
""")
"""The terms that tell that a volume ends below the face or is of a limb."""

HEAD_CODES = _words("""
    69536005 774007 12738006 89546000 45048000 89545001 91397008 81745001 371398005 79652003 80243003 363654007 2095001
    661005 117590005 28347008 25342003 22945000 361078006 84301002 60911003 59066005 42575006 1101003 113305005 70925003
    91609006 53620006 13881006 74386004 45206002 53342003 18962004 360955006 54066008 312535008 81502006 4596009
    123851003 21974007 38199008 48477009 60819002 49460000 41695006 45289007 54019009 5713008 385294005 55024004
    69105007 32062004 86117002 22286001 23074001 15672000 11279006 88556005 128320002 22688005 81727001 312779009
    69748006 122494005 1217257000 421060004 38266002 417437006 416152001 416319003 77621008
    T-D1100 T-D1000 T-D1600 T-A0100 T-11100 T-D1200 T-AA000 T-AB000 T-22000 T-D0010 T-11501
""")
"""SNOMED CT codes of Anatomic Region (PS3.16 CID 4 and those it names) that include or touch the face, and the
commonest of the older SNOMED RT. Where a code is none of these, the words of its meaning count.
"""

_HEAD_STEMS = _words("""
    head brain skull crani kopf schaedel schädel hirn gehirn cerveau crane crâne tete tête cabeza testa cerebr cérébr
    encephal enceph face facial facies neuro neck hals orbit eyes sinus jaw mandib maxil mastoid temporal petrous sella
    pituit hypophys nasal nose naso pharyn laryn parotid saliv tongue mouth dental denta teeth tooth scalp carotid
    willis cervic cspine whole vertex stroke epilep dementia alzheimer hippo mprage thyroid shoulder polytrauma trauma
    visage gesicht auge cuello hoofd hersen hjerne
""")
_HEAD_ABBREVIATIONS = _words("eye ear ears iac iam tmj tmd cow cou hn wb cns ent nnh hws tof c-spine cct mrb ctb")
_HEAD_CHARACTERS = "头頭脑腦颅顱脸臉面颈頸眼鼻耳口首脳"
_OTHER_STEMS = _words("""
    chest thora lung heart cardi coron abdom pelvi liver hepat kidney renal pancrea colon prostat uter breast mammo
    lumbar knee ankle wrist elbow thigh femur tibia extremit
""")
_HEAD_TEXT = re.compile(
    rf"(?<![^\W\d_])(?:(?:{'|'.join(sorted(_HEAD_STEMS))})|(?:{'|'.join(sorted(_HEAD_ABBREVIATIONS))})(?![^\W\d_]))"
    rf"|[{_HEAD_CHARACTERS}]|全身",
    re.IGNORECASE,
)
_OTHER_TEXT = re.compile(rf"(?<![^\W\d_])(?:{'|'.join(sorted(_OTHER_STEMS))})", re.IGNORECASE)

_MODALITY, _BODY_PART, _REGION, _CODE, _MEANING = 0x00080060, 0x00180015, 0x00082218, 0x00080100, 0x00080104
_GROUPS, _FRAME_ANATOMY = (0x52009229, 0x52009230), 0x00209071
_TEXTS = (0x00081030, 0x0008103E, 0x00181030, 0x00321060, 0x00400254)
"""Study, Series, Requested Procedure and Performed Procedure Step Description, and Protocol Name."""


def may_show_face(source: EncodedDataSet) -> Face:
    """What the identified data set says of one instance; its pixels are not looked at. See `face_by_name`."""
    regions = list(_regions(source.elements))
    return face_by_name(
        text_in(source.elements, _MODALITY),
        tuple(text_in(source.elements, _BODY_PART).split("\\")),
        tuple(text_in(region, _CODE) for region in regions),
        tuple(_readings(holder, tag) for holder, tag in _texts(source.elements, regions)),
    )


def _texts(elements: Elements, regions: list[Elements]) -> list[tuple[Elements, int]]:
    return [*((elements, tag) for tag in _TEXTS), *((region, _MEANING) for region in regions)]


@lru_cache(maxsize=1024)
def face_by_name(
    modality: str, body_parts: tuple[str, ...], region_codes: tuple[str, ...], texts: tuple[str, ...]
) -> Face:
    """Whether an instance may show a face, from Modality, Body Part Examined, code values of Anatomic Region and texts.

    A name of the head anywhere decides for it, since a body part is often set once for a whole study. Another part of
    the body, by term or by text, counts as `NONE` only where nothing speaks of the head.
    """
    if modality.strip().upper() not in VOLUMES:
        return Face.NONE
    parts = {term for part in body_parts if (term := re.sub(r"[\W_]+", "", part.upper()))}
    text = " ".join([*texts, *parts])
    if parts & HEAD_PARTS or {code.strip() for code in region_codes} & HEAD_CODES or _HEAD_TEXT.search(text):
        return Face.POSSIBLE
    known = parts <= OTHER_PARTS if parts else _OTHER_TEXT.search(text) is not None
    return Face.NONE if known else Face.UNKNOWN


def _readings(elements: Elements, tag: int) -> str:
    """A text in every character set in which it could name the head."""
    raw = elements[tag].raw if tag in elements else b""
    if raw.isascii():
        return raw.decode("ascii")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return " ".join(raw.decode(name, "replace") for name in ("latin-1", "gb18030", "big5", "shift_jis"))


def _regions(elements: Elements) -> Iterator[Elements]:
    """The items of Anatomic Region Sequence: of the data set, and of its shared and first functional groups."""
    yield from _items(elements, _REGION)
    for tag in _GROUPS:
        for group in _items(elements, tag)[:1]:
            for anatomy in _items(group, _FRAME_ANATOMY):
                yield from _items(anatomy, _REGION)


def _items(elements: Elements, tag: int) -> list[Elements]:
    return items_of(elements[tag]) if tag in elements else []
