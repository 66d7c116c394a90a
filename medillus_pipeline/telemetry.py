"""Every library that reports its use to somebody is told not to, and progress bars stay out of logs.

Applied by the front doors before they load any library.
"""

import os

SWITCHES = {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


def switch_off() -> None:
    """Set the switches, whatever the environment says: no network is part of the contract with a hospital."""
    os.environ.update(SWITCHES)
