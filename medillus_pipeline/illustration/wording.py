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
}
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
TAKEN_FROM = Bilingual("Slice {slice} as scanned.", "切片 {slice} 的扫描原图。")

GALLERY = {
    "title": Bilingual("Labelled illustrations", "标注图集"),
    "search": Bilingual("Search structures, body parts, names", "搜索结构、部位、名称"),
    "figures": Bilingual("{count} figures", "共 {count} 幅"),
    "none": Bilingual("No figure matches.", "没有匹配的图。"),
    "image": Bilingual("Image (PNG)", "图像 (PNG)"),
    "drawing": Bilingual("Drawing (SVG)", "矢量图 (SVG)"),
    "provenance": Bilingual("Provenance (JSON)", "来源信息 (JSON)"),
}


def body_part(term: str | None) -> Bilingual | None:
    """The names of a BodyPartExamined value; an unknown term stands for itself, an absent one gives None."""
    if not term or not term.strip():
        return None
    known = BODY_PARTS.get(term.upper().replace(" ", "").replace("_", "").replace("-", ""))
    return known or Bilingual(term.strip().capitalize(), term.strip())


def modality(term: str) -> Bilingual:
    """The names of a DICOM Modality; an unknown term stands for itself."""
    return MODALITIES.get(term.upper(), Bilingual(term, term))


def every_text() -> list[str]:
    """All of the above, for the typeface's coverage."""
    tables: tuple[dict[str, Bilingual], ...] = (SCAN, LEGEND, PLANES, MODALITIES, BODY_PARTS, GALLERY)
    singles = (GENERATED, FOOTNOTE, FOOTNOTE_CALIBRATED, CROWDED, LEVEL, WINDOW, WINDOW_PLAIN, MADE_BY, TAKEN_FROM)
    return [text for pair in [*singles, *(p for t in tables for p in t.values())] for text in pair]
