"""What makes a job's models and figures small. Importing this changes nothing, and imports nothing of the product: see
`tiny_definitions.py`.
"""

from typing import Any

from medillus_pipeline_tests.tiny import TINY

ONE_PROCESS: dict[str, Any] = {"execution": {"config": {"in_process": {}}}}
"""A run without a process for each step, as the launchpad can ask for: most of a tiny run is the start of processes."""


def tiny_config(job: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
    """A job's config with what makes its models and figures small, in one process."""
    ops = (config or {}).get("ops", {})
    tiny = TINY.get("promote" if job == "rollback" else job, {"ops": {}})
    small = {
        op: {"config": {**ops.get(op, {}).get("config", {}), **given["config"]}} for op, given in tiny["ops"].items()
    }
    return {**(config or {}), **ONE_PROCESS, "ops": {**ops, **small}}
