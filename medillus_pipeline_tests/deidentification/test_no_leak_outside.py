"""Runs over planted identifiers, most of them failing: none is said anywhere outside the landing zone and the vault.

Looked through are the log, standard output and error, Dagster's database and compute logs on disk, the results of Great
Expectations in check metadata, MLflow's folder, the clean zone, and the exceptions with all that is chained to them. A
whole flow that succeeds is searched in `end_to_end/test_real_thorax.py`; what a bad file costs is tested in `faults/`.
"""

import errno
import io
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from medillus_pipeline import landings
from medillus_pipeline.automation.instance import local_instance
from medillus_pipeline.deidentification import examination, ingest, policy
from medillus_pipeline.deidentification.options import Option
from medillus_pipeline.errors import ConfigurationError, MedillusError
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.settings import Settings
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.deidentification.delivered_files import COLUMNS, ROWS, encoded, image, item
from medillus_pipeline_tests.faults.test_interrupted import Deadly
from medillus_pipeline_tests.site import Site, failure
from medillus_pipeline_tests.traces import clean_side

WORD = "Zyxwvuts"
"""Part of every planted text; no word, and no row of hexadecimal digits, holds it by chance."""
NUMBER, DATE, KEY_DIGITS = "777731337", "19310708", "5eed" * 16
CANARIES = (WORD, NUMBER, DATE, "1931-07-08", KEY_DIGITS)
FOLDER = f"{WORD}^Walburga born 1931-07-08"


def planted(number: int = 1, **changes: Any) -> bytes:
    """A slice with a canary in each place where a person is named."""
    made = image(
        number=number,
        name=f"{WORD}^Walburga",
        patient=f"{WORD}-7731",
        SOPInstanceUID=f"1.2.826.0.1.{NUMBER}.{number}",
        StudyInstanceUID=f"1.2.826.0.1.{NUMBER}",
        PatientBirthDate=DATE,
        InstitutionName=f"Spital {WORD}",
        ReferringPhysicianName=f"{WORD}^Doktor",
        StudyDescription=f"Thorax von {WORD}",
        PatientComments=f"{WORD} geboren 1931-07-08",
        OtherPatientIDsSequence=item(PatientID=f"{WORD}-2"),
        AccessionNumber=NUMBER,
    )
    block = made.private_block(0x0009, f"{WORD} 1.0", create=True)
    block.add_new(0x01, "LO", f"{WORD} at home")
    made.PixelData = (np.arange(ROWS * COLUMNS, dtype="<u2") + number).tobytes()
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return encoded(made, preamble=f"{WORD}".encode().ljust(128, b"\0"))


def sound(first: int = 1) -> dict[str, bytes]:
    return {f"{WORD} {number}.dcm": planted(number) for number in range(first, first + 4)}


class Ward:
    """A site whose instance writes its databases to disk, and everything that its runs have said."""

    def __init__(self, home: Path) -> None:
        self.site = Site(home)
        self.site.instance = local_instance(home)
        self.texts: list[str] = []

    def land(self, label: str, files: dict[str, bytes]) -> str:
        """A delivery in a folder with a name, in a partition without one."""
        settings = self.site.settings
        for name, data in files.items():
            settings.landing.write(f"images/{FOLDER} {label}/{name}", data)
        landings.close(settings.landing, "images", f"{FOLDER} {label}", {"label": label, "synthetic": True})
        self.site.register("images")
        return label

    def run(self, label: str, job: str = "ingest_delivery") -> dg.ExecuteInProcessResult:
        """Run a job; its events are kept as text, with every link of every chain of errors."""
        result = self.site.run(job, label)
        for event in result.all_events:
            self.texts.append(repr(event))
            if event.is_failure and event.event_specific_data is not None:
                error = getattr(event.event_specific_data, "error", None)
                self.texts.append(error.to_string() if error is not None else "")
        return result

    def leaks(self, captured: str = "") -> set[tuple[str, str]]:
        """(canary, place) of each canary outside the restricted side. Folders of landing and vault are not searched."""
        places = [
            *clean_side(self.site.settings),
            ("log", "\n".join(self.site.said).encode()),
            ("events", "\n".join(self.texts).encode()),
            ("terminal", captured.encode()),
        ]
        lowered = [(place, data.lower()) for place, data in places]
        return {(word, place) for word in CANARIES for place, data in lowered if word.lower().encode() in data}


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)
        yield Ward(tmp_path_factory.mktemp("ward"))


def said(capfd: pytest.CaptureFixture[str]) -> str:
    return "".join(capfd.readouterr())


def archive(files: dict[str, bytes], password: bool = False) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    data = bytearray(stream.getvalue())
    if password:  # the flag of an encrypted member, in its local header and in the directory
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            data[data.index(signature) + offset] |= 1
    return bytes(data)


