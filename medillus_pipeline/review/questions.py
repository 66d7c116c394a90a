"""What reviewers are asked about each image, and the closed lists of answers. The sheet and the verdict share them."""

from dataclasses import dataclass

from medillus_pipeline.review.wording import Bilingual

MAXIMUM_COMMENT = 500
"""Characters of a comment on one image."""


@dataclass(frozen=True)
class Question:
    """A question with its answers: value in files and tables → words. `scale` answers are ordered, least first."""

    key: str
    text: Bilingual
    answers: dict[str, Bilingual]
    scale: bool = False


ANATOMY = Question(
    "anatomy",
    Bilingual("Is the anatomy correct?", "解剖是否正确？"),
    {
        "1": Bilingual("impossible", "不可能"),
        "2": Bilingual("serious faults", "严重错误"),
        "3": Bilingual("minor faults", "轻微错误"),
        "4": Bilingual("nearly correct", "基本正确"),
        "5": Bilingual("correct", "正确"),
    },
    scale=True,
)
REALISM = Question(
    "realism",
    Bilingual("How realistic is the image?", "图像有多真实？"),
    {
        "1": Bilingual("clearly artificial", "明显人工"),
        "2": Bilingual("rather artificial", "偏人工"),
        "3": Bilingual("in between", "介于两者之间"),
        "4": Bilingual("rather real", "偏真实"),
        "5": Bilingual("like a scan", "如同扫描"),
    },
    scale=True,
)
LABELS = Question(
    "labels",
    Bilingual("Do the labels fit the image?", "标注与图像是否相符？"),
    {
        "yes": Bilingual("yes", "是"),
        "no": Bilingual("no", "否"),
        "unsure": Bilingual("cannot tell", "无法判断"),
    },
)
ORIGIN = Question(
    "origin",
    Bilingual("Real scan or generated?", "真实扫描还是生成图像？"),
    {
        "real": Bilingual("real", "真实"),
        "generated": Bilingual("generated", "生成"),
        "unsure": Bilingual("cannot tell", "无法判断"),
    },
)
QUESTIONS = (ANATOMY, REALISM, LABELS, ORIGIN)
ORIGINS = ("real", "generated")
"""What an image is in truth."""

DECISIONS: dict[str, Bilingual] = {
    "approve": Bilingual("I approve it", "批准"),
    "reject": Bilingual("I reject it", "不批准"),
    "abstain": Bilingual("no decision, answers only", "不作结论，仅提交作答"),
}
