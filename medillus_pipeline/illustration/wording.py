"""The fixed words of figures and galleries, in English and Chinese, side by side. Nothing that depends on a request."""

from typing import NamedTuple


class Bilingual(NamedTuple):
    """One text in both languages."""

    en: str
    zh: str


GENERATED = Bilingual("AI-generated, not for diagnosis", "人工智能生成，不可用于诊断")
SCAN = {
    "annotator": Bilingual(
        "Real de-identified scan, labels by an annotator, not for diagnosis",
        "真实去标识扫描图像，标注来自标注者，不可用于诊断",
    ),
    "organ_segmenter": Bilingual(
        "Real de-identified scan, labels by a segmentation model, not for diagnosis",
        "真实去标识扫描图像，标注来自分割模型，不可用于诊断",
    ),
}

LEGEND = {
    "structure": Bilingual("Structure", "结构"),
    "code": Bilingual("SNOMED CT", "SNOMED CT"),
    "confidence": Bilingual("Confidence*", "置信度*"),
    "unknown": Bilingual("n/a", "无"),
    "pathology": Bilingual("Pathology", "疾病"),
    "icd11": Bilingual("ICD-11", "ICD-11"),
    "answers": Bilingual("Answers", "答案"),
}
QUIZ = Bilingual("Name the numbered structures.", "请说出编号结构的名称。")
FOOTNOTE = Bilingual(
    "* Agreement of a segmenter with the requested structure (mean probability × Dice), uncalibrated.",
    "* 分割模型与所请求结构的一致程度（平均概率 × Dice），未经校准。",
)
FOOTNOTE_CALIBRATED = Bilingual(
    "* Probability that an independent segmenter finds the structure where it is drawn (Dice of at least {dice}), "
    "calibrated on other patients.",
    "* 独立分割模型在图示位置找到该结构（Dice 不低于 {dice}）的概率，已用其他患者的数据校准。",
)
CROWDED = Bilingual("{count} small structures appear in the legend only.", "另有{count}个小结构仅列于图例。")

PLANES = {
    "axial": Bilingual("Axial", "横断面"),
    "coronal": Bilingual("Coronal", "冠状面"),
    "sagittal": Bilingual("Sagittal", "矢状面"),
}
MODALITIES = {
    "CT": Bilingual("CT", "CT"),
    "MR": Bilingual("MRI", "磁共振成像"),
    "PT": Bilingual("PET", "正电子发射断层成像"),
    "US": Bilingual("Ultrasound", "超声"),
    "CR": Bilingual("Radiograph", "X线摄影"),
    "DX": Bilingual("Radiograph", "X线摄影"),
}
# Defined terms of BodyPartExamined, DICOM PS3.16 annex L, and the spellings that scanners use for the same.
BODY_PARTS = {
    "ABDOMEN": Bilingual("Abdomen", "腹部"),
    "BRAIN": Bilingual("Brain", "脑"),
    "BREAST": Bilingual("Breast", "乳腺"),
    "CHEST": Bilingual("Chest", "胸部"),
    "CHESTABDOMEN": Bilingual("Chest and abdomen", "胸腹部"),
    "CHESTABDPELVIS": Bilingual("Chest, abdomen and pelvis", "胸腹盆部"),
    "ABDOMENPELVIS": Bilingual("Abdomen and pelvis", "腹盆部"),
    "CSPINE": Bilingual("Cervical spine", "颈椎"),
    "EXTREMITY": Bilingual("Extremity", "四肢"),
    "HEAD": Bilingual("Head", "头部"),
    "HEADNECK": Bilingual("Head and neck", "头颈部"),
    "HEART": Bilingual("Heart", "心脏"),
    "HIPPOCAMPUS": Bilingual("Hippocampus", "海马"),
    "KIDNEY": Bilingual("Kidney", "肾"),
    "LIVER": Bilingual("Liver", "肝"),
    "LSPINE": Bilingual("Lumbar spine", "腰椎"),
    "LUNG": Bilingual("Lung", "肺"),
    "NECK": Bilingual("Neck", "颈部"),
    "PELVIS": Bilingual("Pelvis", "盆部"),
    "SPINE": Bilingual("Spine", "脊柱"),
    "THORAX": Bilingual("Thorax", "胸部"),
    "TORSO": Bilingual("Torso", "躯干"),
    "TSPINE": Bilingual("Thoracic spine", "胸椎"),
    "WHOLEBODY": Bilingual("Whole body", "全身"),
}

