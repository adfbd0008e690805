"""The process in which a Python peer answers once: `python -m comparison.worker PEER JOB`.

Imports, opening a session and, in mode `memory`, loading the tables come before the clock.
"""

import importlib
import sys
import time

from .job import Job, Reply


def main() -> None:
    try:
        peer = importlib.import_module(f"comparison.peers.{sys.argv[1]}")
    except ImportError as error:
        sys.exit(f"not available: {error}")
    with peer.opened(Job.from_json(sys.argv[2])) as query:
        start = time.perf_counter()
        answer = query()
        seconds = time.perf_counter() - start
    print(Reply(seconds, answer).to_json())


if __name__ == "__main__":
    main()
