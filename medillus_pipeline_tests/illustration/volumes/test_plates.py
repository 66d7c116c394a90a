"""Plates in three planes: true aspect, the patient the right way round, lines where the other planes are."""

import numpy as np
import pytest

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.figure import draw_figure
from medillus_pipeline.illustration.request import FigureRequest
from medillus_pipeline.illustration.volumes.generated_volume import GeneratedVolume
from medillus_pipeline.illustration.volumes.plates import PLANES, plates

SPACING = (6.0, 2.0, 3.0)


def marked() -> tuple[np.ndarray, np.ndarray]:
    """A volume (10, 20, 30) with a labelled, bright block towards head, back and the patient's left."""
    volume, labels = np.zeros((10, 20, 30), np.int16), np.zeros((10, 20, 30), np.uint8)
    volume[7:9, 13:18, 22:28], labels[7:9, 13:18, 22:28] = 1000, 5
    return volume, labels


def test_a_pixel_is_square_and_the_plate_as_large_as_the_body():
    made = plates(*marked(), SPACING)
    assert [plate.view.plane for plate in made] == list(PLANES)
    for plate, height, width in zip(made, (40, 60, 60), (90, 90, 40), strict=True):
        assert plate.view.pixel_mm == (2.0, 2.0)
        assert (plate.values.shape[0] * 2, plate.values.shape[1] * 2) == (height, width)
        assert plate.labels.shape == plate.values.shape


def test_the_patient_lies_as_the_letters_say():
    ends = {"R": -1, "L": 1, "A": -1, "P": 1, "F": -1, "H": 1}
    for plate in plates(*marked(), SPACING):
        row, column = np.argwhere(plate.labels == 5).mean(0)
        left, right, top, bottom = plate.view.orientation
        # The block lies to the left, the back and the head: at the edge whose letter says so.
        assert (column > plate.values.shape[1] / 2) == (ends[right] > ends[left])
        assert (row > plate.values.shape[0] / 2) == (ends[bottom] > ends[top])
        assert plate.values[round(row), round(column)] > 500


def test_lines_cross_where_the_other_planes_cut():
    axial, coronal, sagittal = plates(*marked(), SPACING, at=(2, 5, 10))
    assert (axial.view.index, coronal.view.index, sagittal.view.index) == (2, 5, 10)
    ends = {
        (plate.view.plane, line.plane): tuple(round(place, 6) for place in (*line.start, *line.end))
        for plate in (axial, coronal, sagittal)
        for line in plate.view.lines
    }
    assert len(ends) == 6
    assert ends["axial", "coronal"] == (0, 5.5, 45, 5.5)
    assert ends["axial", "sagittal"] == (15.75, 0, 15.75, 20)
    assert ends["coronal", "axial"] == (0, 22.5, 45, 22.5)
    assert ends["sagittal", "coronal"] == (5.5, 0, 5.5, 30)


def test_by_default_they_pass_through_the_middle_of_what_is_labelled():
    volume, labels = marked()
    assert [plate.view.index for plate in plates(volume, labels, SPACING)] == [7, 15, 24]
    empty = plates(volume, np.zeros_like(labels), SPACING)
    assert [plate.view.index for plate in empty] == [5, 10, 15]


def test_a_figure_can_be_drawn_of_each_plate(volume: GeneratedVolume, words):
    for plate in plates(volume.values, volume.labels, volume.spacing):
        ids = [int(value) for value in np.unique(plate.labels) if value]
        figure = draw_figure(
            FigureRequest(
                image=plate.values,
                labels=plate.labels,
                structures=tuple(words.by_id(value) for value in ids),
                modality="CT",
                pixel_mm=plate.view.pixel_mm,
                source="generated",
                slice_name="v-1",
                patient="synthetic",
                orientation=plate.view.orientation,
                model_version="1",
                seed=7,
            ),
            zoom=0.5,
        )
        assert len(figure.sidecar["structures"]) == len(ids) > 0


def test_what_has_no_plates_is_refused():
    volume, labels = marked()
    with pytest.raises(InputError, match="one shape"):
        plates(volume, labels[1:], SPACING)
    with pytest.raises(InputError, match="spacing"):
        plates(volume, labels, (0.0, 1.0, 1.0))
    with pytest.raises(InputError, match="outside"):
        plates(volume, labels, SPACING, at=(10, 0, 0))
