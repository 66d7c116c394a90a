"""What makes a job's models and figures small. Importing this changes nothing; see `tiny_definitions.py` for that."""

from typing import Any

from medillus_pipeline_tests.flow import TINY


def tiny_config(job: str, config: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """A job's config with what makes its models and figures small."""
    tiny = TINY.get("promote" if job == "rollback" else job)
    if tiny is None:
        return config
    ops = (config or {}).get("ops", {})
    small = {
        op: {"config": {**ops.get(op, {}).get("config", {}), **given["config"]}} for op, given in tiny["ops"].items()
    }
    return {**(config or {}), "ops": {**ops, **small}}
