"""What de-identifiers leave of one file in which every attribute of PS3.15 Table E.1-1 is planted, at every depth.

    python -m medillus_pipeline_tests.benchmarks.deidentify_peers [--peers FOLDER]

Prints the share of the planted attributes whose value can still be read in the result, for the top level, for one and
three levels of sequences, and for text attributes that the table does not list; and whether the preamble, the file
meta information and the padding after the pixels still hold text. Every tool runs with its defaults, ours with the
Basic Profile and no option. A value counts as left when its bytes stand anywhere in the result. Of the other text, ours
keeps what names makes and technique (`outside_table.py` lists it).
"""

import argparse
import io
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread, dcmwrite
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import FileDataset

from medillus_pipeline_tests.benchmarks.deidentify_tools import BASIC_PROFILE, PEERS, Tool, how_to_get, prepared
from medillus_pipeline_tests.deidentification.planted import Planted, facts, planted_file, tags_of

DEPTHS = (0, 1, 3)
TEXT_VRS = frozenset(["AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])
KEPT_BY_NATURE = frozenset(["SpecificCharacterSet", "TimezoneOffsetFromUTC"])


@dataclass(frozen=True)
class Subject:
    """The file, and what to look for in a result: kind of place → canaries."""

    data: bytes
    attributes: dict[str, list[bytes]]
    places: dict[str, bytes]


def canary_of(planted: Planted) -> bytes:
    """What tells that an attribute is left: its value, or for a sequence the name in its item; empty where nothing
    unique fits."""
    inner = [item.canary for item in planted.inner if item.fact is not None and item.vr == "PN"]
    return inner[0] if inner else planted.canary


def subject() -> Subject:
    """The planted file of the canary tests, with text outside the table and outside the data set."""
    planted = planted_file("kept")
    dataset = dcmread(io.BytesIO(planted.data))
    attributes = {
        f"depth {depth}": [canary for p in planted.levels[depth] if p.fact is not None and (canary := canary_of(p))]
        for depth in DEPTHS
    }
    attributes["other text"] = _plant_text_outside_the_table(dataset)
    places = {"preamble": b"CANARYPREAMBLE", "file meta": b"CANARYMETA", "padding": b"CANARYTRAILING"}
    dataset.preamble = places["preamble"].ljust(128)
    dataset.file_meta.SourceApplicationEntityTitle = places["file meta"].decode()
    dataset.add_new(0xFFFCFFFC, "OB", places["padding"])
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return Subject(buffer.getvalue(), attributes, places)


def _plant_text_outside_the_table(dataset: FileDataset) -> list[bytes]:
    """Every text attribute of PS3.6 that is not retired and not in the table gets a value; the values."""
    listed = {tag for fact in facts() for tag in tags_of(fact)}
    canaries = []
    for tag, (vr, _, _, retired, keyword) in sorted(DicomDictionary.items()):
        if vr in TEXT_VRS and not retired and 0x00080000 < tag < 0x7FE00000 and tag not in listed | set(dataset.keys()):
            if keyword in KEPT_BY_NATURE:
                continue
            canaries.append(f"OUTSIDE{len(canaries):05d}".encode())
            dataset.add_new(tag, vr, canaries[-1].decode())
    return canaries


def left(canaries: list[bytes], result: bytes) -> float:
    """Share of the values that stand in the result; one that goes on with a digit is another UID."""
    return sum(re.search(re.escape(canary) + rb"(?![0-9])", result) is not None for canary in canaries) / len(canaries)


def row(tool: Tool, made: Subject, peers: Path | None) -> str:
    """The tool's line of the table."""
    treat = prepared(tool, peers)
    if treat is None:
        return f"{tool.name:<22}{how_to_get(tool)}"
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source, target = Path(folder) / "planted.dcm", Path(folder) / "result.dcm"
        source.write_bytes(made.data)
        treat(source, target)
        result = target.read_bytes()
    shares = "".join(f"{left(canaries, result):>12.1%}" for canaries in made.attributes.values())
    places = "".join(f"{'left' if canary in result else 'gone':>15}" for canary in made.places.values())
    return f"{tool.name:<22}{shares}{places}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="what de-identifiers leave of a file full of planted values")
    parser.add_argument("--peers", type=Path, help="folder that pip install --target put the other tools in")
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = subject()
    print(f"planted: {', '.join(f'{len(values)} at {where}' for where, values in made.attributes.items())}")
    heads = "".join(f"{name:>12}" for name in made.attributes) + "".join(f"{name:>15}" for name in made.places)
    print(f"{'tool':<22}{heads}")
    for tool in (*PEERS, BASIC_PROFILE):
        print(row(tool, made, arguments.peers))


if __name__ == "__main__":
    main()
