"""DICOM segmentations: every way of storing segments comes to the same pixels of the same slices."""

from collections.abc import Callable

import numpy as np
import pytest
from pydicom import Dataset, uid

from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.annotation.formats.segmentations import (
    LIVER,
    SPLEEN,
    drawn,
    frames_of,
    made,
    masks,
    moved,
    noted,
    read,
    segment,
    sources,
    without_references,
)
from medillus_pipeline_tests.annotation.published import SERIES, Desk, row, stack

Edit = Callable[[Dataset], None]


@pytest.mark.parametrize("omitted", [True, False], ids=["empty frames left out", "empty frames stored"])
@pytest.mark.parametrize(
    ("kind", "syntax"),
    [
        ("BINARY", uid.ExplicitVRLittleEndian),
        ("BINARY", uid.ImplicitVRLittleEndian),
        ("BINARY", uid.JPEG2000Lossless),
        *((kind, syntax) for kind in ("FRACTIONAL", "LABELMAP") for syntax in (
            uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless,
        )),
    ],
)  # fmt: skip
@pytest.mark.parametrize("columns", [50, 51], ids=["byte-aligned", "not byte-aligned"])
def test_every_kind_and_encoding_comes_to_the_same_pixels(
    desk: Desk, pseudonymiser: Pseudonymiser, kind: str, syntax: str, omitted: bool, columns: int
) -> None:
    desk.slices = stack(pseudonymiser, columns=columns)
    pixels = masks(shape=(3, 40, columns))
    pixels[1] = False
    found = read(made(pixels, kind=kind, transfer_syntax_uid=syntax, omit_empty_frames=omitted), desk)
    assert np.array_equal(drawn(found, desk, "liver"), pixels[..., 0])
    assert np.array_equal(drawn(found, desk, "spleen"), pixels[..., 1])
    assert not found.notes and set(found.regions) == {desk.slices[0]["slice_name"], desk.slices[2]["slice_name"]}


@pytest.mark.parametrize("kind", ["PROBABILITY", "OCCUPANCY"])
@pytest.mark.parametrize("greatest", [255, 100, 1])
def test_half_of_the_greatest_fraction_counts_and_the_receipt_says_so(desk: Desk, kind: str, greatest: int) -> None:
    fractions = np.random.default_rng(1).integers(0, greatest + 1, (3, 40, 50, 1)) / greatest
    data = made(fractions, kind="FRACTIONAL", fractional_type=kind, max_fractional_value=greatest)
    found = read(data, desk)
    assert np.array_equal(drawn(found, desk, "liver"), fractions[..., 0] >= 0.5)
    assert found.remarks == {"fractional segments: at least 0.5 of the greatest value counts"}
    strict = read(data, desk, threshold=0.9)
    assert np.array_equal(drawn(strict, desk, "liver"), np.round(fractions[..., 0] * greatest) >= 0.9 * greatest)


def test_a_pixel_without_any_probability_is_never_inside(desk: Desk) -> None:
    fractions = np.zeros((3, 40, 50, 1))
    fractions[0, 3, 4] = 1 / 255
    found = read(made(fractions, kind="FRACTIONAL", omit_empty_frames=False), desk, threshold=0.0)
    assert drawn(found, desk, "liver").sum() == 1


def test_overlapping_segments_are_all_kept(desk: Desk) -> None:
    pixels = np.zeros((3, 40, 50, 2), bool)
    pixels[0, 5:20, 5:30, 0] = pixels[0, 10:35, 20:45, 1] = True
    found = read(made(pixels), desk)
    assert np.array_equal(drawn(found, desk, "liver"), pixels[..., 0])
    assert np.array_equal(drawn(found, desk, "spleen"), pixels[..., 1])


def test_segments_of_one_structure_are_united_and_the_receipt_says_so(desk: Desk) -> None:
    pixels = masks()
    found = read(made(pixels, [segment(1, LIVER), segment(2, LIVER)]), desk)
    assert np.array_equal(drawn(found, desk, "liver"), pixels.any(axis=-1))
    assert found.remarks == {"segments of one structure were united"}