LEVEL = Bilingual("level {level} of the scanned range, feet to head", "位于扫描范围（足至头）的{level}处")
WINDOW = Bilingual("window centre {center} HU, width {width} HU", "窗位 {center} HU，窗宽 {width} HU")
WINDOW_PLAIN = Bilingual("window centre {center}, width {width}", "窗位 {center}，窗宽 {width}")
MADE_BY = Bilingual(
    "Drawn by {model} version {version} from the label map of slice {slice}.",
    "由 {model} 第 {version} 版依据切片 {slice} 的标注图生成。",
)
MADE_BY_REQUEST = Bilingual(
    "Drawn by {model} version {version} from {slice}.", "由 {model} 第 {version} 版依据 {slice} 生成。"
)
TAKEN_FROM = Bilingual("Slice {slice} as scanned.", "切片 {slice} 的扫描原图。")

WINDOW_SHORT = Bilingual("{modality}, W {width} L {center}{unit}", "{modality}，窗宽{width} 窗位{center}{unit}")
LINE = Bilingual("Figure {figure}{model}.", "图 {figure}{model}。")
LINE_MODEL = Bilingual(", model version {version}", "，模型第 {version} 版")

PATIENT = {
    "title": Bilingual("{modality} picture of the {part}", "{part}{modality}图像"),
    "body": Bilingual("body", "身体"),
    "axial": Bilingual("A slice across the body, seen from the feet.", "身体的横断面，从足部方向观察。"),
    "coronal": Bilingual("A slice through the body, seen from the front.", "身体的纵断面，从前方观察。"),
    "sagittal": Bilingual("A slice through the body, seen from the side.", "身体的纵断面，从侧面观察。"),
    "mirrored": Bilingual("The left of the picture is the right of the body.", "图像的左侧是身体的右侧。"),
    "red": Bilingual("What is ill is red.", "病变部位以红色显示。"),
    "nobody": Bilingual(
        "A computer drew this picture: it shows nobody's own body.", "本图由计算机生成，并非任何人的真实身体。"
    ),
}
PLAIN_PARTS = {
    "ABDOMEN": Bilingual("belly", "腹部"),
    "ABDOMENPELVIS": Bilingual("belly and hips", "腹部和盆部"),
    "PELVIS": Bilingual("hips", "盆部"),
    "THORAX": Bilingual("chest", "胸部"),
    "LSPINE": Bilingual("lower back", "腰部"),
    "CSPINE": Bilingual("neck", "颈部"),
    "TORSO": Bilingual("trunk", "躯干"),
}

SUMMARY = {
    "title": Bilingual("Summary of {count} slices", "{count} 个切片摘要"),
    "slice": Bilingual("Slice", "切片"),
    "area": Bilingual("Area", "面积"),
    "diameter": Bilingual("Greatest diameter", "最大径"),
    "measured": Bilingual(
        "Area and greatest diameter are measured in the plane of each slice, from labels on pixels of {mm} mm; of a "
        "structure in several parts, the diameter is that of the widest part.",
        "面积和最大径在各切片平面内由标注图测得，像素大小 {mm} 毫米；结构分为多部分时，最大径取最宽的一部分。",
    ),
}

GALLERY = {
    "title": Bilingual("Labelled illustrations", "标注图集"),
    "search": Bilingual("Search structures, body parts, names", "搜索结构、部位、名称"),
    "figures": Bilingual("{count} figures", "共 {count} 幅"),
    "none": Bilingual("No figure matches.", "没有匹配的图。"),
    "image": Bilingual("Image (PNG)", "图像 (PNG)"),
    "drawing": Bilingual("Drawing (SVG)", "矢量图 (SVG)"),
    "provenance": Bilingual("Provenance (JSON)", "来源信息 (JSON)"),
}


def body_part(term: str | None, *, plain: bool = False) -> Bilingual | None:
    """The names of a BodyPartExamined value; an unknown term stands for itself, an absent one gives None.

    `plain` prefers words that patients use.
    """
    if not term or not term.strip():
        return None
    key = term.upper().replace(" ", "").replace("_", "").replace("-", "")
    known = (PLAIN_PARTS.get(key) if plain else None) or BODY_PARTS.get(key)
    return known or Bilingual(term.strip().capitalize(), term.strip())


def modality(term: str) -> Bilingual:
    """The names of a DICOM Modality; an unknown term stands for itself."""
    return MODALITIES.get(term.upper(), Bilingual(term, term))


def every_text() -> list[str]:
    """All of the above, for the typeface's coverage."""
    tables: tuple[dict[str, Bilingual], ...] = (
        *(SCAN, LEGEND, PLANES, MODALITIES, BODY_PARTS, GALLERY),
        *(PATIENT, PLAIN_PARTS, SUMMARY),
    )
    singles = (
        *(
            GENERATED,
            FOOTNOTE,
            FOOTNOTE_CALIBRATED,
            CROWDED,
            LEVEL,
            WINDOW,
            WINDOW_PLAIN,
            MADE_BY,
            MADE_BY_REQUEST,
            TAKEN_FROM,
        ),
        *(QUIZ, WINDOW_SHORT, LINE, LINE_MODEL),
    )
    return [text for pair in [*singles, *(p for t in tables for p in t.values())] for text in pair]
