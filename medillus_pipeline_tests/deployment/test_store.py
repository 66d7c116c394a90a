"""The scripts that start the S3 store and make its buckets, run for real."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from medillus_pipeline_tests.deployment.conftest import DOCKER, LOOPBACK, free_port


def test_scripts_are_sound_shell() -> None:
    for name, shell in (("create_databases.sh", "bash"), ("start_store.sh", "sh")):
        subprocess.run([shell, "-n", str(DOCKER / name)], check=True)


def test_the_store_refuses_keys_that_would_break_its_configuration(tmp_path: Path) -> None:
    keys = dict.fromkeys(("S3_ACCESS_KEY", "S3_SECRET_KEY", "MLFLOW_S3_ACCESS_KEY", "MLFLOW_S3_SECRET_KEY"), "good-1_A")
    config = tmp_path / "s3.json"
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "weed").write_text("#!/bin/sh\nexit 3\n")
    (tools / "weed").chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "STORE_CONFIG": str(config), **keys}
    command = ["sh", str(DOCKER / "start_store.sh")]
    refused = subprocess.run(
        command, env=environment | {"S3_SECRET_KEY": 'a","b'}, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1 and "letters, digits" in refused.stderr and not config.exists()
    ended = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert ended.returncode == 1, "the container ends when the server or the gateway does"
    identities = json.loads(config.read_text())["identities"]
    assert [i["name"] for i in identities] == ["pipeline", "mlflow"]
    assert all(action.endswith(":medillus-mlflow") for action in identities[1]["actions"])
    assert config.stat().st_mode & 0o077 == 0


def test_buckets_are_made_once_and_a_silent_store_is_named(services: dict[str, Any]) -> None:
    from moto.server import ThreadedMotoServer

    names = services["buckets"]["command"][2:]
    command = [sys.executable, str(DOCKER / "create_buckets.py"), *names]
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    server = ThreadedMotoServer(ip_address=LOOPBACK, port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        environment = os.environ | keys | {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "BUCKETS_PATIENCE": "5"}
        for _ in range(2):
            run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            assert f"buckets are there: {', '.join(names)}" in run.stderr
    finally:
        server.stop()
    environment |= {
        "BUCKETS_PATIENCE": "0",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_ENDPOINT_URL": f"http://{LOOPBACK}:{free_port()}",
    }
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1 and "check AWS_ENDPOINT_URL" in run.stderr and "Traceback" not in run.stderr