def test_frames_without_references_lie_where_their_plane_is(desk: Desk) -> None:
    pixels = masks()
    found = read(made(pixels, edit=without_references), desk)
    assert np.array_equal(drawn(found, desk, "liver"), pixels[..., 0]) and not found.notes


def _turned(pixels: np.ndarray, transposed: bool, upside_down: bool, mirrored: bool) -> tuple[np.ndarray, Edit]:
    """The same segmentation on another grid through the same pixel centres (2 x 1 mm, first at -20, -30)."""
    along, down, origin = np.array([1.0, 0, 0]), np.array([0, 2.0, 0]), np.array([-20.0, -30.0, 0])
    if upside_down:
        pixels, origin, down = pixels[:, ::-1], origin + down * (pixels.shape[1] - 1), -down
    if mirrored:
        pixels, origin, along = pixels[:, :, ::-1], origin + along * (pixels.shape[2] - 1), -along
    if transposed:
        pixels, along, down = pixels.swapaxes(1, 2), down, along
    lengths = np.linalg.norm(along), np.linalg.norm(down)

    def edit(dataset: Dataset) -> None:
        shared = dataset.SharedFunctionalGroupsSequence[0]
        directions = [*along / lengths[0], *down / lengths[1]]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = [float(v) for v in directions]
        shared.PixelMeasuresSequence[0].PixelSpacing = [float(lengths[1]), float(lengths[0])]
        for frame in frames_of(dataset):
            position = frame.PlanePositionSequence[0]
            position.ImagePositionPatient = [*map(float, origin[:2]), position.ImagePositionPatient[2]]

    return pixels, edit


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_grid_that_is_turned_or_flipped_is_turned_back(
    desk: Desk, kind: str, transposed: bool, upside_down: bool, mirrored: bool
) -> None:
    pixels = masks()
    pixels[:, :, :13] = False
    pixels[:, 31:] = False
    turned, edit = _turned(pixels, transposed, upside_down, mirrored)
    found = read(made(np.ascontiguousarray(turned), kind=kind, edit=edit), desk)
    assert np.array_equal(drawn(found, desk, "liver"), pixels[..., 0])
    assert np.array_equal(drawn(found, desk, "spleen"), pixels[..., 1])
    assert bool(found.remarks) is (transposed or upside_down or mirrored)


def test_a_segmentation_cut_to_a_part_of_the_slice_lies_in_its_part(desk: Desk) -> None:
    pixels = masks()
    pixels[:, :7] = pixels[:, 33:] = False
    pixels[:, :, :11] = pixels[:, :, 42:] = False
    found = read(made(np.ascontiguousarray(pixels[:, 7:33, 11:42]), edit=moved((11.0, 14.0, 0.0))), desk)
    assert np.array_equal(drawn(found, desk, "liver"), pixels[..., 0]) and found.remarks


@pytest.mark.parametrize(
    ("by", "fits"),
    [((0.2, 0.0, 0.0), True), ((0.0, 0.45, 0.0), True), ((0.3, 0.0, 0.0), False), ((0.0, 0.55, 0.0), False),
     ((0.0, 0.0, 0.9), True), ((0.0, 0.0, 1.1), False), ((-1.0, 0.0, 0.0), False)],
)  # fmt: skip
def test_pixels_that_are_none_of_the_slice_are_refused(desk: Desk, by: tuple[float, ...], fits: bool) -> None:
    pixels = masks(segments=1)
    data = made(pixels, edit=moved(by))
    if fits:
        found = read(data, desk)
        assert np.array_equal(drawn(found, desk, "liver"), pixels[..., 0]) and not found.notes
    else:
        assert noted(read(data, desk)) == {("liver", "refused", "other_geometry", 3)}


def test_a_grid_of_other_spacing_is_refused(desk: Desk) -> None:
    def edit(dataset: Dataset) -> None:
        dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [2.05, 1.0]

    assert noted(read(made(masks(segments=1), edit=edit), desk)) == {("liver", "refused", "other_geometry", 3)}


