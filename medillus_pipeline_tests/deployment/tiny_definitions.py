"""The definitions as a code server loads them, with jobs whose models are tiny and gates that such models pass: of the
profile demo, which promotes by itself, and of the profile research, which asks for one approval.

For tests of a whole deployment only: its processes are started by commands, so nothing can be swapped in them but the
module that they load.
"""

import json
from typing import Any

import dagster as dg
import pytest

from medillus_pipeline_tests.deployment.tiny_config import tiny_config

_define = dg.define_asset_job


def _define_tiny(name: str, *, config: dict[str, Any] | None = None, **given: Any) -> Any:
    return _define(name, config=tiny_config(name, config), **given)


dg.define_asset_job = _define_tiny  # type: ignore[assignment]
try:  # the first import of any module that defines jobs has to be here
    from medillus_pipeline.definitions import defs as defs
    from medillus_pipeline.validation import gates
    from medillus_pipeline_tests.flow import lower_gates
finally:
    dg.define_asset_job = _define

_patch = pytest.MonkeyPatch()  # for as long as the process lives
lower_gates(_patch)
_profiles = json.loads(gates._document())["profiles"]
_asks = {
    "required_approvals": 1,
    "review_statement": "asks for one",
    "automatic_promotion": False,
    "automatic_promotion_reason": "a person has to approve it",
}
_with_review = json.dumps({"profiles": _profiles | {"research": _profiles["demo"] | _asks}}).encode()
_patch.setattr(gates, "_document", lambda: _with_review)
