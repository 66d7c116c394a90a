"""The definitions as a code server loads them, with jobs whose models are tiny and gates that such models pass.

For tests of a whole deployment only: its processes are started by commands, so nothing can be swapped in them but the
module that they load.
"""

from typing import Any

import dagster as dg
import pytest

from medillus_pipeline_tests.deployment.tiny_config import tiny_config
from medillus_pipeline_tests.flow import lower_gates

lower_gates(pytest.MonkeyPatch())  # for as long as the process lives
_define = dg.define_asset_job


def _define_tiny(name: str, *, config: dict[str, Any] | None = None, **given: Any) -> Any:
    return _define(name, config=tiny_config(name, config), **given)


dg.define_asset_job = _define_tiny  # type: ignore[assignment]
try:
    from medillus_pipeline.definitions import defs as defs
finally:
    dg.define_asset_job = _define
