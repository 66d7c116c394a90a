"""Published assets have a freshness policy, arrivals have none."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from medillus_pipeline.assets.dataset import training_dataset
from medillus_pipeline.assets.imaging import slices
from medillus_pipeline.definitions import build_defs
from medillus_pipeline_tests.flow import settings_at


def test_the_dataset_has_a_limit_and_slices_have_none(tmp_path: Path) -> None:
    graph = build_defs(settings_at(tmp_path)).resolve_asset_graph()
    policy: Any = graph.get(training_dataset.key).freshness_policy
    assert (policy.warn_window.to_timedelta(), policy.fail_window.to_timedelta()) == (
        timedelta(days=60),
        timedelta(days=180),
    )
    assert graph.get(slices.key).freshness_policy is None
