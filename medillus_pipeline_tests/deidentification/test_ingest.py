"""Claims about a whole delivery: all files accounted for, nothing identified on the clean side, same every time."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RTStructureSetStorage

from medillus_pipeline.deidentification.ingest import Ingested, ingest_delivery
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.reading import silenced
from medillus_pipeline.errors import StoreError
from medillus_pipeline.tables import INSTANCES, LEDGER
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.deidentification.delivered_files import deliver, encoded, image, item

FOLDER = "Vogelweide, Walther 24.12.1961"


def run(landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser, workers: int = 1) -> Ingested:
    """Ingest and check what holds for every delivery."""
    result = ingest_delivery(landing, FOLDER, clean, pseudonymiser, workers=workers)
    INSTANCES.to_arrow(result.instances)
    LEDGER.to_arrow(result.ledger)
    assert sum(result.counts.values()) == len(result.ledger)
    assert result.counts.get("published", 0) == len(result.instances)
    assert sorted(clean.files("instances")) == sorted({row["path"] for row in result.instances})
    return result


def copy_tree(source: Path, landing: Zone) -> None:
    files = {f.relative_to(source).as_posix(): f.read_bytes() for f in source.rglob("*") if f.is_file()}
    deliver(landing, FOLDER, files)


def clean_bytes(clean: Zone, result: Ingested) -> bytes:
    """Everything that reached the clean side, pixel data left out, and the names it has there."""
    parts = [repr(result.instances).encode(), repr(result.counts).encode(), repr(result.residual_hits).encode()]
    for path in clean.files():
        data = clean.read(path)
        parts += [path.encode(), data[: data.rindex(b"\xe0\x7f")] if b"\xe0\x7f" in data else data]
    return b"\x00".join(parts)


def outcomes(result: Ingested) -> dict[str, str]:
    """Path inside the delivery (and archive) → reason, or the outcome where there is none."""
    names = [row["source"].split("/", 2)[2] + ("!" + row["member"] if row["member"] else "") for row in result.ledger]
    return {name: row["reason"] or row["outcome"] for name, row in zip(names, result.ledger, strict=True)}


def test_every_kind_of_file_is_accounted_for(landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("deep/4", encoded(image(number=4)))
        made.writestr("../evil", encoded(image(number=5)))
    structures = encoded(image(number=9, SOPClassUID=RTStructureSetStorage))
    other = image(number=3)
    other.PixelData = np.zeros((16, 12), "<u2").tobytes()
    deliver(
        landing,
        FOLDER,
        {
            "a/1": encoded(image(number=1)),
            "a/1 again": encoded(image(number=1)),
            "a/3": encoded(image(number=3)),
            "a/3 other": encoded(other),
            "b.zip": buffer.getvalue(),
            "cut": encoded(image(number=6))[:-100],
            "readme.txt": b"hello",
            "rs": structures,
        },
    )
    result = run(landing, clean, pseudonymiser)
    assert outcomes(result) == {
        "a/1": "published",
        "a/1 again": "same_pixels",
        "a/3": "different_pixels",
        "a/3 other": "different_pixels",
        "b.zip!../evil": "unsafe_archive_member",
        "b.zip!deep/4": "published",
        "cut": "truncated_pixels",
        "readme.txt": "not_dicom",
        "rs": "rtstruct",
    }
    assert [data for _, data in result.annotation_objects] == [structures]
    assert result.counts["quarantined/truncated_pixels"] == 1


def test_two_processes_give_the_same_bytes_as_one(landing: Zone, tmp_path: Path, pseudonymiser: Pseudonymiser) -> None:
    deliver(landing, FOLDER, {f"s/{n}": encoded(image(number=n)) for n in range(1, 7)})
    results = []
    for name, workers in (("one", 1), ("again", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        zone = Zone((tmp_path / name).as_uri())
        results.append((run(landing, zone, pseudonymiser, workers), {p: zone.read(p) for p in zone.files()}))
    assert results[0] == results[1] == results[2]


def test_progress_ends_at_its_total(landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser) -> None:
    deliver(landing, FOLDER, {"1": encoded(image()), "x": b"x"})
    seen: list[tuple[int, int]] = []
    ingest_delivery(landing, FOLDER, clean, pseudonymiser, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1] == (4, 4)


@pytest.mark.parametrize("files", [{}, {"a.txt": b"no image", "b/c": b"\x00" * 400}])
def test_a_delivery_without_images_says_what_to_do(
    files: dict[str, bytes], landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    deliver(landing, FOLDER, files)
    result = run(landing, clean, pseudonymiser)
    message = result.nothing_published()
    assert len(result.ledger) == len(files)
    assert message is not None and "deliver" in message and "Walther" not in message


def test_an_identifier_kept_in_an_allowed_attribute_quarantines_the_file(
    landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    deliver(landing, FOLDER, {"1": encoded(image(ConvolutionKernel="Vogelweide")), "2": encoded(image(number=2))})
    result = run(landing, clean, pseudonymiser)
    assert outcomes(result) == {"1": "residual_identifier", "2": "published"}
    assert result.residual_hits == [{"attribute": "PatientName", "count": 1}]


def test_an_identifier_of_another_file_of_the_patient_quarantines_too(
    landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    named = image(number=1, OtherPatientNames="Minnesang^Tannhaeuser")
    deliver(landing, FOLDER, {"1": encoded(named), "2": encoded(image(number=2, ReceiveCoilName="Tannhaeuser"))})
    result = run(landing, clean, pseudonymiser)
    assert outcomes(result) == {"1": "published", "2": "residual_identifier"}
    assert b"annhaeuser" not in clean_bytes(clean, result)


def test_a_description_of_the_same_words_does_not_hide_an_identifier(
    landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    named = image(number=1, OtherPatientNames="Tannhaeuser")
    described = image(number=2, StudyDescription="Tannhaeuser")
    held = image(number=3, ReceiveCoilName="Tannhaeuser")
    deliver(landing, FOLDER, {"1": encoded(named), "2": encoded(described), "3": encoded(held)})
    result = run(landing, clean, pseudonymiser)
    assert outcomes(result) == {"1": "published", "2": "published", "3": "residual_identifier"}


def test_identifiers_of_quarantined_files_count_as_well(
    landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    named = image(number=1, OtherPatientNames="Tannhaeuser", ConvolutionKernel="Vogelweide")
    deliver(landing, FOLDER, {"1": encoded(named), "2": encoded(image(number=2, ReceiveCoilName="Tannhaeuser"))})
    assert set(outcomes(run(landing, clean, pseudonymiser)).values()) == {"residual_identifier"}


def test_names_of_folders_and_files_do_not_reach_the_clean_side(
    landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    blank = image(SeriesInstanceUID="", SOPInstanceUID="", PatientID="", StudyInstanceUID="", PatientName="")
    deliver(landing, FOLDER, {"Eschenbach/Parzival.dcm": encoded(blank)})
    found = clean_bytes(clean, run(landing, clean, pseudonymiser))
    for word in (b"Vogelweide", b"Walther", b"Eschenbach", b"Parzival"):
        assert word not in found


def test_a_worker_that_fails_says_nothing_of_the_file(
    landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser, tmp_path: Path
) -> None:
    deliver(landing, FOLDER, {"Parzival.dcm": encoded(image())})
    (tmp_path / "clean" / "instances").write_bytes(b"in the way")
    with pytest.raises(StoreError) as caught:
        ingest_delivery(landing, FOLDER, clean, pseudonymiser)
    assert "Parzival" not in repr(caught.value) and "Vogelweide" not in repr(caught.value)


def test_nested_names_and_private_elements_leave_no_trace(
    landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    made = image(
        RequestAttributesSequence=item(RequestedProcedureDescription="Minnesang am Hofe"),
        ReferencedImageSequence=item(PatientName="Tristan^Isolde", ReferencedSOPInstanceUID="1.2.826.0.1.99.77"),
    )
    made.private_block(0x0029, "HOFMUSIK", create=True).add_new(1, "LO", "Isolde")
    deliver(landing, FOLDER, {"1": encoded(made)})
    result = run(landing, clean, pseudonymiser)
    assert result.counts == {"published": 1}
    for word in (b"Minnesang", b"Isolde", b"HOFMUSIK", b"1.2.826", b"Burgdorf", b"MRN-", b"19611224", b"20240131"):
        assert word not in clean_bytes(clean, result)


def test_a_clinics_ct_comes_through_whole(
    shared_data: Path, landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    copy_tree(shared_data / "ct_thorax_rt", landing)
    result = run(landing, clean, pseudonymiser)
    assert result.counts == {"annotation": 1, "published": 105}
    assert len({row["series_instance_uid"] for row in result.instances}) == 1
    assert [len(data) > 1_000_000 for _, data in result.annotation_objects] == [True]


def test_a_series_without_uids_is_one_series(
    shared_data: Path, landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    copy_tree(shared_data / "ct_abdomen_totalseg_dicom", landing)
    result = run(landing, clean, pseudonymiser)
    assert result.counts == {"not_dicom": 1, "published": 20}
    assert len({row["series_instance_uid"] for row in result.instances}) == 1
    assert len({row["sop_instance_uid"] for row in result.instances}) == 20


def test_published_real_files_decode_to_the_pixels_they_had(
    shared_data: Path, landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    source = shared_data / "awkward" / "single"
    copy_tree(source, landing)
    result = run(landing, clean, pseudonymiser)
    paths = {row["sop_instance_uid"]: row["path"] for row in result.instances}
    compared = 0
    with silenced():
        for row in result.ledger:
            if row["outcome"] != "published":
                continue
            ours = dcmread(io.BytesIO(clean.read(paths[row["pseudonym"]])))
            theirs = dcmread(source / row["source"].split("/", 2)[2], force=True)
            try:
                expected = theirs.pixel_array
            except (RuntimeError, AttributeError, NotImplementedError, ValueError):  # pydicom cannot decode the source
                continue
            assert np.array_equal(ours.pixel_array, expected, equal_nan=expected.dtype.kind == "f")
            compared += 1
    assert compared >= 8
