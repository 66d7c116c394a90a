"""How old the published assets may become, as Dagster's freshness policies; its daemon shows them in the UI.

An unchanged dataset is not trained on again, so age alone is no fault: the limits are those of an installation that
receives nothing for months. That a champion no longer fits its data or gates is told by a check, not by its age.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import dagster as dg

POLICIES: dict[str, dg.FreshnessPolicy] = {
    name: dg.FreshnessPolicy.time_window(warn_window=timedelta(days=60), fail_window=timedelta(days=180))
    for name in ("training_dataset", "validation_report", "promoted_generator", "illustrations")
}
"""Published asset → how old it may be. Landing's partitions have none: they arrive when they arrive."""


def with_freshness(assets: Iterable[Any]) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets (what `load_assets_from_modules` found), those above with their policies."""

    def dated(spec: dg.AssetSpec) -> dg.AssetSpec:
        policy = POLICIES.get(spec.key.to_user_string())
        return spec if policy is None else dg.apply_freshness_policy(spec, policy)

    return list(dg.map_asset_specs(dated, assets))
