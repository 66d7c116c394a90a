"""Dagster's and MLflow's web UIs as child processes on loopback."""

import os
import signal
import subprocess
import sys
import time

from rich.console import Console

from medillus_pipeline.automation.instance import dagster_home
from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.settings import Settings

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 10


def serve(settings: Settings, console: Console, *, port: int, mlflow_port: int) -> None:
    """Start both and wait; when one ends, or on Ctrl-C, the other is stopped too."""
    folder = dagster_home(settings.home)
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(folder),
        "MEDILLUS_HOME": str(settings.home),
        "MEDILLUS_PROFILE": settings.profile,
    }
    commands = {
        f"Dagster on http://{LOOPBACK}:{port}": [
            *(sys.executable, "-m", "dagster", "dev", "-m", "medillus_pipeline.definitions"),
            *("--host", LOOPBACK, "--port", str(port)),
        ]
    }
    if settings.mlflow_tracking_uri.startswith("http"):
        console.print(f"MLflow runs elsewhere: {settings.mlflow_ui_url}")
    else:
        environment["MEDILLUS_MLFLOW_UI_URL"] = f"http://{LOOPBACK}:{mlflow_port}"
        commands[f"MLflow on http://{LOOPBACK}:{mlflow_port}"] = [
            *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", settings.mlflow_tracking_uri),
            *("--default-artifact-root", settings.mlflow_artifacts, "--host", LOOPBACK, "--port", str(mlflow_port)),
        ]
    children = {}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's stop ends the children too
    try:
        for name, command in commands.items():
            console.print(name)
            children[name] = subprocess.Popen(command, env=environment, start_new_session=True)
        while all(child.poll() is None for child in children.values()):
            time.sleep(0.5)
        ended = next(name for name, child in children.items() if child.poll() is not None)
        raise ConfigurationError(f"{ended} ended by itself: is the port in use? Its own message stands above")
    except KeyboardInterrupt:
        console.print("stopping")
    finally:
        for child in children.values():
            _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a child and all that it started: asked politely first, since each has databases open."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, signal_number)
            child.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return
