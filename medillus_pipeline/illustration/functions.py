"""What each structure is for, in a plain line: from the vocabulary, and from `functions.csv` for what has no function
of its own there (regions, lesions, devices, targets), of which it says what they are. Our own sentences.
"""

import csv
from functools import cache
from pathlib import Path

from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.illustration.wording import Bilingual

TABLE = Path(__file__).with_name("functions.csv")


def function_of(structure: Structure) -> Bilingual | None:
    """The line in both languages, None for a structure that neither table knows (a site's own)."""
    if structure.function_en and structure.function_zh:
        return Bilingual(structure.function_en, structure.function_zh)
    return _further().get(structure.key)


@cache
def _further() -> dict[str, Bilingual]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["key"]: Bilingual(row["en"], row["zh"]) for row in csv.DictReader(file)}
