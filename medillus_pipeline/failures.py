"""Errors of the domain as Dagster failures: permanent ones are tried once, transient ones with growing delays.

What leaves a restricted step is checked here too: an unexpected exception may hold identified values in its text, so
only its type and the line of code are passed on.
"""

import errno
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from medillus_pipeline.errors import MedillusError, PermanentError

RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
"""Attempts after the first, for errors that are not permanent."""
_ONCE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EFBIG,
    errno.ENAMETOOLONG,
)
"""What the operating system refuses at every attempt alike."""
_MAY_PASS = frozenset(
    {
        "sqlalchemy.exc.OperationalError",
        "sqlalchemy.exc.InterfaceError",
        "psycopg2.OperationalError",
        "concurrent.futures.process.BrokenProcessPool",
        "builtins.MemoryError",
    }
)
"""Exceptions of others that come and go: a database that is away or locked, a worker that the system killed."""


@contextmanager
def failing_clearly(*, restricted: bool = False) -> Iterator[None]:
    """Turn errors that a person can act on into `dagster.Failure` with one clear message.

    Any other exception is a mistake in the program: tried once, unless it is of a kind that comes and goes, and chained
    to the failure with its traceback. With `restricted`, neither its text nor its traceback is kept, and no exception
    stays chained to the failure: Dagster stores and prints whole chains.
    """
    failure: dg.Failure | None = None
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except MedillusError as error:
        failure = dg.Failure(str(error), allow_retries=not isinstance(error, PermanentError))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        failure = dg.Failure(
            f"a file or a connection failed{_place(error)} ({reason}): check free space, owner and mode of the folders "
            "for work and temporary files, and the network; then run again",
            allow_retries=error.errno not in _ONCE,
        )
    except Exception as error:
        passing = any(f"{kind.__module__}.{kind.__qualname__}" in _MAY_PASS for kind in type(error).__mro__)
        if not restricted:
            raise dg.Failure(
                f"unexpected {type(error).__name__}{_place(error)}: {error}", allow_retries=passing
            ) from error
        failure = dg.Failure(
            f"unexpected {type(error).__name__}{_place(error)}. Its text is withheld, since it may identify somebody: "
            "report this line to the maintainers.",
            allow_retries=passing,
        )
    if failure is not None:
        try:
            raise failure
        except dg.Failure:
            if restricted:
                failure.__context__ = None  # Python sets it to what the `with` block raised
            raise


def _place(error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "medillus_pipeline" in f.filename]
    return f" at {frames[-1].filename.rsplit('medillus_pipeline', 1)[-1]}:{frames[-1].lineno}" if frames else ""
