"""Make the buckets that are named on the command line where they do not exist yet; waits for the store to answer.

Endpoint and credentials come from the standard AWS_* variables.
"""

import os
import sys
import time

import s3fs
from botocore.exceptions import BotoCoreError

PATIENCE = float(os.environ.get("BUCKETS_PATIENCE", "120"))


def create(names: list[str]) -> None:
    """Create the missing ones. Raises OSError or BotoCoreError when the store does not answer or refuses."""
    store = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
    existing = set(store.ls("", refresh=True))
    for name in names:
        if name not in existing:
            store.mkdir(name)


def main(names: list[str]) -> int:
    """Try until it works or patience ends. Returns the exit status."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            create(names)
        except (OSError, BotoCoreError) as error:
            if time.monotonic() > end:
                reason = f"{type(error).__name__}: check AWS_ENDPOINT_URL and the credentials"
                sys.stderr.write(f"the buckets cannot be made: {reason}\n")
                return 1
            time.sleep(2)
        else:
            sys.stderr.write(f"buckets are there: {', '.join(names)}\n")
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
