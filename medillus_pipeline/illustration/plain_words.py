"""Names that patients know, in English and Chinese. Structures without one keep the vocabulary's name."""

import re

from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.illustration.wording import Bilingual

NAMES = {
    "liver": Bilingual("liver", "肝脏"),
    "spleen": Bilingual("spleen", "脾脏"),
    "pancreas": Bilingual("pancreas", "胰腺"),
    "esophagus": Bilingual("food pipe", "食管"),
    "trachea": Bilingual("windpipe", "气管"),
    "thyroid_gland": Bilingual("thyroid gland in the neck", "甲状腺"),
    "duodenum": Bilingual("first part of the small bowel", "十二指肠（小肠起始部）"),
    "colon": Bilingual("large bowel", "大肠"),
    "urinary_bladder": Bilingual("bladder", "膀胱"),
    "sacrum": Bilingual("base of the spine", "骶骨（脊柱底部）"),
    "heart": Bilingual("heart", "心脏"),
    "aorta": Bilingual("main artery", "主动脉"),
    "inferior_vena_cava": Bilingual("main vein", "下腔静脉（大静脉）"),
    "superior_vena_cava": Bilingual("main vein of the chest", "上腔静脉（大静脉）"),
    "portal_vein_and_splenic_vein": Bilingual("vein to the liver", "通向肝脏的静脉"),
    "pulmonary_vein": Bilingual("vein from the lungs", "肺静脉"),
    "pulmonary_artery": Bilingual("artery to the lungs", "肺动脉"),
    "sternum": Bilingual("breastbone", "胸骨"),
    "costal_cartilages": Bilingual("rib cartilage", "肋软骨"),
    "spine": Bilingual("spine", "脊柱"),
    "skull": Bilingual("skull", "颅骨"),
    "brain": Bilingual("brain", "大脑"),
    "brainstem": Bilingual("brain stem", "脑干"),
    "larynx": Bilingual("voice box", "喉（发声器官）"),
    "mandible": Bilingual("lower jaw", "下颌骨（下巴）"),
    "spinal_cord": Bilingual("spinal cord", "脊髓"),
    "pharynx": Bilingual("throat", "咽喉"),
    "rectum": Bilingual("end of the large bowel", "直肠（大肠末端）"),
    "uterus": Bilingual("womb", "子宫"),
    "tumor": Bilingual("growth", "肿块"),
    "mass": Bilingual("growth", "肿块"),
    "lesion": Bilingual("area of concern", "异常区域"),
    "liver_tumor": Bilingual("growth in the liver", "肝脏肿块"),
    "lung_tumor": Bilingual("growth in the lung", "肺部肿块"),
    "kidney_tumor": Bilingual("growth in the kidney", "肾脏肿块"),
    "pancreas_tumor": Bilingual("growth in the pancreas", "胰腺肿块"),
    "colon_tumor": Bilingual("growth in the large bowel", "大肠肿块"),
    "brain_tumor": Bilingual("growth in the brain", "脑部肿块"),
    "liver_cyst": Bilingual("fluid-filled bubble in the liver", "肝脏囊肿（含液小泡）"),
    "kidney_cyst_left": Bilingual("fluid-filled bubble in the left kidney", "左肾囊肿（含液小泡）"),
    "kidney_cyst_right": Bilingual("fluid-filled bubble in the right kidney", "右肾囊肿（含液小泡）"),
    "cyst": Bilingual("fluid-filled bubble", "囊肿（含液小泡）"),
    "nodule": Bilingual("small lump", "小结节"),
    "metastasis": Bilingual("spread of the growth", "转移的肿块"),
    "edema": Bilingual("swelling", "水肿"),
    "necrosis": Bilingual("dead tissue", "坏死组织"),
    "hemorrhage": Bilingual("bleeding", "出血"),
    "intracerebral_hemorrhage": Bilingual("bleeding in the brain", "脑出血"),
    "pleural_effusion": Bilingual("fluid around the lung", "肺周围积液"),
    "pericardial_effusion": Bilingual("fluid around the heart", "心脏周围积液"),
    "infiltrate": Bilingual("inflamed lung", "肺部炎症"),
    "gtv": Bilingual("growth to be treated", "需要治疗的肿块"),
    "ctv": Bilingual("area to be treated", "需要治疗的区域"),
    "ptv": Bilingual("area to be treated", "需要治疗的区域"),
    "lung_nodule": Bilingual("small lump in the lung", "肺部小结节"),
    "abscess": Bilingual("pocket of pus", "脓肿（脓腔）"),
    "thrombus": Bilingual("blood clot", "血凝块"),
    "calcification": Bilingual("chalk deposit", "钙化"),
}
"""Vocabulary key → plain name."""

_PARTS = {
    r"vertebrae_.*": Bilingual("bone of the spine", "脊椎骨"),
    r"rib_.*|ribs": Bilingual("rib", "肋骨"),
    r"lung_.*left": Bilingual("left lung", "左肺"),
    r"lung_.*right": Bilingual("right lung", "右肺"),
    r"autochthon_.*": Bilingual("back muscle", "背部肌肉"),
    r"iliopsoas_.*": Bilingual("hip muscle", "髋部肌肉"),
    r"gluteus_.*": Bilingual("buttock muscle", "臀部肌肉"),
    r"hip_.*": Bilingual("hip bone", "髋骨"),
    r"femur_.*": Bilingual("thigh bone", "大腿骨"),
    r"clavicula_.*": Bilingual("collarbone", "锁骨"),
    r"scapula_.*": Bilingual("shoulder blade", "肩胛骨"),
    r"humerus_.*": Bilingual("upper arm bone", "上臂骨"),
    r"iliac_artery_.*": Bilingual("artery to the leg", "腿部动脉"),
    r"iliac_vena_.*": Bilingual("vein of the leg", "腿部静脉"),
    r"parotid_gland_left": Bilingual("left saliva gland", "左侧唾液腺（腮腺）"),
    r"parotid_gland_right": Bilingual("right saliva gland", "右侧唾液腺（腮腺）"),
    r"submandibular_gland_left": Bilingual("left saliva gland under the jaw", "左侧下颌下唾液腺"),
    r"submandibular_gland_right": Bilingual("right saliva gland under the jaw", "右侧下颌下唾液腺"),
}


def plain_name(structure: Structure) -> Bilingual:
    """The plain name of a structure, else its own."""
    if structure.key in NAMES:
        return NAMES[structure.key]
    found = next((name for pattern, name in _PARTS.items() if re.fullmatch(pattern, structure.key)), None)
    return found or Bilingual(structure.name_en, structure.name_zh)


def every_text() -> list[str]:
    """All of the above, for the typeface's coverage."""
    return [text for name in (*NAMES.values(), *_PARTS.values()) for text in name]
