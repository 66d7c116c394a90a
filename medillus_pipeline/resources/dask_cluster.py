"""A Dask cluster as an executor: tasks go out as parcels, and a worker that dies costs its task another attempt.

What travels is said in `parcels.py`. Nothing of Dask is imported before a cluster is asked for.
"""

import ipaddress
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from medillus_pipeline import __version__
from medillus_pipeline.errors import ConfigurationError, TransientError
from medillus_pipeline.resources.parcels import Envelope, opened, perform

if TYPE_CHECKING:
    from distributed import Client

SCHEME = "dask"
WAIT = 30
"""Seconds that a scheduler, and a first worker, are waited for."""


def parsed(address: str) -> tuple[str, int]:
    """Host and port of `dask://host:port`. Raises ConfigurationError for anything else."""
    try:
        url = urlparse(address)
        host, port = url.hostname, url.port
    except ValueError:
        host, port, url = None, None, urlparse("")
    bare = not (url.username or url.password or url.path.strip("/") or url.query or url.fragment)
    if url.scheme != SCHEME or not host or not port or not bare:
        raise ConfigurationError("MEDILLUS_COMPUTE is empty, for processes of this machine, or dask://host:port")
    return host, port


@contextmanager
def dask_executor(address: str, envelope: Envelope) -> Iterator["DaskExecutor"]:
    """The cluster at this address for the length of a step. What is not done when the step ends is cancelled.

    Raises ConfigurationError where the extra `dask` is not installed, where a connection to another machine would not
    be encrypted, or workers have several threads; TransientError where no scheduler or worker answers.
    """
    client = _connected(address)
    executor = DaskExecutor(client, envelope)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
        client.close(timeout=5)


class DaskExecutor(Executor):
    """Tasks on the workers of a client. `width` is how many run at the same time, as the cluster is now."""

    def __init__(self, client: "Client", envelope: Envelope) -> None:
        self._client = client
        self._envelope = envelope
        self._sent: set[Any] = set()

    @property
    def width(self) -> int:
        """Threads of all workers."""
        return sum(dict(self._client.nthreads()).values())  # pyright: ignore[reportArgumentType, reportCallIssue]

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send a call to a worker. The future raises what the call raised, or TransientError where a task ended one
        worker after the other.
        """
        if kwargs:
            raise TypeError("a call on the cluster takes positional arguments only")
        name = secrets.token_hex(12)
        parcel = self._envelope.close((fn, args), f"task {name}")
        sealed = self._envelope.key is not None
        sent = self._client.submit(perform, parcel, name, sealed, __version__, key=f"medillus-{name}", pure=False)
        future: Future[Any] = Future()
        self._sent.add(sent)

        def arrived(done: Any) -> None:
            self._sent.discard(done)
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(opened(_answer(done), self._envelope, name))
            except BaseException as error:  # noqa: BLE001 - raised by whoever waits for the future
                future.set_exception(error)

        def dropped(given: Future[Any]) -> None:
            if given.cancelled():
                self._sent.discard(sent)
                sent.cancel()

        future.add_done_callback(dropped)
        sent.add_done_callback(arrived)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take back what was sent and is not done, where that is asked for. The client stays open."""
        if cancel_futures and self._sent:
            self._client.cancel(list(self._sent))
            self._sent.clear()


def _answer(done: Any) -> tuple[bool, bytes]:
    """What a worker answered. Raises TransientError where none could, or the connection ended."""
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        return done.result()
    except KilledWorker:
        raise TransientError(
            "a task ended one worker of the cluster after the other, out of memory or in a decoder: give the workers "
            "more memory, then run again"
        ) from None
    except (FutureCancelledError, CancelledError, OSError) as error:
        raise TransientError(
            f"the connection to the compute cluster ended ({type(error).__name__}): check its scheduler, then run again"
        ) from None


def _connected(address: str) -> "Client":
    host, port = parsed(address)
    try:
        from distributed import Client, Security
    except ImportError:
        raise ConfigurationError(
            "MEDILLUS_COMPUTE names a Dask cluster: install medillus-pipeline[dask], here and on its workers"
        ) from None
    security = Security()  # from Dask's own configuration: distributed.comm.tls
    encrypted = bool(security.tls_ca_file and security.tls_client_cert)
    if not encrypted and not _is_loopback(host):
        raise ConfigurationError(
            "MEDILLUS_COMPUTE names another machine, and the connection would not be encrypted: whoever reaches a "
            "scheduler runs what they like on its workers. Configure TLS for scheduler, workers and this step "
            "(distributed.comm.tls in Dask's configuration)"
        )
    shown = f"[{host}]" if ":" in host else host
    try:
        client = Client(
            f"{'tls' if encrypted else 'tcp'}://{shown}:{port}",
            security=security if encrypted else None,
            timeout=WAIT,
            set_as_default=False,
        )
    except OSError as error:
        raise TransientError(
            f"no Dask scheduler answers at {host}:{port} ({type(error).__name__}): start it, or unset MEDILLUS_COMPUTE"
        ) from None
    try:
        client.wait_for_workers(1, timeout=WAIT)
        threads: list[int] = list(dict(client.nthreads()).values())  # pyright: ignore
    except OSError as error:
        client.close()
        raise TransientError(
            f"the Dask cluster at {host}:{port} has no worker ({type(error).__name__}): start one"
        ) from None
    if any(count > 1 for count in threads):
        client.close()
        raise ConfigurationError(
            "workers of the Dask cluster have several threads, which would take turns: start them with --nthreads 1 "
            "and --nworkers as many as there are cores"
        )
    return client


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