def test_a_delivery_with_every_kind_of_bad_file(ward: Ward, capfd) -> None:
    """What can be published is; the rest is counted, and named in the vault's ledger only."""
    whole = planted(9)
    files = sound(1) | {
        f"{WORD}/cut.dcm": whole[: len(whole) - 200],
        f"{WORD}/cut in the header.dcm": whole[:420],
        f"{WORD}/bad sequence.dcm": whole.replace(b"\x40\x00\x75\x02SQ", b"\x40\x00\x75\x02UN"),
        f"{WORD}/letter.txt": f"Dear {WORD}, your number is {NUMBER}".encode(),
        f"{WORD}/screen.dcm": planted(10, BurnedInAnnotation="YES"),
        f"{WORD}/kernel.dcm": planted(11, ConvolutionKernel=WORD[:16]),
        f"{WORD}/plan.dcm": planted(12, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.5"),
        f"{WORD}/kind.dcm": planted(13, SOPClassUID=f"1.2.{NUMBER}"),
        f"{WORD} conflict.dcm": planted(1, PixelData=bytes(2 * ROWS * COLUMNS)),
        f"{WORD}.zip": archive({f"{WORD}/inner {NUMBER}.dcm": planted(14), f"../{WORD}": b"x"}),
        f"{WORD} broken.zip": archive({f"{WORD}/inner.dcm": planted(15)})[:-80],
        f"{WORD} locked.zip": archive({f"{WORD}/inner.dcm": planted(16)}, password=True),
    }
    result = ward.run(ward.land("bad-files", files))
    assert result.success
    (counts,) = [line for line in ward.site.said if "files of the delivery" in line]
    assert "published" in counts
    for reason in ("truncated_pixels", "burned_in", "residual_identifier", "archive_encrypted", "unsafe_archive"):
        assert reason in counts, counts
    evaluation = {e.check_name: e for e in result.get_asset_check_evaluations()}["residual_identifiers"]
    assert not evaluation.passed
    assert ward.leaks(said(capfd)) == set()


def test_a_residual_hit_in_every_file(ward: Ward, capfd) -> None:
    files = {f"{WORD} {n}.dcm": planted(n, ReceiveCoilName=f"{WORD}-7731") for n in (21, 22)}
    message = failure(ward.run(ward.land("residual", files)))
    assert "quarantined/residual_identifier" in message
    assert ward.leaks(said(capfd)) == set()


def test_a_gate_that_does_not_hold(ward: Ward, capfd) -> None:
    blank = bytes(2 * ROWS * COLUMNS)
    files = {f"{WORD} {n}.dcm": planted(n, PixelData=blank) for n in range(31, 35)}
    assert "the gate slices_gate does not hold" in failure(ward.run(ward.land("gate", files)))
    assert ward.leaks(said(capfd)) == set()


def test_nothing_but_unreadable_files(ward: Ward, capfd) -> None:
    files = {f"{WORD} {n}": f"{WORD} {NUMBER} {n}".encode() for n in range(3)}
    assert "none of the 3 files" in failure(ward.run(ward.land("letters", files)))
    assert ward.leaks(said(capfd)) == set()


def chained(*_: object, **__: object) -> None:
    """Fail as a library does: quoting the value, with a cause and a context that quote others."""
    try:
        try:
            raise KeyError(f"{WORD} {NUMBER}")
        except KeyError as error:
            raise ValueError(f"{WORD}^Walburga is no number") from error
    except ValueError:
        raise RuntimeError(f"/landing/{FOLDER}/{WORD} 1.dcm of {DATE}")  # noqa: B904 - the context is what is tested


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        (examination, "deidentify", "quarantined/unexpected_error"),
        (examination, "read_unit", "RuntimeError"),
        (landings, "folder_of", "unexpected RuntimeError"),
    ],
    ids=["of one file", "of a worker", "before the first file"],
)
def test_an_unexpected_exception(ward: Ward, monkeypatch, capfd, module, name: str, message: str) -> None:
    label = ward.land(f"exception-{name.replace('_', '-')}", sound(41))
    monkeypatch.setattr(module, name, chained)
    assert message in failure(ward.run(label))
    assert ward.leaks(said(capfd)) == set()


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", f"/landing/images/{FOLDER}/{WORD} 1.dcm")


def test_a_landing_file_that_may_not_be_read(ward: Ward, monkeypatch, capfd) -> None:
    label = ward.land("forbidden", sound(51))
    monkeypatch.setattr(examination, "read_unit", refuse)
    assert "check space and access" in failure(ward.run(label))
    assert ward.leaks(said(capfd)) == set()


