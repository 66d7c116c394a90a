"""Claims about finding files: trees, archives, and what archives must not do."""

import io
import struct
import zipfile

import pytest

from medillus_pipeline.dicom import reading
from medillus_pipeline.dicom.outcomes import Quarantine, Reason
from medillus_pipeline.dicom.reading import iter_files, list_units, parse
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.deidentification.delivered_files import deliver, encoded, image


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return buffer.getvalue()


def problems(landing: Zone) -> dict[str, Reason]:
    return {file.member: file.problem for file in iter_files(landing, "d")}


def test_any_tree_is_walked_and_the_marker_is_no_file(landing: Zone) -> None:
    deliver(landing, "d", {"a/b/no extension": b"1", "c.dcm": b"2", "a/_READY": b"3"})
    assert [(file.source, file.data) for file in iter_files(landing, "d")] == [
        ("images/d/a/_READY", b"3"),
        ("images/d/a/b/no extension", b"1"),
        ("images/d/c.dcm", b"2"),
    ]


@pytest.mark.parametrize("name", ["slices.zip", "slices-without-extension"])
def test_archives_are_opened_whatever_their_name(name: str, landing: Zone) -> None:
    deliver(landing, "d", {name: archive({"x/1": b"one", "2": b"two"})})
    assert [(file.member, file.data) for file in iter_files(landing, "d")] == [("x/1", b"one"), ("2", b"two")]


def test_a_large_archive_is_divided_among_workers(landing: Zone) -> None:
    deliver(landing, "d", {"a.zip": archive({f"{n}": b"%d" % n for n in range(80)})})
    assert len(list_units(landing, "d")) == 3
    assert [file.data for file in iter_files(landing, "d")] == [b"%d" % n for n in range(80)]


@pytest.mark.parametrize("name", ["../../etc/evil", "/etc/evil", "a\\..\\..\\evil", "C:/evil", "x/../../evil"])
def test_members_that_climb_out_are_refused_and_cost_no_other_its_place(name: str, landing: Zone) -> None:
    deliver(landing, "d", {"a.zip": archive({name: b"evil", "good": b"good"})})
    files = list(iter_files(landing, "d"))
    assert [file.problem for file in files] == [Reason.UNSAFE_ARCHIVE_MEMBER, Reason.NONE]
    assert files[0].data == b""


def test_links_in_archives_are_refused(landing: Zone) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = 0o120777 << 16
        made.writestr(entry, "/etc/passwd")
    deliver(landing, "d", {"a.zip": buffer.getvalue()})
    assert problems(landing) == {"link": Reason.UNSAFE_ARCHIVE_MEMBER}


def test_bombs_are_not_inflated(landing: Zone) -> None:
    deliver(landing, "d", {"a.zip": archive({"bomb": bytes(8 << 20), "good": b"x"})})
    assert problems(landing) == {"bomb": Reason.ARCHIVE_LIMIT, "good": Reason.NONE}


def test_a_member_larger_than_it_says_is_refused(landing: Zone) -> None:
    data = bytearray(archive({"liar": b"a" * 5000}))
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<L", 10)
    deliver(landing, "d", {"a.zip": bytes(data)})
    assert problems(landing)["liar"] in (Reason.ARCHIVE_LIMIT, Reason.ARCHIVE_UNREADABLE)


def test_too_large_an_archive_is_one_refused_file(landing: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAXIMUM_MEMBERS", 1)
    deliver(landing, "d", {"a.zip": archive({"1": b"1", "2": b"2"})})
    assert problems(landing) == {"": Reason.ARCHIVE_LIMIT}


def test_a_broken_archive_is_one_unreadable_file(landing: Zone) -> None:
    deliver(landing, "d", {"a.zip": archive({"1": b"1"})[:30], "empty.zip": archive({})})
    assert [file.problem for file in iter_files(landing, "d")] == [Reason.ARCHIVE_UNREADABLE, Reason.NONE]


def test_names_that_repeat_in_an_archive_stay_apart(landing: Zone) -> None:
    buffer = io.BytesIO()
    with pytest.warns(UserWarning), zipfile.ZipFile(buffer, "w") as made:
        made.writestr("same", b"1")
        made.writestr("same", b"2")
    deliver(landing, "d", {"a.zip": buffer.getvalue()})
    assert problems(landing) == {"same": Reason.NONE, "same#2": Reason.NONE}


@pytest.mark.parametrize("data", [b"", b"plain text", b"\x1f\x8b" + bytes(200), b"\x08\x00 text that starts like one"])
def test_what_is_not_dicom_is_told_so(data: bytes) -> None:
    with pytest.raises(Quarantine) as caught:
        parse(data)
    assert caught.value.reason is Reason.NOT_DICOM


def test_a_data_set_without_preamble_and_meta_information_is_dicom() -> None:
    data = encoded(image())
    bare = data[data.index(b"\x08\x00\x08\x00CS") :]
    assert parse(bare).get_item(0x00280010) is not None
