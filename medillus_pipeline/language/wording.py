"""The words of a request that no table of structures or diseases has: modalities, planes, sizes, absence, fillers.

One line a meaning, English and Chinese together, written as people write them; forms that differ in case, hyphens,
plural or traditional characters need no line of their own. What is not here: the names of structures
(`annotation/vocabulary.csv`), pathologies and phases (`annotation/study/pathology.py`) and regions
(`generation/body_regions.py`).
"""

Lines = dict[str, tuple[str, ...]]

MODALITIES: Lines = {
    "CT": ("CT", "computed tomography", "CT scan", "计算机断层扫描", "电子计算机断层"),
    "MR": ("MRI", "MR", "magnetic resonance", "magnetic resonance imaging", "磁共振", "核磁共振", "核磁", "磁共振成像"),
    "DX": ("X-ray", "xray", "XR", "plain film", "radiograph", "radiography", "X线", "X光", "X线片", "X光片", "平片"),
    "US": ("ultrasound", "ultrasonography", "sonogram", "US scan", "超声", "B超", "彩超"),
    "PT": ("PET", "positron emission tomography", "正电子发射断层"),
    "MG": ("mammography", "mammogram", "钼靶", "乳腺X线"),
}
"""Values of Modality (0008,0060), PS3.3 C.7.3.1.1.1."""

SEQUENCES: Lines = {
    "T1": ("T1-weighted", "T1w", "T1WI", "T1加权", "T1加权像"),
    "T2": ("T2-weighted", "T2w", "T2WI", "T2加权", "T2加权像"),
    "FLAIR": ("FLAIR", "T2-FLAIR"),
    "DWI": ("DWI", "diffusion-weighted", "弥散加权", "扩散加权"),
}

PLANES: Lines = {
    "axial": ("axial", "transverse", "transaxial", "横断面", "轴位", "轴面", "横断位", "轴状位", "横轴位"),
    "coronal": ("coronal", "冠状位", "冠状面"),
    "sagittal": ("sagittal", "矢状位", "矢状面"),
}

BODY_PARTS: Lines = {
    "HEAD": ("head", "cranial", "头部", "头颅", "头"),
    "NECK": ("neck", "cervical", "颈部", "颈"),
    "HEADNECK": ("head and neck", "head-neck", "头颈部", "头颈"),
    "CHEST": ("chest", "thorax", "thoracic", "胸部", "胸"),
    "ABDOMEN": ("abdomen", "abdominal", "腹部", "腹"),
    "CHESTABDOMEN": ("chest and abdomen", "thoracoabdominal", "chest-abdomen", "胸腹部", "胸腹"),
    "PELVIS": ("pelvis", "pelvic", "盆腔", "骨盆", "盆部"),
    "ABDOMENPELVIS": ("abdomen and pelvis", "abdominopelvic", "abdomen-pelvis", "腹盆腔", "腹盆部"),
}
"""Values of Body Part Examined (0018,0015), PS3.16 annex L, each with what is named by it."""

PARTS_WITHIN: Lines = {
    "HEADNECK": ("HEAD", "NECK"),
    "CHESTABDOMEN": ("CHEST", "ABDOMEN"),
    "ABDOMENPELVIS": ("ABDOMEN", "PELVIS"),
}
"""Body parts that a wider one holds; two of them named together are the wider one."""

CHEST_FILMS = ("chest X-ray", "chest radiograph", "CXR", "胸片", "胸部X线", "胸部X光片", "胸部平片")

PHASES: Lines = {
    "none": ("non-contrast", "noncontrast", "unenhanced", "without contrast", "no contrast", "平扫", "平扫期"),
    "arterial": ("arterial", "动脉"),
    "portal_venous": ("portal", "portal venous", "门脉期", "门脉", "门静脉"),
    "contrast_phase_unknown": ("contrast-enhanced", "with contrast", "contrast enhanced", "CECT", "增强", "增强扫描"),
}
"""Further names of contrast phases. What is alone a vessel's name counts with "phase" (期) only."""

