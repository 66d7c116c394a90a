"""The S3 server of the tests: moto on loopback with one empty bucket, in a thread, or for measurements in a process.

Endpoint and credentials stand in the environment while it runs. Faults are `faults/faulty_store.py`'s.
"""

import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import pytest

LOOPBACK = "127.0.0.1"
BUCKET = "hospital"


@dataclass(frozen=True)
class S3Server:
    """A running server: its URL, and how many seconds of CPU its process has used."""

    url: str
    processor: Callable[[], float] = time.process_time

    @property
    def root(self) -> str:
        """The URL of the bucket."""
        return f"s3://{BUCKET}"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server in a thread of this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address=LOOPBACK, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with _addressed(f"http://{host}:{port}"):
            yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()


@contextmanager
def s3_process() -> Iterator[S3Server]:
    """A server in a process of its own, so that its CPU time is not the measured program's."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    process.start()

    def processor() -> float:
        here.send("")
        return here.recv()

    try:
        url = here.recv()
        with _addressed(url):
            yield S3Server(url, processor)
    finally:
        process.terminate()
        process.join()


@contextmanager
def _addressed(url: str) -> Iterator[None]:
    """The server's address and credentials in the environment, and its bucket without what an earlier one held: all
    servers of a process share moto's memory.
    """
    import boto3
    import requests

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "MLFLOW_S3_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        requests.post(f"{url}/moto-api/reset", timeout=60).raise_for_status()
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
        yield


def _serve(there: Connection) -> None:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=LOOPBACK, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    there.send(f"http://{host}:{port}")
    while True:
        there.recv()
        there.send(time.process_time())
