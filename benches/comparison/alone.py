"""Two comparisons at once would time each other."""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from . import places


@contextmanager
def alone() -> Iterator[None]:
    """Ends this program if another comparison runs below the same target directory."""
    places.LOCK.parent.mkdir(parents=True, exist_ok=True)
    with places.LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another comparison is running: wait for it to end")
        yield
