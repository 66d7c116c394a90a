"""The two towers and their heads: an image and a text of characters to one embedding. How they learn is not here."""

import math
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.networks import groups
from medillus_pipeline.language.encoder_config import TextEncoderConfig

PADDING, UNREAD = 0, 1
"""Numbers of no character, and of one outside the alphabet; the alphabet's own begin at 2."""
GREATEST_SCALE = 50.0


def normal_text(text: str) -> str:
    """The text as the tower reads it: Unicode NFKC, without case, runs of blanks as one."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def alphabet_of(texts: Iterable[str]) -> str:
    """All characters of the texts as the tower reads them, in order."""
    return "".join(sorted({character for text in texts for character in normal_text(text)}))


def characters(texts: Sequence[str], alphabet: str, longest: int) -> Tensor:
    """(n, length) int64: numbers of the characters, padded to the longest text and to an even length.

    Raises InputError for an empty text and for one that is longer than `longest` characters.
    """
    place = {character: number for number, character in enumerate(alphabet, start=2)}
    lines = [[place.get(character, UNREAD) for character in normal_text(text)] for text in texts]
    if any(not line for line in lines):
        raise InputError("a text to be read by the text encoder is empty: say what the image shows")
    greatest = max((len(line) for line in lines), default=0)
    width = greatest + greatest % 2
    if greatest > longest:
        raise InputError(f"a text has {greatest} characters, and the text encoder reads {longest}: shorten it")
    numbers = np.full((len(lines), width), PADDING, np.int64)
    for number, line in enumerate(lines):
        numbers[number, : len(line)] = line
    return torch.from_numpy(numbers)


class ImageTower(nn.Module):
    """(n, 1, size, size) in [-1, 1] → (n, embedding). Where things lie is kept to the end: sides matter."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width in config.channels:
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False), nn.GroupNorm(groups(width), width)]
            layers += [nn.SiLU(), _Residual(width)]
            before = width
        self.features = nn.Sequential(*layers)
        side = -(-config.size // 2 ** len(config.channels))
        self.narrow = nn.Conv2d(before, max(before // 2, 8), 1)
        self.dropout = nn.Dropout(config.dropout)
        self.embed = nn.Linear(max(before // 2, 8) * side * side, config.embedding)

    def forward(self, images: Tensor) -> Tensor:
        features = functional.silu(self.narrow(self.features(images)))
        return self.embed(self.dropout(features.flatten(1)))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups(width), width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(functional.silu(self.norm(x)))


class TextTower(nn.Module):
    """(n, length) numbers of characters, an even length → (n, embedding). Convolutions read letters, then, at half the
    length, words; attention joins clauses.
    """

    def __init__(self, alphabet: int, config: TextEncoderConfig) -> None:
        super().__init__()
        width = config.characters
        self.symbols = nn.Embedding(alphabet + 2, width, padding_idx=PADDING)
        self.letters = _Word(width, 1)
        self.words = nn.ModuleList(_Word(width, dilation) for dilation in (1, 2))
        self.clauses = _Attention(width, config.heads)
        self.embed = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, config.embedding))

    def forward(self, numbers: Tensor) -> Tensor:
        real = numbers != PADDING
        x = self.letters(self.symbols(numbers), real) * real[..., None]
        pairs = real.unflatten(1, (-1, 2)).sum(2)
        x = x.unflatten(1, (-1, 2)).sum(2) / pairs.clamp(min=1)[..., None]
        real = pairs > 0
        for word in self.words:
            x = word(x, real)
        x = self.clauses(x, real)
        kept = real[..., None]
        greatest = x.masked_fill(~kept, -math.inf).amax(1)
        mean = (x * kept).sum(1) / kept.sum(1)
        return self.embed(torch.cat([greatest, mean], 1))


class _Word(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        # Padding is zero before every convolution, so that a text means the same beside a longer one.
        inner = self.norm(x) * real[..., None]
        return x + functional.silu(self.conv(inner.transpose(1, 2)).transpose(1, 2))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 3 * width)
        self.outer = nn.Linear(width, width)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        n, length, width = x.shape
        parts = self.inner(self.norm(x)).view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=real[:, None, None])
        return x + self.outer(seen.transpose(1, 2).reshape(n, length, width))


class TextEncoderNetwork(nn.Module):
    """Both towers, the scale of their cosine, and the heads.

    `attributes` reads from an embedding of either tower which facts are true; `said` reads from a text's which of them
    the text says, which is something else: a text that is silent on a phase says none.
    """

    def __init__(self, alphabet: int, facts: int, config: TextEncoderConfig) -> None:
        super().__init__()
        self.image = ImageTower(config)
        self.text = TextTower(alphabet, config)
        self.attributes = nn.Linear(config.embedding, facts)
        self.said = nn.Linear(config.embedding, facts)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied with: the inverse of the temperature."""
        return self.log_scale.exp().clamp(max=GREATEST_SCALE)
