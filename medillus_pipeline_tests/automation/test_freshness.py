"""Published assets have a freshness policy, arrivals have none."""

from datetime import timedelta
from typing import Any

import dagster as dg

from medillus_pipeline.assets.dataset import training_dataset
from medillus_pipeline.assets.imaging import slices
from medillus_pipeline.automation.freshness import with_freshness


def test_the_dataset_has_a_limit_and_slices_have_none() -> None:
    graph = dg.Definitions(assets=with_freshness([training_dataset, slices])).resolve_asset_graph()
    policy: Any = graph.get(training_dataset.key).freshness_policy
    assert (policy.warn_window.to_timedelta(), policy.fail_window.to_timedelta()) == (
        timedelta(days=60),
        timedelta(days=180),
    )
    assert graph.get(slices.key).freshness_policy is None
