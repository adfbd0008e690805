"""The process in which a Python peer answers once: `python -m comparison.worker PEER JOB`.

Imports, opening a session and, in mode `memory`, loading the tables come before the clock.
"""

import importlib
import sys
import time
from pathlib import Path

from .job import MEMORY, Job, Reply


def main() -> None:
    try:
        peer = importlib.import_module(f"comparison.peers.{sys.argv[1]}")
    except ImportError as error:
        sys.exit(f"not available: {error}")
    job = Job.from_json(sys.argv[2])
    with peer.opened(job) as query:
        if job.mode == MEMORY:
            # What loading took for a while is not the join's: the peak begins anew (proc(5)).
            Path("/proc/self/clear_refs").write_text("5")
        start = time.perf_counter()
        answer = query()
        seconds = time.perf_counter() - start
    print(Reply(seconds, answer).to_json())


if __name__ == "__main__":
    main()
