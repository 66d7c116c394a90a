"""Clocks that are wrong: of the machine that copied the files, or of ours when a folder arrived."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from medillus_pipeline import landings
from medillus_pipeline_tests.site import Site, series

PAST, FUTURE = datetime(1971, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, tzinfo=UTC)


def test_a_folder_keeps_the_key_that_it_got_while_the_clock_was_wrong_and_blocks_no_other(tmp_path: Path) -> None:
    settings = Site(tmp_path).settings
    whole = (settings.landing, settings.vault, settings.pseudonymiser(), "images")
    keys = []
    for number, now in enumerate([FUTURE, PAST, FUTURE, datetime.now(UTC)]):
        folder = f"delivery {number}"
        settings.landing.write(f"images/{folder}/IM1", b"x")
        landings.close(settings.landing, "images", folder, {"synthetic": True})
        (new,) = landings.register(*whole, now=now)  # type: ignore[arg-type]
        assert new.folder == folder
        keys.append(new.key)
    assert len(set(keys)) == 4
    assert landings.known_keys(settings.vault, "images") == sorted(keys)
    for number, key in enumerate(keys):
        assert landings.folder_of(settings.vault, "images", key) == f"delivery {number}"


@pytest.mark.slow
def test_the_times_of_delivered_files_change_no_byte_of_the_tables(tmp_path: Path) -> None:
    tables = []
    for number, moment in enumerate([None, PAST, FUTURE]):
        site = Site(tmp_path / str(number))
        site.arrive("images", "scan", series(1000, 2))
        for path in Path(site.settings.landing.full("")).rglob("*"):
            if moment is not None:
                os.utime(path, (moment.timestamp(), moment.timestamp()))
        assert site.run("ingest_delivery", "scan").success
        tables.append(site.tables())
    assert tables[0] == tables[1] == tables[2]