def test_a_clean_zone_that_cannot_be_written(ward: Ward, capfd) -> None:
    """A file stands in the place of a folder, which stops root too."""
    label = ward.land("unwritable", sound(61))
    place = Path(ward.site.settings.clean.full("instances"))
    aside = place.with_name("instances-aside")
    if place.exists():
        place.rename(aside)
    place.write_bytes(b"")
    try:
        assert "move it out of the way" in failure(ward.run(label))
        assert ward.leaks(said(capfd)) == set()
    finally:
        place.unlink()
        if aside.exists():
            aside.rename(place)


@pytest.mark.parametrize("text", [KEY_DIGITS[:20], KEY_DIGITS + "xyz", f"{WORD} {KEY_DIGITS}"])
def test_a_key_that_is_none_is_not_quoted(ward: Ward, capfd, text: str) -> None:
    label = ward.land("wrong-key", sound(71))
    key_file = ward.site.settings.key_file
    before = key_file.read_bytes()
    key_file.write_text(text)
    try:
        assert "must hold" in failure(ward.run(label))
    finally:
        key_file.write_bytes(before)
    assert ward.leaks(said(capfd)) == set()
    assert text not in "\n".join([*ward.texts, *ward.site.said])


def test_clean_pixel_data_without_ocr(ward: Ward, monkeypatch, capfd) -> None:
    """The run ends before any file is read."""
    label = ward.land("no-ocr", sound(81) | {f"{WORD} screen.dcm": planted(85, BurnedInAnnotation="YES")})
    chosen = policy.Policy(options=frozenset({Option.CLEAN_PIXEL_DATA}))
    monkeypatch.setattr(StoreResource, "policy", lambda _: chosen)
    monkeypatch.setenv("PATH", "")
    message = failure(ward.run(label))
    assert "esseract" in message
    assert ward.leaks(said(capfd)) == set()


def test_a_killed_worker(ward: Ward, monkeypatch, capfd) -> None:
    label = ward.land("killed", sound(91))
    real, url = ingest.ingest_delivery, ward.site.settings.landing_url

    def deadly(_: Zone, *arguments: Any, **further: Any) -> ingest.Ingested:
        return real(Deadly(url), *arguments, **further | {"workers": 2})

    monkeypatch.setattr(ingest, "ingest_delivery", deadly)
    assert "ended abruptly" in failure(ward.run(label))
    assert ward.leaks(said(capfd)) == set()


@pytest.mark.parametrize("fault", [chained, refuse])
def test_an_exception_for_the_caller_quotes_nothing(ward: Ward, monkeypatch, capfd, fault: Callable[..., None]) -> None:
    """What the command line gets, without Dagster around it: the error and all that is chained to it."""
    label = ward.land(f"direct-{fault.__name__}", sound(101))
    settings = ward.site.settings
    monkeypatch.setattr(examination, "read_unit", fault)
    with pytest.raises(MedillusError) as caught:
        ingest.ingest_delivery(settings.landing, f"{FOLDER} {label}", settings.clean, settings.pseudonymiser())
    ward.texts += [f"{type(error).__name__}: {error}" for error in _chain(caught.value)]
    assert ward.leaks(said(capfd)) == set()


def test_a_wrong_setting_is_said_without_values(ward: Ward, tmp_path: Path, capfd) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(f"{KEY_DIGITS}{WORD}")
    key_file.chmod(0o600)
    environment = {"MEDILLUS_HOME": str(tmp_path), "MEDILLUS_KEY_FILE": str(key_file)}
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment(environment).pseudonymiser()
    ward.texts.append("".join(traceback.format_exception(caught.value)))
    assert ward.leaks(said(capfd)) == set()


def test_the_search_finds_a_canary_in_each_place(ward: Ward, capfd, tmp_path: Path) -> None:
    """A run that does say a name, on an instance of its own: the log, the events and the database have it."""
    other = Ward(tmp_path)

    @dg.op
    def careless() -> None:
        print(f"{WORD} on the terminal")  # noqa: T201 - this is what must be found
        raise ValueError(f"{WORD}^Walburga, {DATE}")

    @dg.job
    def careless_job() -> None:
        careless()

    result = careless_job.execute_in_process(instance=other.site.instance, raise_on_error=False)
    other.texts += [repr(event) for event in result.all_events]
    other.site.said.append(f"{WORD} was here")
    other.site.settings.clean.write("tables/oops.json", WORD.encode())
    mlflow = other.site.settings.home / "mlflow"
    mlflow.mkdir(exist_ok=True)
    (mlflow / "params.txt").write_text(NUMBER)
    found = other.leaks(said(capfd))
    places = {place for _, place in found}
    assert {"log", "events", "terminal", "tables/oops.json", str(mlflow / "params.txt")} <= places
    assert any(place.endswith("(cells)") for place in places), "Dagster's database"
    landing = ward.site.settings.landing
    restricted = "\n".join(landing.files("images")) + str(landing.read(f"images/{FOLDER} gate/{WORD} 31.dcm"))
    assert all(word in restricted for word in CANARIES if word != KEY_DIGITS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
