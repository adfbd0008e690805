"""Our join over tables in memory: `asof-bench-memory`, which prints its seconds and its answer."""

import json

from .. import places
from ..job import Job, Reply
from .engine import Start


def _command(job: Job) -> list[str]:
    return [str(places.BINARIES / "asof-bench-memory"), job.directory, job.workload().name, "1"]


def _reply(_: Job, output: str) -> Reply:
    run = json.loads(output)
    (row,) = run["answer"]
    return Reply(run["seconds"], list(row.values()))


START = Start(_command, _reply)
