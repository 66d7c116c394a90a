"""The words of the review sheet, in English and Chinese, side by side. The questions are in `questions.py`."""

from typing import NamedTuple


class Bilingual(NamedTuple):
    """One text in both languages."""

    en: str
    zh: str


PAGE: dict[str, Bilingual] = {
    "title": Bilingual("Blind review of images", "图像盲审"),
    "about": Bilingual(
        "Some of these images are scans, others were made by a computer model. Which is which is not in this file. "
        "Answer from what you see. Nothing is sent anywhere: at the end you save a file and hand it in.",
        "这些图像中有些是真实扫描，有些由计算机模型生成；本文件不包含答案。请根据所见作答。"
        "本页面不会发送任何数据：完成后请保存文件并提交。",
    ),
    "keys": Bilingual(
        "Keys: 1–9 answer the next open question, ← → change the image, L shows the labels, Backspace takes the last "
        "answer of this image back.",
        "快捷键：1–9 回答下一个未答问题，← → 切换图像，L 显示标注，退格键撤销本图最近一次作答。",
    ),
    "image": Bilingual("Image", "图像"),
    "labels": Bilingual("Show labels (L)", "显示标注 (L)"),
    "structures": Bilingual("Labelled structures", "标注的结构"),
    "wrong": Bilingual(
        "Tick each structure whose anatomy is wrong (form, size, place, side, missing, doubled).",
        "请勾选解剖有误的结构（形态、大小、位置、左右、缺失、重复）。",
    ),
    "comment": Bilingual("Comment (optional, no names)", "备注（可选，请勿填写姓名）"),
    "previous": Bilingual("Previous", "上一幅"),
    "next": Bilingual("Next", "下一幅"),
    "done": Bilingual("answered", "已作答"),
    "finish": Bilingual("Decision and signature", "结论与签名"),
    "decision": Bilingual("Your decision on this model version for this use", "您对该模型版本用于此用途的结论"),
    "use": Bilingual("Intended use", "预期用途"),
    "no_use": Bilingual("not stated by this installation", "本系统未说明"),
    "secret": Bilingual("Your secret (starts with mrk-)", "您的密钥（以 mrk- 开头）"),
    "secret_note": Bilingual(
        "It signs the file within this page. It is not stored and not written into the file.",
        "密钥仅在本页面内用于签名，不会被保存，也不会写入文件。",
    ),
    "save": Bilingual("Sign and save the verdict", "签名并保存评审结果"),
    "make": Bilingual("I have no secret yet: make one", "我还没有密钥：生成一个"),
    "made": Bilingual(
        "Keep the secret where only you can read it; it is shown now and never again. Give the public key to whoever "
        "keeps the roster.",
        "请将密钥保存在只有您能看到的地方；它只在此时显示一次。请将公钥交给评审名册的管理者。",
    ),
    "public": Bilingual("Public key", "公钥"),
    "clear": Bilingual("Delete the draft from this browser", "从本浏览器删除草稿"),
    "sure": Bilingual("Delete all answers of this sheet?", "删除本评审表的所有作答？"),
    "kept": Bilingual("Answers are kept as a draft in this browser.", "作答以草稿形式保存在本浏览器中。"),
    "not_kept": Bilingual(
        "This browser keeps no draft: finish in one go and do not close the page.",
        "本浏览器无法保存草稿：请一次完成，不要关闭页面。",
    ),
    "open": Bilingual("Still open: images {images}.", "尚未完成的图像：{images}。"),
    "undecided": Bilingual("Choose a decision.", "请选择结论。"),
    "mistyped": Bilingual(
        "The secret is mistyped or cut off: copy it again in full.", "密钥输入有误或不完整：请重新完整复制。"
    ),
    "saved": Bilingual(
        "Saved as {name}. Hand this file in unchanged; any change makes it void.",
        "已保存为 {name}。请原样提交；任何改动都会使其无效。",
    ),
    "language": Bilingual("Language", "语言"),
    "warning": Bilingual("Contains AI-generated images. Not for diagnosis.", "含人工智能生成的图像，不可用于诊断。"),
}
