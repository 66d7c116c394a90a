"""The report of the ten MIDI-B kinds of check over our answer key, as a command.

    python -m medillus_pipeline_tests.deidentification.midi_b_report [--outputs FOLDER] [--failures]

Without `--outputs` it de-identifies the files of `../shared/data/phi` itself; with it, it scores what another tool made
of them (same paths below that folder), so tools can be compared. `--failures` lists the checks that were not met.
What is checked: `answer_key.py`; how: `scoring.py`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from pydicom import Dataset

from medillus_pipeline.deidentification.ingest import ingest_delivery
from medillus_pipeline.deidentification.options import DEFAULT_OPTIONS, Option
from medillus_pipeline.deidentification.policy import Policy, ready
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.conftest import REPOSITORY
from medillus_pipeline_tests.deidentification.answer_key import answer_key, sources
from medillus_pipeline_tests.deidentification.scoring import Score, score

KEY = Pseudonymiser(key=b"k" * 32, split_salt=b"s" * 32)
CLEANING = Policy(options=DEFAULT_OPTIONS | {Option.CLEAN_PIXEL_DATA})
PHI = REPOSITORY.parent / "shared" / "data" / "phi"


def can_clean_pixels() -> bool:
    """Whether text can be found in pixels here."""
    try:
        ready(CLEANING)
    except ConfigurationError:
        return False
    return True


def deidentified(phi: Path, home: Path, policy: Policy) -> dict[str, bytes]:
    """The files of a folder through `ingest_delivery`: path below it → what was published for it.

    Each is a delivery of its own, since some files differ in their flags only and have one SOP Instance UID. So what is
    consistent is so between deliveries.
    """
    landing, clean = Zone((home / "landing").as_uri()), Zone((home / "clean").as_uri(), cache=home / "cache")
    found = {}
    for number, path in enumerate(sorted(path for path in phi.rglob("*") if path.is_file())):
        landing.write(f"images/{number}/{path.name}", path.read_bytes())
        landing.write(f"images/{number}/_READY", b"")
        for row in ingest_delivery(landing, str(number), clean, KEY, policy=policy).instances:
            found[path.relative_to(phi).as_posix()] = clean.read(row["path"])
    return found


def scored(read: dict[str, Dataset], standard: Path, outputs: dict[str, bytes]) -> Score:
    """The score of these outputs against the whole key."""
    return score(answer_key(read, standard), read, outputs)


def main(arguments: list[str] | None = None) -> int:
    """Write the table; 0 where every check is met."""
    parser = argparse.ArgumentParser(prog="midi_b_report", description="MIDI-B's kinds of check over our answer key")
    parser.add_argument("--outputs", type=Path, help="what another tool made of the files")
    parser.add_argument("--failures", action="store_true", help="list the checks that were not met")
    given = parser.parse_args(arguments)
    cleaned = given.outputs is not None or can_clean_pixels()
    read = sources(PHI, cleaned=cleaned)
    if given.outputs is not None:
        outputs = {name: (given.outputs / name).read_bytes() for name in read if (given.outputs / name).is_file()}
    else:
        with tempfile.TemporaryDirectory() as home:
            outputs = deidentified(PHI, Path(home), CLEANING if cleaned else Policy())
    result = scored(read, PHI.parent / "standard", outputs)
    sys.stdout.write(f"{len(read)} files, {len(outputs.keys() & read.keys())} came out\n{result.table()}\n")
    if not cleaned:
        sys.stdout.write("pixels are not cleaned here (no Tesseract): files that may show text were left out\n")
    if given.failures:
        for check in result.failed():
            sys.stdout.write(f"{check.file}: {check.kind} {check.where} [{check.what}]\n")
    return 0 if not result.failed() else 1


if __name__ == "__main__":
    sys.exit(main())
