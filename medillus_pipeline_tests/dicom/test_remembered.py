"""What was made comes back as it was, without a text of the whole delivery in between."""

import tracemalloc
from typing import Any

import pytest

from medillus_pipeline.dicom.remembered import recall, remember
from medillus_pipeline.zones import Zone


@pytest.mark.parametrize(
    "made", [{}, {"slices": []}, {"slices": [{"path": "a", "position": [0.1, None]}, {}], "notes": {"x": 1}}]
)
def test_what_is_kept_comes_back(made: dict[str, Any], clean: Zone) -> None:
    remember(clean, "ab12", made)
    assert recall(clean, "ab12", ()) == made


def test_keeping_a_large_delivery_takes_little_memory(clean: Zone) -> None:
    rows = [{"path": f"slices/{n:064x}", "sha256": f"{n:064x}", "position": [0.0, 0.0, n]} for n in range(20_000)]
    tracemalloc.start()
    remember(clean, "ab12", {"slices": rows})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300 * len(rows), "less than a row as text"
