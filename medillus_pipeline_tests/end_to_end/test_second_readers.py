"""Two readers of one real scan: how far they agree, what a correction changes, and what the page of a batch shows."""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydicom import Dataset, dcmread

from medillus_pipeline.tables import MASK_AGREEMENT, MASK_ITEMS, MASKS
from medillus_pipeline_tests.site import Site, check

FIRST, SECOND = b"Anneliese Beispiel", b"Bertram Muster"
SHIFT = 3.0
"""How far, in mm, the second reader draws the heart to the patient's left."""
PICTURE = "data:image/png;base64,"
Edit = Callable[[str, list[Dataset]], list[Dataset]]


def redrawn(structures: bytes, edit: Edit) -> bytes:
    """The structure set with the contours of each ROI, by its name, as `edit` leaves them."""
    dataset = dcmread(io.BytesIO(structures))
    names = {roi.ROINumber: str(roi.ROIName) for roi in dataset.StructureSetROISequence}
    for item in dataset.ROIContourSequence:
        item.ContourSequence = edit(names[item.ReferencedROINumber], list(item.ContourSequence))
    sink = io.BytesIO()
    dataset.save_as(sink)
    return sink.getvalue()


def otherwise(name: str, contours: list[Dataset]) -> list[Dataset]:
    """The heart further left, no liver, all else as it was."""
    for contour in contours if name == "HEART" else ():
        points = [float(value) for value in contour.ContourData]
        contour.ContourData = [f"{v + SHIFT * (k % 3 == 0):.4f}" for k, v in enumerate(points)]
    return [] if name == "LIVER" else contours


def without_liver(name: str, contours: list[Dataset]) -> list[Dataset]:
    return [] if name == "LIVER" else contours


@dataclass
class Readers:
    """The scan with three batches: the planning contours, another reader's, and that reader's correction."""

    site: Site
    results: dict[str, dg.ExecuteInProcessResult]

    def agreement(self, batch: str) -> dict[str, dict[str, Any]]:
        """Rows about the whole series, by structure."""
        rows = self.site.store.tables.read(MASK_AGREEMENT, batch).to_pylist()
        return {row["structure"]: row for row in rows if row["slice_name"] == "*"}

    def page(self, batch: str) -> str:
        (event,) = self.results[batch].asset_materializations_for_node("masks")
        clean = self.site.settings.clean
        return clean.read(str(event.metadata["report"].value).removeprefix(f"{clean.url}/")).decode()


@pytest.fixture(scope="module")
def readers(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    source = shared_data / "ct_thorax_rt"
    planned = (source / "RS.dcm").read_bytes()
    site = Site(tmp_path_factory.mktemp("readers"))
    site.arrive("images", "thorax", {file.name: file.read_bytes() for file in sorted((source / "ct").glob("*.dcm"))})
    upstream = [dg.AssetKey("deidentified_instances"), dg.AssetKey("slices")]
    assert site.run("ingest_delivery", "thorax", asset_selection=upstream).success
    batches = {
        "first": (FIRST, planned),
        "second": (SECOND, redrawn(planned, otherwise)),
        "corrected": (SECOND, redrawn(planned, without_liver)),
    }
    results = {}
    for batch, (reader, data) in batches.items():
        site.arrive("annotations", batch, {"annotator.txt": reader, "RS.dcm": data})
        results[batch] = site.run("ingest_annotations", batch)
        assert results[batch].success
    yield Readers(site, results)


def test_every_batch_passes_its_gates(readers: Readers) -> None:
    for result in readers.results.values():
        for gate in ("masks_gate", "mask_tables_gate"):
            assert check(result, gate).passed, check(result, gate).description


def test_the_first_reader_has_nobody_to_be_compared_with(readers: Readers) -> None:
    assert readers.agreement("first") == {}


def test_who_draws_the_same_agrees_in_full(readers: Readers) -> None:
    """Lungs are drawn the same, too, but label maps are compared, and the heart takes pixels of a lung."""
    agreed = readers.agreement("second")
    assert set(agreed) == {"lung_left", "lung_right", "heart", "liver", "spinal_cord", "gtv"}
    for structure in ("gtv", "spinal_cord"):
        row = agreed[structure]
        assert (row["dice"], row["hausdorff_95_mm"], row["drawn_by"]) == (1, 0, "both")
    assert 0.99 < agreed["lung_left"]["dice"] < agreed["lung_right"]["dice"] < 1


def test_a_shift_shows_in_dice_and_in_millimetres(readers: Readers) -> None:
    heart = readers.agreement("second")["heart"]
    assert 0.93 < heart["dice"] < 0.98
    assert 1 < heart["mean_surface_distance_mm"] < heart["hausdorff_95_mm"] < SHIFT + 1
    assert abs(heart["area_difference_percent"]) < 0.1


def test_what_only_one_drew_has_no_figures(readers: Readers) -> None:
    liver = readers.agreement("second")["liver"]
    names = readers.site.settings.pseudonymiser()
    first = "a" if liver["annotator_a"] == names.annotator(FIRST.decode()) else "b"
    assert liver["drawn_by"] == f"only_{first}"
    assert liver["dice"] is None and liver[f"area_{first}_mm2"] > 0


def test_a_correction_is_a_revision_and_the_only_one_that_is_compared(readers: Readers) -> None:
    corrected = readers.site.store.tables.read(MASKS, "corrected").to_pylist()
    assert corrected and {row["revision"] for row in corrected} == {3}
    again = readers.agreement("corrected")
    assert again["heart"]["dice"] == 1 and again["heart"]["hausdorff_95_mm"] == 0
    items = readers.site.store.tables.read(MASK_ITEMS, "corrected").to_pylist()
    assert ("lung_right", "kept", "submitted_before") in {(i["structure"], i["outcome"], i["reason"]) for i in items}


def test_the_page_shows_where_they_differ_and_names_nobody(readers: Readers) -> None:
    page = readers.page("second")
    assert "Dice" in page and page.count(PICTURE) > readers.page("first").count(PICTURE)
    text = re.sub(rf"{PICTURE}[A-Za-z0-9+/=]+", "", page)
    assert not [word for word in ("Anneliese", "Beispiel", "Bertram", "Muster", "Vogelweide") if word in text]
    assert len(readers.site.settings.clean.files("reports")) == 3