PHASE_WORD = (" phase", "期", "相")
NEEDS_PHASE_WORD = frozenset({"arterial", "动脉", "portal", "门静脉", "门脉", "venous", "delayed"})

SYNONYMS: Lines = {
    "ischaemic_stroke": ("脑梗死", "脑梗塞", "缺血性脑梗死", "缺血性卒中", "cerebral infarction"),
    "intracerebral_haemorrhage": ("颅内出血", "cerebral haemorrhage"),
    "liver_fibrosis_or_cirrhosis": ("cirrhosis", "liver cirrhosis", "liver fibrosis", "肝硬化", "肝纤维化"),
    "fatty_liver": ("fatty liver", "hepatic steatosis", "脂肪肝"),
    "gallstones": ("cholelithiasis", "gallbladder stones", "胆囊结石", "胆结石"),
    "cholecystitis": ("cholecystitis",),
    "aortic_aneurysm_or_dissection": ("aortic aneurysm", "aortic dissection", "主动脉瘤", "主动脉夹层"),
    "pulmonary_collapse": ("atelectasis", "lung collapse"),
    "copd": ("COPD", "慢阻肺"),
    "pulmonary_embolism": ("PE", "肺动脉栓塞"),
    "kidney_cyst": ("renal cyst",),
    "liver_cyst": ("hepatic cyst",),
    "bronchiectasis": ("支气管扩张",),
    "crohn_disease": ("Crohn's disease", "Crohns disease"),
    "alzheimer_disease": ("Alzheimer's disease", "阿尔茨海默症"),
    "liver_metastasis": ("hepatic metastasis", "肝转移"),
    "lung_metastasis": ("pulmonary metastasis", "肺转移"),
    "brain_metastasis": ("cerebral metastasis", "脑转移"),
    "lung_nodule": ("pulmonary nodule",),
    "tuberculosis_respiratory": ("pulmonary tuberculosis",),
    "brain_tumour": ("brain tumour", "脑肿瘤"),
}
"""Further names of pathologies of the table, by its keys."""

ADJECTIVES: Lines = {
    "liver": ("hepatic",),
    "spleen": ("splenic",),
    "kidneys": ("renal",),
    "pancreas": ("pancreatic",),
    "heart": ("cardiac", "心影"),
    "stomach": ("gastric",),
    "lungs": ("pulmonary", "肺"),
    "brain": ("cerebral",),
    "urinary_bladder": ("vesical",),
    "kidneys ": ("肾", "肾脏"),
    "spine": ("脊椎",),
    "mandible": ("下颌",),
}
"""Further names of structures, by key (a space after it starts another line of the same)."""

ENLARGED = (
    "enlarged",
    "enlargement",
    "big",
    "bigger",
    "large",
    "larger",
    "swollen",
    "增大",
    "肿大",
    "变大",
    "扩大",
    "大",
)
SMALL = ("small", "smaller", "atrophic", "atrophy", "atrophied", "shrunken", "缩小", "萎缩", "变小", "偏小", "小")
USUAL_SIZE = ("normal", "normal size", "normal-sized", "正常", "大小正常", "not enlarged", "不大", "无增大", "未见增大")
SLIGHTLY = ("slightly", "mildly", "mild", "minimally", "轻度", "轻微", "稍", "略")
MARKEDLY = ("markedly", "severely", "severe", "massively", "massive", "grossly", "重度", "明显", "显著", "巨大")

ENLARGED_BY = {"slight": 1.25, "": 1.5, "marked": 2.0}
SHRUNKEN_TO = {"slight": 0.8, "": 2 / 3, "marked": 0.5}
"""Area in the slice over the usual one, where the sentence gives no figure: ours, and always told to the person."""

LEAST_FACTOR, GREATEST_FACTOR = 0.2, 4.0
LEAST_MM, GREATEST_MM = 2.0, 600.0

STATED_FACTORS: dict[float, tuple[str, ...]] = {
    2.0: ("twice as large", "twice the size", "doubled", "double-sized", "增大一倍", "增大1倍", "增大两倍"),
    0.5: ("half the size", "half-sized", "halved", "half as large", "缩小一半"),
}

