import numpy as np
import pytest

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.layout import Columns, crossings, overlaps, place_labels

COLUMNS = Columns(left=200.0, right=900.0, top=100.0, bottom=700.0)


def random_anchors(rng: np.random.Generator, count: int) -> np.ndarray:
    """Distinct points inside the image; some scenes crowd into one corner, as organs do."""
    spread = rng.choice([1.0, 0.5, 0.15])
    corner = rng.uniform(0, 1 - spread, 2)
    return np.array([250.0, 120.0]) + (corner + spread * rng.uniform(size=(count, 2))) * [600.0, 560.0]


def test_leaders_never_cross_and_labels_never_overlap_in_a_thousand_scenes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(1000):
        count = int(rng.integers(1, 35))
        pitch = float(rng.uniform(16, 34))
        placed = place_labels(random_anchors(rng, count), COLUMNS, pitch)
        assert len(placed) == count
        assert crossings(placed) == 0
        assert overlaps(placed, pitch) == 0
        assert all(100 + pitch / 2 - 1e-6 <= p.port[1] <= 700 - pitch / 2 + 1e-6 for p in placed)
        assert all(p.port[0] == (200.0 if p.side == "left" else 900.0) for p in placed)


def test_anchors_in_one_row_or_column_do_not_cross() -> None:
    for anchors in (
        np.array([(x, 400.0) for x in np.linspace(260, 840, 12)]),
        np.array([(550.0, y) for y in np.linspace(150, 650, 12)]),
    ):
        placed = place_labels(anchors, COLUMNS, 30.0)
        assert crossings(placed) == 0 and overlaps(placed, 30.0) == 0


def test_the_checks_themselves_see_a_crossing_and_an_overlap() -> None:
    placed = place_labels(np.array([(500.0, 200.0), (500.0, 500.0)]), Columns(200, 501, 100, 700), 30.0)
    first, second = placed
    exchanged = [type(first)(first.anchor, second.port, "right"), type(first)(second.anchor, first.port, "right")]
    assert crossings(exchanged) == 1
    assert overlaps(placed, 600.0) == 1


def test_one_label_stands_level_with_its_organ_on_the_nearer_side() -> None:
    (placed,) = place_labels(np.array([(300.0, 333.0)]), COLUMNS, 40.0)
    assert placed.side == "left" and placed.port == (200.0, 333.0)


def test_more_labels_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(InputError, match="room for 40"):
        place_labels(random_anchors(np.random.default_rng(1), 41), COLUMNS, 30.0)


def test_no_label_is_no_problem() -> None:
    assert place_labels(np.empty((0, 2)), COLUMNS, 30.0) == []
