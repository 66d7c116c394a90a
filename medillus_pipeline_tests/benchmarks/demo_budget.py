"""Seconds and memory of the demo by stage, against the budget of a machine with 2 cores.

    python -m medillus_pipeline_tests.benchmarks.demo_budget

Runs the demo in a fresh temporary home, as `make demo` does, and prints a table. Nothing else should run meanwhile.
"""

import os
import resource
import tempfile
import time
from pathlib import Path

from medillus_pipeline import telemetry
from medillus_pipeline.automation.instance import local_instance
from medillus_pipeline.demo import land_phantoms
from medillus_pipeline.run_all import Flow, run_all
from medillus_pipeline.settings import Settings

BUDGET = {
    "patients": 20,
    "ingest to masks": 50,
    "dataset": 10,
    "judge": 40,
    "generator": 100,
    "report": 45,
    "figures": 15,
    "orchestration": 20,
}
STAGE_OF = {
    "deidentified_instances": "ingest to masks",
    "slices": "ingest to masks",
    "masks": "ingest to masks",
    "training_dataset": "dataset",
    "anatomical_prior": "dataset",
    "judge": "judge",
    "organ_segmenter": "judge",
    "generator_checkpoint": "generator",
    "validation_report": "report",
    "promoted_generator": "orchestration",
    "illustrations": "figures",
}


def by_stage(flow: Flow, landed: float, total: float) -> dict[str, float]:
    """Seconds by stage of the budget; what no asset accounts for is orchestration."""
    seconds = dict.fromkeys(BUDGET, 0.0) | {"patients": landed}
    for run in flow.runs:
        for asset, spent in run.asset_seconds.items():
            seconds[STAGE_OF[asset]] += spent
    seconds["orchestration"] += total - sum(seconds.values())
    return seconds


def main() -> None:
    """Run the demo once and print the table."""
    telemetry.switch_off()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_environment({"MEDILLUS_HOME": folder, "MEDILLUS_PROFILE": "demo"})
        began = time.monotonic()
        land_phantoms(settings, 16, lambda _: None)
        landed = time.monotonic() - began
        with local_instance(Path(folder)) as instance:
            flow = run_all(settings, instance, say=lambda _: None)
        total = time.monotonic() - began
        for run in flow.failures:
            print(f"{run.job} failed: {run.failure}")
    seconds = by_stage(flow, landed, total)
    print(f"{'stage':<18}{'seconds':>9}{'budget':>9}")
    for stage, budget in BUDGET.items():
        print(f"{stage:<18}{seconds[stage]:>9.1f}{budget:>9}")
    print(f"{'in all':<18}{total:>9.1f}{sum(BUDGET.values()):>9}")
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    print(f"CPU seconds {cpu:.0f} on {len(os.sched_getaffinity(0))} cores")
    print(f"peak memory of the main process: {own.ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
