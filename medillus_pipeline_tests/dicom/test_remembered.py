"""What was made comes back as it was, without a text of the whole delivery in between; what is damaged does not."""

import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from medillus_pipeline.dicom.remembered import recall, remember
from medillus_pipeline.zones import Zone

SAID = {"skipped": {"unreadable_file": 1}, "notes": {}}
ROWS = [(0, {"path": "a", "position": [0.1, -0.0]}), (2, {"path": "b", "position": None})]


def taken(zone: Zone, name: str = "ab12") -> tuple[dict[str, Any] | None, list[tuple[str, int, dict[str, Any]]]]:
    rows: list[tuple[str, int, dict[str, Any]]] = []
    return recall(zone, name, lambda kind, number, row: rows.append((kind, number, row))), rows


def test_what_is_kept_comes_back(clean: Zone) -> None:
    remember(clean, "ab12", SAID, {"slices": ROWS, "further": ROWS[:1]})
    wanted = [("slices", *ROWS[0]), ("slices", *ROWS[1]), ("further", *ROWS[0])]
    assert repr(taken(clean)) == repr((SAID, wanted))


def test_what_was_never_kept_does_not_come_back(clean: Zone) -> None:
    remember(clean, "ab12", {}, {})
    assert taken(clean) == ({}, [])
    assert taken(clean, "cd34") == (None, [])


@pytest.mark.parametrize("damage", ["short", "shorter", "other bytes", "no end", "empty"])
def test_what_is_damaged_does_not_come_back(damage: str, clean: Zone) -> None:
    remember(clean, "ab12", SAID, {"slices": ROWS * 500})
    (path,) = clean.files("renderings")
    whole = clean.read(path)
    text = zlib.decompress(whole)
    damaged = {
        "short": whole[:-40],
        "shorter": whole[:10],
        "other bytes": whole[:100] + bytes(100) + whole[200:],
        "no end": zlib.compress(text[: text.rindex(b"\n", 0, -1) + 1]),
        "empty": b"",
    }
    clean.write(path, damaged[damage])
    assert taken(clean)[0] is None


def test_keeping_a_large_delivery_and_taking_it_up_again_takes_little_memory(clean: Zone) -> None:
    count = 20_000

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for n in range(count):
            yield n, {"path": f"slices/{n:064x}", "sha256": f"{n:064x}", "position": [0.0, 0.0, n]}

    tracemalloc.start()
    remember(clean, "ab12", {}, {"slices": rows()})
    assert recall(clean, "ab12", lambda kind, number, row: None) == {}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * count, "a third of the rows as text"
