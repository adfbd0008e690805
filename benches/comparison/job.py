"""One run of one engine: what is asked, and what came of it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .workload import Workload

PARQUET = "parquet"
MEMORY = "memory"
COPY = "copy"
MODES = (PARQUET, MEMORY, COPY)

# Count of rows, count of matches for each right table, sum of each float column.
Answer = list[int | float | None]


@dataclass(frozen=True)
class Job:
    """What is asked of an engine."""

    engine: str
    mode: str
    directory: str
    """Of the workload."""
    threads: int
    output: str
    """The file that mode `copy` writes."""
    scratch: str
    """Where an engine may spill."""

    def workload(self) -> Workload:
        return Workload.read(Path(self.directory))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Job":
        return Job(**json.loads(text))


@dataclass(frozen=True)
class Reply:
    """What the process of an engine printed."""

    seconds: float
    answer: Answer | None
    """None in mode `copy`, where the answer is in the file."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Reply":
        return Reply(**json.loads(text))
