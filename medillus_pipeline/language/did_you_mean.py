"""Names that come close to a word that was not understood. They are offered and never taken.

Close is one letter added, lost, changed or swapped with its neighbour, in a word of five letters or more; or a name
that holds the word (胰腺炎: 急性胰腺炎, 慢性胰腺炎).
"""

from medillus_pipeline.language.terms import Lexicon

LEAST_LETTERS = 5
LEAST_CHARACTERS = 2
GREATEST_LENGTH = 60
MOST = 4


def close_names(words: str, lexicon: Lexicon) -> tuple[str, ...]:
    """Up to four names near `words` (as tokens are written), those that hold it last."""
    latin = words.isascii()
    if not LEAST_CHARACTERS <= len(words) <= GREATEST_LENGTH:
        return ()
    near = [name for known, name in lexicon.names.items() if _one_edit(words, known)]
    if latin:
        padded = f" {words} "
        near += [name for known, name in lexicon.names.items() if padded in f" {known} "]
        own = [word for known in lexicon.names for word in known.split() if word.isascii()]
        near += [word for word in dict.fromkeys(own) if _one_edit(words, word)]
    else:
        near += [name for known, name in lexicon.names.items() if words in known]
    return tuple(dict.fromkeys(near))[:MOST]


def _one_edit(one: str, other: str) -> bool:
    """Whether a single insertion, deletion, substitution or swap of neighbours leads from one to the other."""
    if one == other or abs(len(one) - len(other)) > 1 or min(len(one), len(other)) < 3:
        return False
    if one.isascii() and min(len(one), len(other)) < LEAST_LETTERS - 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    rest, others = one[start:], other[start:]
    if len(one) == len(other):
        return rest[1:] == others[1:] or (rest[2:] == others[2:] and rest[:2] == others[1::-1])
    return rest[1:] == others if len(one) > len(other) else rest == others[1:]