def test_frames_exchanged_between_the_slices_that_they_name_are_refused(desk: Desk) -> None:
    def edit(dataset: Dataset) -> None:
        frames = sorted(frames_of(dataset), key=lambda f: float(f.PlanePositionSequence[0].ImagePositionPatient[2]))
        frames[0].DerivationImageSequence, frames[1].DerivationImageSequence = (
            frames[1].DerivationImageSequence,
            frames[0].DerivationImageSequence,
        )

    found = read(made(masks(segments=1), edit=edit), desk)
    assert noted(found) == {("liver", "refused", "other_geometry", 2)}
    assert set(found.regions) == {desk.slices[2]["slice_name"]}


def test_frames_between_slices_are_refused_and_those_beyond_them_wait(desk: Desk) -> None:
    def edit(dataset: Dataset) -> None:
        without_references(dataset)
        for frame, z in zip(frames_of(dataset), (0.0, 7.0, 40.0), strict=True):
            frame.PlanePositionSequence[0].ImagePositionPatient = [-20.0, -30.0, z]

    found = read(made(masks(segments=1), edit=edit), desk)
    assert noted(found) == {("liver", "refused", "other_geometry", 1), ("liver", "pending", "unknown_slice", 1)}
    assert set(found.regions) == {desk.slices[0]["slice_name"]}


def test_of_frames_closer_than_slices_only_those_in_the_plane_are_taken(desk: Desk) -> None:
    pixels = masks(segments=1)

    def edit(dataset: Dataset) -> None:
        without_references(dataset)
        for frame, z in zip(frames_of(dataset), (4.2, 5.0, 5.8), strict=True):
            frame.PlanePositionSequence[0].ImagePositionPatient = [-20.0, -30.0, z]

    found = read(made(pixels, edit=edit), desk)
    assert np.array_equal(drawn(found, desk, "liver")[1], pixels[1, ..., 0])
    assert noted(found) == {("liver", "refused", "other_geometry", 2)}


def test_a_segmentation_of_another_series_in_the_same_space_waits_for_it(desk: Desk) -> None:
    def of_another_series(dataset: Dataset) -> None:
        dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = "9.9"

    elsewhere = sources(SeriesInstanceUID="9.9")
    for k, image in enumerate(elsewhere):
        image.SOPInstanceUID = f"9.9.{k}"
    waiting = {("liver", "pending", "unknown_slice", 3)}
    assert noted(read(made(masks(segments=1), images=elsewhere), desk)) == waiting

    def without_series(dataset: Dataset) -> None:
        del dataset.ReferencedSeriesSequence

    assert noted(read(made(masks(segments=1), images=elsewhere, edit=without_series), desk)) == waiting

    def only_the_series(dataset: Dataset) -> None:
        without_references(dataset)
        of_another_series(dataset)

    assert noted(read(made(masks(segments=1), edit=only_the_series), desk)) == waiting


def test_two_series_that_fit_equally_are_not_guessed_between(desk: Desk, pseudonymiser: Pseudonymiser) -> None:
    desk.slices.append(row(pseudonymiser, "8.8.1", series_instance_uid=pseudonymiser.uid("8.8")))

    def edit(dataset: Dataset) -> None:
        without_references(dataset)
        del dataset.ReferencedSeriesSequence

    found = read(made(masks(segments=1), edit=edit), desk)
    assert noted(found) == {("liver", "refused", "ambiguous_series", 1)}


def test_a_segmentation_of_another_patient_is_refused(desk: Desk) -> None:
    def edit(dataset: Dataset) -> None:
        dataset.PatientID = "MRN 7"

    with pytest.raises(Refused) as refused:
        read(made(masks(), edit=edit), desk)
    assert refused.value.reason is Reason.OTHER_PATIENT


def test_a_segmentation_in_our_own_identifiers_meets_the_same_slices(desk: Desk) -> None:
    ours = sources(PatientID=desk.slices[0]["patient"])
    for image, published in zip(ours, desk.slices, strict=True):
        image.SOPInstanceUID, image.SeriesInstanceUID = published["sop_instance_uid"], published["series_instance_uid"]
    pixels = masks()
    found = read(made(pixels, images=ours), desk)
    assert np.array_equal(drawn(found, desk, "liver"), pixels[..., 0])


