"""Each defect of a drawing trips exactly the finding that is about it, and a good drawing trips none.

The drawing is that of a phantom; real ones are in `test_plausibility_clean.py`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation.label_map import Region, trimmed
from medillus_pipeline.annotation.outcomes import Reason
from medillus_pipeline.annotation.plausibility.copies import copied
from medillus_pipeline.annotation.plausibility.examination import examine
from medillus_pipeline.annotation.plausibility.findings import Finding, FindingKind, Severity, refusals, rows
from medillus_pipeline.annotation.slice_index import Target
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.annotation.plausibility.real_series import Drawn, of_phantom

WORDS = load()
LIVER, SPLEEN, GALLBLADDER, HEART, CORD, LUNG, LUNG_LEFT, KIDNEY, KIDNEY_LEFT, FAT, GTV = (
    WORDS.by_key(key).id
    for key in (
        "liver", "spleen", "gallbladder", "heart", "spinal_cord", "lung_right", "lung_left", "kidney_right",
        "kidney_left", "subcutaneous_fat", "gtv",
    )
)  # fmt: skip
Found = set[tuple[str, str, bool]]


class Sheet:
    """A drawing that can be spoilt: labels may be moved and redrawn slice by slice. `names` go from feet to head."""

    def __init__(self, drawn: Drawn) -> None:
        self.stack = sorted(drawn.stack, key=lambda target: target.height)
        self.names = [target.slice_name for target in self.stack]
        self.regions = {name: dict(on_slice) for name, on_slice in drawn.regions.items()}
        self.values: Callable[[Target], np.ndarray | None] = drawn.values

    def slices_of(self, structure: int) -> list[str]:
        return [name for name in self.names if structure in self.regions.get(name, {})]

    def mask(self, name: str, structure: int) -> np.ndarray:
        full = np.zeros((self.stack[0].rows, self.stack[0].columns), bool)
        region = self.regions[name][structure]
        full[region.window] = region.mask
        return full

    def redraw(self, structure: int, name: str, mask: np.ndarray) -> None:
        region = trimmed(mask)
        assert region is not None
        self.regions.setdefault(name, {})[structure] = region

    def take_off(self, structure: int, names: list[str] | None = None) -> None:
        for name in self.slices_of(structure) if names is None else names:
            del self.regions[name][structure]

    def exchange(self, one: int, other: int, names: list[str] | None = None) -> None:
        for name in self.names if names is None else names:
            on_slice = self.regions.get(name, {})
            drawn = {other: on_slice.pop(one, None), one: on_slice.pop(other, None)}
            on_slice.update({structure: region for structure, region in drawn.items() if region is not None})

    def mirror(self) -> None:
        """The picture and all that is drawn on it turned over, its coordinates left as they were."""
        before = self.values
        for name, on_slice in self.regions.items():
            for structure in list(on_slice):
                self.redraw(structure, name, self.mask(name, structure)[:, ::-1])

        def values(target: Target) -> np.ndarray | None:
            found = before(target)
            return None if found is None else found[:, ::-1]

        self.values = values

    def examine(self, modality: str = "CT", **options: Any) -> list[Finding]:
        return examine(self.stack, self.regions, self.values, WORDS, modality, **options)

    def found(self, **options: Any) -> Found:
        """(finding, structure, whether it refuses)."""
        return {
            (str(f.kind), WORDS.by_id(f.structure).key, f.severity is Severity.REFUSE)
            for f in self.examine(**options)
        }  # fmt: skip


@pytest.fixture(scope="module")
def phantom(pseudonymiser: Pseudonymiser) -> Drawn:
    return of_phantom(0, pseudonymiser, (40, 128, 128))


@pytest.fixture
def sheet(phantom: Drawn) -> Sheet:
    return Sheet(phantom)


def shifted(mask: np.ndarray, rows: int) -> np.ndarray:
    return np.roll(mask, rows, axis=0)


def lifted_into_air(sheet: Sheet, structure: int, names: list[str]) -> None:
    """Moves a structure up (towards the front) to the topmost rows of the picture."""
    for name in names:
        mask = sheet.mask(name, structure)
        sheet.redraw(structure, name, shifted(mask, 1 - int(np.flatnonzero(mask.any(1))[0])))


def test_a_good_drawing_is_found_good_in_whatever_order_its_slices_come(sheet: Sheet) -> None:
    assert sheet.examine() == []
    sheet.take_off(LIVER, sheet.slices_of(LIVER)[5:7])
    expected = sheet.examine()
    sheet.stack = sheet.stack[::2] + sheet.stack[1::2]
    assert sheet.examine() == expected != []


def test_a_structure_that_is_too_small_from_end_to_end_is_remarked(sheet: Sheet) -> None:
    for name in sheet.slices_of(KIDNEY_LEFT):
        mask = sheet.mask(name, KIDNEY_LEFT)
        row, column = (int(v.mean()) for v in np.nonzero(mask))
        small = np.zeros_like(mask)
        small[row : row + 2, column : column + 2] = True
        sheet.redraw(KIDNEY_LEFT, name, small)
    assert sheet.found() == {("volume", "kidney_left", False)}


def test_a_part_of_a_structure_is_not_called_too_small(sheet: Sheet) -> None:
    some = sheet.slices_of(SPLEEN)[4:6]
    sheet.regions = {name: {SPLEEN: sheet.regions[name][SPLEEN]} for name in some}
    assert sheet.examine(volumes={SPLEEN: (500.0, 900.0)}) == []
    sheet.stack = [target for target in sheet.stack if target.slice_name in some]
    assert sheet.examine(volumes={SPLEEN: (500.0, 900.0)}) == []


def test_the_callers_range_of_volumes_stands_before_the_tables(sheet: Sheet) -> None:
    assert sheet.found(volumes={LIVER: (2.0, 20.0)}) == {("volume", "liver", False)}
    (finding,) = sheet.examine(volumes={LIVER: (2.0, 20.0)})
    area = sum(sheet.regions[name][LIVER].area for name in sheet.slices_of(LIVER)) * 3.2**2
    assert finding.value == pytest.approx(area * 6.0 / 1000) and (finding.low, finding.high) == (2.0, 20.0)


def test_a_volume_is_that_of_the_whole_structure_where_every_third_slice_is_drawn(sheet: Sheet) -> None:
    (whole,) = sheet.examine(volumes={LIVER: (2.0, 20.0)})
    sheet.regions = {name: sheet.regions[name] for name in sheet.names[::3]}
    (sparse,) = sheet.examine(volumes={LIVER: (2.0, 20.0)})
    assert sparse.value == pytest.approx(whole.value, rel=0.1)


def test_a_huge_area_on_one_slice_is_remarked_there(sheet: Sheet) -> None:
    name = sheet.slices_of(CORD)[3]
    row, column = (int(v.mean()) for v in np.nonzero(sheet.mask(name, CORD)))
    wide = np.zeros((128, 128), bool)
    wide[row - 6 : row + 6, column - 6 : column + 6] = True
    sheet.redraw(CORD, name, wide)
    assert sheet.found() == {("area", "spinal_cord", False)}
    assert [f.slice_name for f in sheet.examine()] == [name]


def test_exchanged_kidneys_are_refused(sheet: Sheet) -> None:
    sheet.exchange(KIDNEY, KIDNEY_LEFT)
    assert sheet.found() == {("sides_swapped", "kidney_left", True), ("sides_swapped", "kidney_right", True)}
    taken = refusals(sheet.examine(), sheet.regions)
    assert set(taken.values()) == {Reason.SIDES_SWAPPED}
    assert {name for structure, name in taken if structure == KIDNEY} == set(sheet.slices_of(KIDNEY))


def test_sides_taken_from_the_screen_are_refused_in_every_pair(sheet: Sheet) -> None:
    sheet.exchange(KIDNEY, KIDNEY_LEFT)
    sheet.exchange(LUNG, LUNG_LEFT)
    assert {structure for _, structure, refused in sheet.found() if refused} == {
        "kidney_left", "kidney_right", "lung_left", "lung_right",
    }  # fmt: skip


def test_sides_exchanged_on_one_slice_are_refused_on_that_slice(sheet: Sheet) -> None:
    name = sheet.slices_of(LUNG)[4]
    sheet.exchange(LUNG, LUNG_LEFT, [name])
    assert sheet.found() == {("sides_swapped", "lung_left", True), ("sides_swapped", "lung_right", True)}
    assert set(refusals(sheet.examine(), sheet.regions)) == {(LUNG, name), (LUNG_LEFT, name)}


def test_a_mirrored_image_is_for_a_person_to_decide(sheet: Sheet) -> None:
    sheet.mirror()
    found = sheet.found()
    assert {kind for kind, _, _ in found} == {"sides_swapped", "mirrored"} and not any(sure for _, _, sure in found)


def test_mirrored_organs_with_sides_of_the_patient_are_only_remarked(sheet: Sheet) -> None:
    sheet.mirror()
    sheet.exchange(KIDNEY, KIDNEY_LEFT)
    sheet.exchange(LUNG, LUNG_LEFT)
    found = sheet.found()
    assert {kind for kind, _, _ in found} == {"mirrored"} and ("mirrored", "liver", False) in found


def test_one_exchanged_pair_in_a_mirrored_patient_is_refused(sheet: Sheet) -> None:
    sheet.mirror()
    sheet.exchange(LUNG, LUNG_LEFT)
    refused = {structure for kind, structure, sure in sheet.found() if sure}
    assert refused == {"kidney_left", "kidney_right"}


def test_sides_are_those_of_the_patient_whatever_way_the_columns_run(sheet: Sheet) -> None:
    sheet.mirror()
    turned = []
    for target in sheet.stack:
        assert target.position is not None
        x = target.position[0] + 127 * 3.2
        orientation = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        turned.append(replace(target, position=(x, *target.position[1:]), orientation=orientation))
    sheet.stack = turned
    assert sheet.examine() == []


def test_one_of_a_pair_alone_is_compared_with_the_spine_or_else_the_bodys_middle(sheet: Sheet) -> None:
    sheet.take_off(KIDNEY)
    sheet.take_off(LUNG)
    assert sheet.examine() == []
    for name in sheet.slices_of(KIDNEY_LEFT):
        sheet.redraw(KIDNEY, name, sheet.mask(name, KIDNEY_LEFT))
    sheet.take_off(KIDNEY_LEFT)
    assert sheet.found() == {("sides_swapped", "kidney_right", False)}
    for key in ("spine", "spinal_cord"):
        sheet.take_off(WORDS.by_key(key).id)
    assert sheet.found() == {("sides_swapped", "kidney_right", False)}


def test_a_structure_in_the_air_is_refused(sheet: Sheet) -> None:
    lifted_into_air(sheet, GALLBLADDER, sheet.slices_of(GALLBLADDER))
    assert sheet.found() == {("outside_body", "gallbladder", True)}


def test_a_structure_in_the_air_on_one_slice_is_refused_on_that_slice(sheet: Sheet) -> None:
    name = sheet.slices_of(GALLBLADDER)[2]
    lifted_into_air(sheet, GALLBLADDER, [name])
    assert sheet.found() == {("outside_body", "gallbladder", True)}
    assert refusals(sheet.examine(), sheet.regions) == {(GALLBLADDER, name): Reason.OUTSIDE_BODY}


def test_half_a_structure_in_the_air_is_remarked(sheet: Sheet) -> None:
    for name in sheet.slices_of(SPLEEN):
        mask = sheet.mask(name, SPLEEN)
        body = sheet.values(sheet.stack[sheet.names.index(name)])
        assert body is not None
        skin = int(np.flatnonzero((body > -200)[:, mask.any(0)].any(1))[0])
        top, bottom = np.flatnonzero(mask.any(1))[[0, -1]]
        sheet.redraw(SPLEEN, name, shifted(mask, skin - int(top + bottom) // 2 - 2))
    assert sheet.found() == {("outside_body", "spleen", False)}


def test_what_may_reach_the_skin_may_lie_in_the_air(sheet: Sheet) -> None:
    body = WORDS.by_key("body").id
    for name in sheet.names:
        sheet.redraw(body, name, np.ones((128, 128), bool))
    assert sheet.examine() == []


def test_lungs_cut_by_a_small_round_field_of_view_are_not_outside(sheet: Sheet) -> None:
    row, column = np.ogrid[:128, :128]
    circle = (row - 60) ** 2 + (column - 64) ** 2 < 34**2
    whole = sheet.values
    for name, on_slice in list(sheet.regions.items()):
        for structure in list(on_slice):
            mask = sheet.mask(name, structure) & circle
            if mask.any():
                sheet.redraw(structure, name, mask)
            else:
                sheet.take_off(structure, [name])
    for padding in (-1024.0, np.nan):
        sheet.values = lambda target, padding=padding: np.where(circle, np.asarray(whole(target)), padding)
        assert "outside_body" not in {kind for kind, _, _ in sheet.found()}


def test_soft_tissue_drawn_in_the_lung_is_refused(sheet: Sheet) -> None:
    slices = sheet.slices_of(LUNG_LEFT)[-6:]
    adrenal = WORDS.by_key("adrenal_gland_left").id
    for name in slices:
        row, column = (int(v) for v in np.argwhere(sheet.mask(name, LUNG_LEFT)).mean(0))
        blob = np.zeros((128, 128), bool)
        blob[row - 3 : row + 3, column - 3 : column + 3] = True
        sheet.redraw(adrenal, name, blob)
    assert sheet.found() == {("wrong_tissue", "adrenal_gland_left", True)}
    (finding,) = sheet.examine()
    assert finding.value < -700 and finding.low == -300 and finding.unit == "HU"


def test_a_lung_drawn_on_the_liver_is_remarked_as_a_lung_without_air_is_like_it(sheet: Sheet) -> None:
    sheet.take_off(LUNG)
    sheet.take_off(LUNG_LEFT)
    for name in sheet.slices_of(LIVER):
        sheet.redraw(LUNG, name, sheet.mask(name, LIVER))
    assert sheet.found() == {("wrong_tissue", "lung_right", False)}


def test_an_unusual_tissue_is_remarked(sheet: Sheet) -> None:
    for name in sheet.slices_of(LIVER):
        sheet.redraw(FAT, name, sheet.mask(name, LIVER))
    assert sheet.found() == {("wrong_tissue", "subcutaneous_fat", False)}


def test_a_slice_on_the_wrong_tissue_is_remarked_where_the_rest_is_right(sheet: Sheet) -> None:
    name = sheet.slices_of(LIVER)[-1]
    sheet.redraw(LIVER, name, sheet.mask(name, LUNG))
    assert sheet.found() == {("wrong_tissue", "liver", False)}
    assert [f.slice_name for f in sheet.examine()] == [name]


def test_padding_says_nothing_on_tissue(sheet: Sheet) -> None:
    whole = sheet.values

    def values(target: Target) -> np.ndarray:
        found = np.array(whole(target))
        for structure, region in sheet.regions.get(target.slice_name, {}).items():
            if structure == HEART:
                found[region.window][region.mask & (np.indices(region.mask.shape).sum(0) % 3 > 0)] = np.nan
        return found

    sheet.values = values
    assert sheet.examine() == []


def test_an_island_far_from_the_rest_is_remarked(sheet: Sheet) -> None:
    name = sheet.slices_of(CORD)[8]
    mask = sheet.mask(name, CORD)
    row, column = (int(v.mean()) for v in np.nonzero(mask))
    gap = column + 20.5 - int(np.flatnonzero(mask[row]).max())
    mask[row, column + 20 : column + 22] = True
    sheet.redraw(CORD, name, mask)
    assert sheet.found() == {("islands", "spinal_cord", False)}
    (finding,) = sheet.examine()
    assert finding.slice_name == name and finding.value == pytest.approx(gap * 3.2, abs=3.2)


def test_lesions_may_lie_apart(sheet: Sheet) -> None:
    mask = np.zeros((128, 128), bool)
    mask[50:60, 50:60] = mask[50:52, 80:82] = True
    for k in (10, 11, 15):
        sheet.redraw(GTV, sheet.names[k], mask)
    assert sheet.examine() == []


def test_slices_left_out_between_others_are_counted(sheet: Sheet) -> None:
    missing = sheet.slices_of(LIVER)[5:7]
    sheet.take_off(LIVER, missing)
    assert sheet.found() == {("slice_gap", "liver", False)}
    (finding,) = sheet.examine()
    assert finding.value == 2 and finding.slice_name == missing[0]


def test_annotating_every_third_slice_leaves_no_gap_but_missing_one_of_them_does(sheet: Sheet) -> None:
    sheet.regions = {name: sheet.regions[name] for name in sheet.names[::3]}
    assert sheet.examine() == []
    missing = sheet.slices_of(LIVER)[2]
    sheet.take_off(LIVER, [missing])
    assert sheet.found() == {("slice_gap", "liver", False)}


def test_slices_chosen_at_random_leave_no_gap(sheet: Sheet) -> None:
    sheet.regions = {sheet.names[k]: sheet.regions[sheet.names[k]] for k in (2, 3, 9, 11, 18, 26, 27, 31, 38)}
    assert sheet.examine() == []


def test_without_values_shape_and_sides_are_still_examined(sheet: Sheet) -> None:
    sheet.values = lambda target: None
    assert sheet.examine() == []
    lifted_into_air(sheet, GALLBLADDER, sheet.slices_of(GALLBLADDER))
    assert sheet.examine() == []
    sheet.exchange(KIDNEY, KIDNEY_LEFT)
    assert {kind for kind, _, _ in sheet.found()} == {"sides_swapped"}


def test_values_that_are_no_hu_are_not_asked_for(sheet: Sheet) -> None:
    def values(target: Target) -> np.ndarray:
        raise AssertionError

    sheet.values = values
    assert sheet.examine("MR") == []


def test_slices_without_geometry_are_judged_by_their_values_alone(sheet: Sheet) -> None:
    sheet.stack = [replace(t, position=None, orientation=None, pixel_spacing=None) for t in sheet.stack]
    sheet.take_off(LIVER, sheet.slices_of(LIVER)[5:7])
    assert sheet.examine() == []
    sheet.exchange(HEART, LUNG)
    assert ("wrong_tissue", "lung_right", False) in sheet.found()


def test_kinds_that_a_site_spares_only_warn(sheet: Sheet) -> None:
    sheet.exchange(KIDNEY, KIDNEY_LEFT)
    found = sheet.examine(warn_only=[FindingKind.SIDES_SWAPPED])
    assert {f.severity for f in found} == {Severity.WARN} and refusals(found, sheet.regions) == {}


def test_values_of_another_size_are_an_error(sheet: Sheet) -> None:
    sheet.values = lambda target: np.zeros((3, 4))
    with pytest.raises(ValueError, match="not of the slice's size"):
        sheet.examine()


def test_findings_become_rows_without_anything_typed(sheet: Sheet) -> None:
    sheet.take_off(LIVER, sheet.slices_of(LIVER)[5:7])
    (line,) = rows(sheet.examine(), "2.25.1", "a-00000001", WORDS)
    assert (line["structure"], line["finding"], line["value"], line["high"], line["low"]) == (
        "liver", "slice_gap", 2.0, 0.0, None,
    )  # fmt: skip
    assert line["severity"] == "warn" and line["series_instance_uid"] == "2.25.1"


def _row(patient: str, name: str, sha256: str, pixels: int) -> dict[str, Any]:
    return {"patient": patient, "slice_name": name, "sha256": sha256, "labels": [LIVER], "areas": [pixels]}


def test_a_label_map_of_another_patient_is_remarked_and_one_carried_to_the_next_slice_is_not() -> None:
    earlier = [_row("p-1", "s-1", "aa", 500), _row("p-1", "s-2", "bb", 20)]
    batch = [_row("p-2", "s-3", "aa", 500), _row("p-2", "s-4", "bb", 20), _row("p-1", "s-5", "aa", 500)]
    assert {f.slice_name for f in copied(batch[:2], earlier)} == {"s-3"}
    assert copied(batch[2:], earlier) == []


def test_a_region_of_one_pixel_is_examined_like_any_other(sheet: Sheet) -> None:
    sheet.regions = {sheet.names[20]: {GTV: Region(60, 60, np.ones((1, 1), bool))}}
    assert sheet.examine() == []
