"""Errors of the domain as Dagster failures: permanent ones are tried once, transient ones with growing delays.

What leaves a restricted step is checked here too: an unexpected exception may hold identified values in its text, so
only its type and the line of code are passed on.
"""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from medillus_pipeline.errors import MedillusError, PermanentError

RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
"""Attempts after the first, for errors that are not permanent."""


@contextmanager
def failing_clearly(*, restricted: bool = False) -> Iterator[None]:
    """Turn errors that a person can act on into `dagster.Failure` with one clear message.

    With `restricted`, every other exception is replaced by one that carries neither its text nor its traceback, and no
    exception stays chained to the failure: Dagster stores and prints whole chains.
    """
    failure: dg.Failure | None = None
    try:
        yield
    except dg.Failure:
        raise
    except MedillusError as error:
        failure = dg.Failure(str(error), allow_retries=not isinstance(error, PermanentError))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        failure = dg.Failure(
            f"a file or a connection failed{_place(error)} ({reason}): check free space, owner and mode of the folders "
            "for work and temporary files, and the network; then run again"
        )
    except Exception as error:
        if not restricted:
            raise
        failure = dg.Failure(
            f"unexpected {type(error).__name__}{_place(error)}. Its text is withheld, since it may identify somebody: "
            "report this line to the maintainers.",
            allow_retries=False,
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