def test_frames_of_a_multi_frame_source_are_told_apart_by_number_and_by_place(
    desk: Desk, pseudonymiser: Pseudonymiser
) -> None:
    desk.slices = [
        row(pseudonymiser, f"{SERIES}.0", frame=k + 1, slice_name=f"s-{k}", position=[-20.0, -30.0, 5.0 * k])
        for k in range(3)
    ]
    pixels = masks()

    def number(dataset: Dataset) -> None:
        for frame in frames_of(dataset):
            image = frame.DerivationImageSequence[0].SourceImageSequence[0]
            if "ReferencedFrameNumber" not in image:  # frames of one plane share the item
                image.ReferencedFrameNumber = int(str(image.ReferencedSOPInstanceUID).rsplit(".", 1)[1]) + 1
                image.ReferencedSOPInstanceUID = f"{SERIES}.0"

    def name_only(dataset: Dataset) -> None:
        number(dataset)
        for frame in frames_of(dataset):
            frame.DerivationImageSequence[0].SourceImageSequence[0].pop("ReferencedFrameNumber", None)

    def without_place(dataset: Dataset) -> None:
        number(dataset)
        for frame in frames_of(dataset):
            del frame.PlanePositionSequence

    for edit in (number, name_only, without_place):
        found = read(made(pixels, edit=edit), desk)
        assert np.array_equal(drawn(found, desk, "liver"), pixels[..., 0]), edit.__name__

    def wrong(dataset: Dataset) -> None:
        number(dataset)
        image = frames_of(dataset)[0].DerivationImageSequence[0].SourceImageSequence[0]
        image.ReferencedFrameNumber = 1 + image.ReferencedFrameNumber % 3

    assert noted(read(made(masks(segments=1), edit=wrong), desk)) == {("liver", "refused", "other_geometry", 1)}


def test_slices_without_a_place_in_the_patient_are_met_by_reference_and_size(
    desk: Desk, pseudonymiser: Pseudonymiser
) -> None:
    nowhere = {"position": None, "orientation": None, "frame_of_reference_uid": None, "slice_spacing": None}
    desk.slices = stack(pseudonymiser, **{k: v for k, v in nowhere.items() if k != "position"})
    for published in desk.slices:
        published["position"] = None
    pixels = masks()
    assert np.array_equal(drawn(read(made(pixels), desk), desk, "liver"), pixels[..., 0])
    smaller = made(np.ascontiguousarray(masks(segments=1)[:, :39]))
    assert noted(read(smaller, desk)) == {("liver", "refused", "other_geometry", 3)}

    def moved_pixels(dataset: Dataset) -> None:
        for frame in frames_of(dataset):
            frame.DerivationImageSequence[0].SourceImageSequence[0].SpatialLocationsPreserved = "NO"

    refused = read(made(masks(segments=1), edit=moved_pixels), desk)
    assert noted(refused) == {("liver", "refused", "other_geometry", 3)}


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_unknown_segments_cost_the_known_ones_nothing(desk: Desk, kind: str) -> None:
    from pydicom.sr.coding import Code

    pixels = masks()
    strange = segment(1, Code("85756007", "SCT", "Tissue"), "Mr Holloway's thing")
    found = read(made(pixels, [strange, segment(2, SPLEEN)], kind=kind), desk)
    assert np.array_equal(drawn(found, desk, "spleen"), pixels[..., 1])
    assert noted(found) == {("*", "refused", "unknown_label", 3)} and found.unknown_labels == {"Mr Holloway's thing"}


def test_a_segmentation_that_draws_nothing_is_empty(desk: Desk) -> None:
    pixels = np.zeros((3, 40, 50, 1), bool)
    with pytest.raises(Refused) as refused:
        read(made(pixels, omit_empty_frames=False), desk)
    assert refused.value.reason is Reason.EMPTY
