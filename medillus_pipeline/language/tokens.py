"""A sentence as comparable pieces: words, numbers, Chinese characters and marks, each with its place in the original.

Full-width letters become narrow (Unicode NFKC), case goes, traditional characters of anatomy become simplified,
British spellings of Greek words become American, and underscores, hyphens and dots part words. What is not here: what
the pieces mean.
"""

import re
import unicodedata
from dataclasses import dataclass

TRADITIONAL = str.maketrans(
    "腎膽臟葉間質動靜脈門縮無與層體頭頸腦顱顎頜頷顳髖腸腫擴張個圖顯異單雙側連續軀幹鎖臍節結狀橫軸視網淚頂"
    "溝彎長徑釐輕積氣總聲電腳區約變現壓縱術後見當圍關窩膿鈣轉輸陰莖強遲時掃闌潰瘍纖維塊軟髕脛橈經導夾屬斷",
    "肾胆脏叶间质动静脉门缩无与层体头颈脑颅颌颌颔颞髋肠肿扩张个图显异单双侧连续躯干锁脐节结状横轴视网泪顶"
    "沟弯长径厘轻积气总声电脚区约变现压纵术后见当围关窝脓钙转输阴茎强迟时扫阑溃疡纤维块软髌胫桡经导夹属断",
)

_PIECE = re.compile(
    r"\d+(?:\.\d+)?(?=cm|mm|x(?![a-z])|[^a-z0-9]|$)|(?<![\d.])\.\d+"
    r"|[a-z0-9]{4}\.[0-9][a-z0-9]*|[a-z0-9]+|[^\s_\-.a-z0-9]"
)
_SPELLINGS = (("haem", "hem"), ("oedem", "edem"), ("oesoph", "esoph"), ("tumour", "tumor"), ("ischaem", "ischem"))
_ASIDE = {"。": ";", "；": ";", "、": "、", "∙": " ", "·": " "}


@dataclass(frozen=True)
class Token:
    """A piece of the sentence: `word` as compared, `start` and `end` in the original text."""

    word: str
    start: int
    end: int

    @property
    def latin(self) -> bool:
        """Whether it is written in Latin letters or digits."""
        return self.word.isascii() and self.word.isalnum()

    @property
    def number(self) -> float | None:
        """Its value, where it is a number."""
        return float(self.word) if re.fullmatch(r"\d*\.?\d+", self.word) else None


def tokens_of(text: str) -> list[Token]:
    """The pieces in order; what stands between them is spaces, hyphens, underscores, dots and control characters."""
    folded: list[str] = []
    origin: list[int] = []
    for place, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
            normal = " "
        else:
            normal = unicodedata.normalize("NFKC", character).casefold().translate(TRADITIONAL)
            if len(_PIECE.findall(normal)) > 1:  # a fraction is one sign, not its three parts
                normal = character
        normal = "".join(_ASIDE.get(each, each) for each in normal)
        folded.append(normal)
        origin.extend([place] * len(normal))
    joined = "".join(folded)
    return [
        Token(_spelled(found[0]), origin[found.start()], origin[found.end() - 1] + 1)
        for found in _PIECE.finditer(joined)
    ]


def words_of(name: str) -> tuple[str, ...]:
    """A name as the words that tokens are compared with."""
    return tuple(token.word for token in tokens_of(name))


def singular(word: str) -> str:
    """An English word without its plural, as far as that can be told; the word itself otherwise."""
    if not word.isascii() or len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    for ending, instead in (("vertebrae", "vertebra"), ("metastases", "metastasis"), ("arteries", "artery")):
        if word == ending:
            return instead
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") else word


def _spelled(word: str) -> str:
    for british, american in _SPELLINGS:
        word = word.replace(british, american)
    return word
