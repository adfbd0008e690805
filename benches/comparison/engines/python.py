"""Engines that are Python packages, each in a worker process of its own."""

import sys

from ..job import COPY, MEMORY, PARQUET, Job, Reply
from .engine import PEER, Engine, Start


def peer(name: str, label: str, in_memory: bool = False) -> Engine:
    modes = (PARQUET, MEMORY, COPY) if in_memory else (PARQUET, COPY)
    return Engine(name, label, PEER, {mode: _START for mode in modes})


def _command(job: Job) -> list[str]:
    module = _MODULES.get(job.engine, job.engine)
    return [sys.executable, "-m", "comparison.worker", module, job.to_json()]


def _reply(_: Job, output: str) -> Reply:
    # Whatever the packages themselves print comes before.
    return Reply.from_json(output.strip().splitlines()[-1])


_MODULES = {"polars_streaming": "polars"}
_START = Start(_command, _reply)
