"""The de-identifiers that the benchmarks compare, each as a function from one file to another.

A tool is set up as its own documentation says, with its defaults. Peers are no dependency of ours: where one is not
installed, the benchmarks say how to get it and go on. Nothing is measured here.
"""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path

from pydicom import dcmread

from medillus_pipeline.deidentification import residual
from medillus_pipeline.deidentification.deidentify import Deidentified, deidentify
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser

PSEUDONYMISER = Pseudonymiser(key=b"k" * 32, split_salt=b"s" * 32)
Treat = Callable[[Path, Path], None]


@dataclass(frozen=True)
class Tool:
    """A way to treat a file. `package` is what pip installs for it, empty for ours; `prepare` makes the function for
    a series of files, so that what a tool sets up once is not counted for each file."""

    name: str
    package: str
    prepare: Callable[[], Treat]


def _pydicom() -> Treat:
    def treat(source: Path, target: Path) -> None:
        dcmread(source).save_as(target)

    return treat


def _dicognito() -> Treat:
    anonymizer = import_module("dicognito.anonymizer").Anonymizer(seed="benchmark")

    def treat(source: Path, target: Path) -> None:
        dataset = dcmread(source)
        anonymizer.anonymize(dataset)
        dataset.save_as(target)

    return treat


def _dicom_anonymizer() -> Treat:
    anonymize = import_module("dicomanonymizer.simpledicomanonymizer").anonymize_dicom_file

    def treat(source: Path, target: Path) -> None:
        with redirect_stdout(StringIO()):
            anonymize(str(source), str(target))

    return treat


def _deid() -> Treat:
    header = import_module("deid.dicom.header")
    import_module("deid.logger").bot.level = -5  # silent

    def treat(source: Path, target: Path) -> None:
        # It names its output after its input.
        (dataset,) = header.replace_identifiers([str(source)], deid="dicom", ids=header.get_identifiers([str(source)]))
        dataset.save_as(target)

    return treat


def _ours() -> Treat:
    def treat(source: Path, target: Path) -> None:
        write(deidentify(source.read_bytes(), PSEUDONYMISER), target)

    return treat


def _ours_with_gate() -> Treat:
    def treat(source: Path, target: Path) -> None:
        result = deidentify(source.read_bytes(), PSEUDONYMISER)
        gate(result)
        write(result, target)

    return treat


def _basic_profile() -> Treat:
    policy = Policy(options=frozenset())

    def treat(source: Path, target: Path) -> None:
        write(deidentify(source.read_bytes(), PSEUDONYMISER, policy=policy), target)

    return treat


def gate(result: Deidentified) -> None:
    """The residual search within one file, as ingest does it. Raises ValueError for a hit, which would mean that less
    than the whole work is measured."""
    hits = residual.found_in(result)
    if hits:
        raise ValueError(f"the residual search found {', '.join(sorted(hits))} in a file of the corpus")


def write(result: Deidentified, target: Path) -> None:
    """The file, without joining its parts first, as ingest does it."""
    with target.open("wb") as handle:
        handle.writelines((result.header, *result.pixels))


PYDICOM = Tool("pydicom read + save", "", _pydicom)
DICOGNITO = Tool("dicognito", "dicognito", _dicognito)
DICOM_ANONYMIZER = Tool("dicom-anonymizer", "dicom-anonymizer tqdm", _dicom_anonymizer)
DEID = Tool("deid", "deid", _deid)
OURS = Tool("ours", "", _ours)
OURS_WITH_GATE = Tool("ours with gate", "", _ours_with_gate)
BASIC_PROFILE = Tool("ours, Basic Profile", "", _basic_profile)
PEERS = (DICOGNITO, DICOM_ANONYMIZER, DEID)


def prepared(tool: Tool, peers: Path | None) -> Treat | None:
    """The tool's function; None where it is not installed, neither here nor in the folder `peers`."""
    if peers is not None and str(peers) not in sys.path:
        sys.path.append(str(peers))
    try:
        return tool.prepare()
    except ModuleNotFoundError:
        return None


def how_to_get(tool: Tool) -> str:
    """What to do about a missing peer."""
    return f"not installed: pip install --no-deps --target FOLDER {tool.package}, then --peers FOLDER"
