"""Names as old systems write them: bytes that are no UTF-8, markers that are folders. They stop nobody else's files."""

import os
from pathlib import Path

import pytest

from medillus_pipeline import landings
from medillus_pipeline.tables import INSTANCES, LEDGER, MASKS, TableStore
from medillus_pipeline_tests.site import Site, ct, drawing, series

LATIN_1 = "Müller".encode("latin-1")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


def write(folder: bytes, files: dict[bytes, bytes]) -> None:
    Path(os.fsdecode(folder)).mkdir(parents=True)
    for name, data in files.items():
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(data)


def test_folder_and_files_named_in_latin_1_come_through(site: Site) -> None:
    root = site.settings.landing.full("images").encode()
    marker = b'{"label": "umlaut", "synthetic": true}'
    write(root + b"/" + LATIN_1, {b"IM-" + LATIN_1: ct(1000), b"IM2": ct(1001), b"_READY": marker})
    site.land("images", "other", series(2000))
    site.register("images")
    assert landings.known_keys(site.settings.vault, "images") == ["other", "umlaut"]
    assert os.fsencode(landings.folder_of(site.settings.vault, "images", "umlaut")) == LATIN_1
    "".join(item.folder for item in landings.mappings(site.settings.vault)).encode()
    assert site.run("ingest_delivery", "umlaut").success
    assert site.store.tables.read(INSTANCES, "umlaut").num_rows == 2
    sources = TableStore(site.settings.vault).read(LEDGER, "images.umlaut")["source"].to_pylist()
    assert any(r"IM-M\udcfcller" in source for source in sources)
    site.register("images")
    assert landings.known_keys(site.settings.vault, "images") == ["other", "umlaut"]


def test_an_annotator_whose_name_is_no_text_is_an_annotator_all_the_same(site: Site) -> None:
    site.arrive("images", "scan", series(3000))
    assert site.run("ingest_delivery", "scan").success
    files = {f"{site.slice_name(3000)}.json": drawing("liver"), "batch.json": b'{"annotator": "\\ud800 Walther"}'}
    site.arrive("annotations", "surrogate", files)
    assert site.run("ingest_annotations", "surrogate").success
    (annotator,) = site.store.tables.read(MASKS, "surrogate")["annotator"].to_pylist()
    assert annotator.startswith("a-")


def test_a_marker_that_is_a_folder_closes_its_delivery_and_blocks_no_other(tmp_path: Path) -> None:
    """Under a key of its own, since such a marker cannot say that the data are synthetic."""
    from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
    from medillus_pipeline.zones import Zone

    landing, vault = Zone((tmp_path / "landing").as_uri()), Zone((tmp_path / "vault").as_uri())
    landing.write("images/one/_READY/oops", b"")
    landing.write("images/two/_READY", b'{"label": "two"}')
    found = landings.register(landing, vault, Pseudonymiser(key=b"k" * 32, split_salt=b"s" * 32), "images")
    assert {item.folder for item in found} == {"one", "two"}
