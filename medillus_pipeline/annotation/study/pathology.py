"""What a whole study or series may be labelled with: pathologies with their ICD-11 codes, and contrast phases.

Pathologies stand in `pathology.csv`. `icd11` and `title` are a code and its unmodified title of ICD-11 for Mortality
and Morbidity Statistics (International Classification of Diseases, Eleventh Revision; Geneva: World Health
Organization; licence CC BY-ND 3.0 IGO, https://creativecommons.org/licenses/by-nd/3.0/igo/; definitive version at
https://icd.who.int/browse11). WHO does not endorse this software. Names are our own and no translations of titles.
The column `source` says where code and title were found; a blank code means that none was:

    s  release 2026-01 as in github Jasper-vanden-berg/icd11_scraper, data/2026-01/raw/diagnosis.tsv, commit 13898c87
    t  simple tabulation as in github manjunathshiva/icd11_rag, Dataset/SimpleTabulation-ICD-11-MMS-en.csv, commit
       318dbe8b, whose copy lost most capitals; titles begin with one, as in s
    c  https://www.cismef.org/page/detail/en/ICD11_CA_1404966610

Contrast phases have no SNOMED CT code in our sources. What is not here: lesions that are drawn (`vocabulary.csv`),
reading a file of labels (`labels_csv.py`).
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from medillus_pipeline.annotation.vocabulary import normalised
from medillus_pipeline.errors import ConfigurationError

TABLE = Path(__file__).with_name("pathology.csv")
NORMAL = "normal"
"""Key of the pathology that excludes every other."""


@dataclass(frozen=True)
class Pathology:
    """A row of the table; `icd11` and `title` are both empty where no source has them."""

    key: str
    name_en: str
    name_zh: str
    icd11: str
    title: str
    source: str


@dataclass(frozen=True)
class ContrastPhase:
    """When after the injection a series was acquired."""

    key: str
    name_en: str
    name_zh: str


CONTRAST_PHASES = (
    ContrastPhase("none", "without contrast agent", "平扫"),
    ContrastPhase("early_arterial", "early arterial", "动脉早期"),
    ContrastPhase("late_arterial", "late arterial", "动脉晚期"),
    ContrastPhase("arterial", "arterial", "动脉期"),
    ContrastPhase("portal_venous", "portal venous", "门静脉期"),
    ContrastPhase("venous", "venous", "静脉期"),
    ContrastPhase("corticomedullary", "corticomedullary", "皮髓质期"),
    ContrastPhase("nephrographic", "nephrographic", "实质期"),
    ContrastPhase("excretory", "excretory", "排泄期"),
    ContrastPhase("delayed", "delayed", "延迟期"),
    ContrastPhase("contrast_phase_unknown", "with contrast agent, phase not known", "增强，时期不详"),
)


class Pathologies:
    """The table, looked up by key, name or ICD-11 code. Immutable."""

    def __init__(self, rows: tuple[Pathology, ...]) -> None:
        self.rows = rows
        self._by_name: dict[str, Pathology] = {}
        self._by_code: dict[str, Pathology] = {}
        for row in rows:
            for name in (row.key, row.name_en, row.name_zh):
                if self._by_name.setdefault(normalised(name), row) is not row:
                    raise ConfigurationError(f"pathology.csv: {name!r} stands for two rows; keep it at one")
            if row.icd11 and self._by_code.setdefault(row.icd11, row) is not row:
                raise ConfigurationError(f"pathology.csv: the code {row.icd11} stands twice; keep one row of it")

    def resolve(self, text: str) -> Pathology | None:
        """The pathology that a key, a name or an ICD-11 code of the table means, or None; never a guess."""
        return self._by_code.get(text.strip().upper()) or self._by_name.get(normalised(text.strip()))


@cache
def load() -> Pathologies:
    """The table that this release ships, read once per process."""
    with TABLE.open(encoding="utf-8", newline="") as handle:
        return Pathologies(tuple(Pathology(**row) for row in csv.DictReader(handle)))


def contrast_phase(text: str) -> ContrastPhase | None:
    """The contrast phase that a key or name means, or None."""
    wanted = normalised(text.strip())
    return next(
        (p for p in CONTRAST_PHASES if wanted in (normalised(p.key), normalised(p.name_en), normalised(p.name_zh))),
        None,
    )