COMPOUNDS: dict[tuple[str, ...], tuple[tuple[str, ...], str]] = {
    ("cardiomegaly", "心脏肥大"): (("heart",), "enlarged"),
    ("splenomegaly",): (("spleen",), "enlarged"),
    ("hepatomegaly",): (("liver",), "enlarged"),
    ("hepatosplenomegaly",): (("liver", "spleen"), "enlarged"),
    ("nephromegaly",): (("kidneys",), "enlarged"),
    ("splenectomy", "asplenia"): (("spleen",), "absent"),
    ("cholecystectomy",): (("gallbladder",), "absent"),
    ("gastrectomy",): (("stomach",), "absent"),
}
"""One word that names a structure and says something of it."""

WITHOUT = (
    "without",
    "no",
    "not",
    "except",
    "lacking",
    "lacks",
    "minus",
    "不要",
    "没有",
    "不含",
    "无",
    "未见",
    "缺少",
    "除外",
)
ABSENT = ("absent", "missing", "removed", "resected", "not seen", "not visible", "absence of", "agenesis of")
ABSENT_ZH = ("缺如", "缺失", "切除", "切除术后", "已切除", "未见显示", "未显示", "不可见", "未见")

ONLY = ("only", "just", "只要", "仅", "仅有", "只有")
SIDES: Lines = {
    "left": ("left", "left-sided", "左侧", "左"),
    "right": ("right", "right-sided", "右侧", "右"),
    "both": ("bilateral", "both", "双侧", "两侧", "双"),
}

REGION_FORMS: Lines = {
    "upper abdomen": ("upper abdominal", "epigastric"),
    "mid abdomen": ("mid-abdominal", "中腹"),
    "lower abdomen": ("lower abdominal",),
}
"""Further names of regions of the body, by a name that `body_regions.REGIONS` has."""

UNITS_MM = {"mm": 1.0, "毫米": 1.0, "cm": 10.0, "厘米": 10.0, "公分": 10.0}
PER_CENT = ("%", "percent", "per cent")
TIMES = ("x", "times", "fold", "倍")
UP_TO = ("to", "到", "至")

DISEASE_ENDINGS = ("炎", "癌", "瘤", "症", "病", "石", "硬")
"""A structure right before one of these is part of a disease's name, and not asked for by itself."""

LEVEL_BEFORE = (
    "at the level of",
    "at level of",
    "at the height of",
    "on the level of",
    "level of",
    "through the",
    "through",
    "at level",
    "at",
    "level",
    "水平",
    "层面",
)
LEVEL_AFTER = ("level", "水平", "层面", "平面")

STAGE_WORDS = ("stage", "staging", "分期")
JOINERS = ("and", "or", "和", "与", "及", "或", "、", "&", "+", "以及", "nor")
BREAKS = (",", ";", "with", "but", "plus", "伴", "伴有", "合并", "但", "while", "whereas")
FILLERS = (
    *("a", "an", "the", "of", "in", "on", "is", "are", "be", "to", "for", "this", "that", "its", "there", "has"),
    *("image", "picture", "figure", "scan", "slice", "view", "section", "illustration", "plane", "study", "exam"),
    *("show", "showing", "shows", "shown", "see", "seen", "please", "draw", "drawing", "generate", "make", "me"),
    *("appearance", "finding", "findings", "feature", "features", "imaging", "patient", "typical", "phase", "give"),
    *("size", "sized", "length", "long", "diameter", "by", "about", "have"),
    *("长径", "直径", "径", "长", "的", "在", "有", "示", "显示", "可见", "见", "请", "画", "生成", "绘制", "了", "期"),
    *("一张", "一幅", "一个", "图", "图像", "影像", "表现", "影像表现", "患者", "病人", "扫描", "检查", "处", "为"),
    *("呈", "片", "到", "至", "约", "(", ")", "!", "?", "/", ":", '"', "'"),
)
"""Words that change nothing."""
