"""Engines that are DataFusion: SQL for the shell `asof`.

Their seconds are the shell's own `Elapsed`, which planning and reading the files' metadata is part of.
"""

import json
import re
from collections.abc import Callable

from .. import places, sql
from ..job import COPY, PARQUET, Answer, Job, Reply
from ..workload import Table, Workload
from .engine import BASELINE, OURS, PEER, Engine, Start

_ELAPSED = re.compile(r"^Elapsed ([0-9.]+) seconds", re.MULTILINE)

Join = Callable[[Workload, sql.Naming], sql.Relation]


def asof(strategy: str) -> dict[str, Start]:
    return _starts(sql.asof, f"SET asof.strategy = {strategy}; ")


def _starts(join: Join, settings: str = "") -> dict[str, Start]:
    def aggregate(job: Job) -> list[str]:
        workload = job.workload()
        return _run(settings + sql.aggregates(workload, join(workload, _file)))

    def copy(job: Job) -> list[str]:
        return _run(settings + _copy(job, join))

    return {PARQUET: Start(aggregate, _answered), COPY: Start(copy, _finished)}


def _copy(job: Job, join: Join) -> str:
    workload = job.workload()
    # Compressed by zstd(3), which is DataFusion's default.
    return f"COPY ({sql.rows(workload, join(workload, _file))}) TO '{job.output}'; "


def _run(text: str) -> list[str]:
    return [str(places.BINARIES / "asof"), "--format", "json", "-c", text]


def _file(table: Table) -> str:
    return f"'{table.file}'"


def _answered(job: Job, output: str) -> Reply:
    return Reply(_seconds(output), _answer(job.workload(), output))


def _finished(_: Job, output: str) -> Reply:
    return Reply(_seconds(output), None)


def _seconds(output: str) -> float:
    """Of the last statement; those before it are settings."""
    return float(_ELAPSED.findall(output)[-1])


def _answer(workload: Workload, output: str) -> Answer:
    rows = [line for line in output.splitlines() if line.startswith("[")]
    (row,) = json.loads(rows[-1])
    values = 1 + len(workload.rights) + len(workload.floats())
    # A sum that is NULL is left out of the JSON.
    return [row.get(f"a{number}") for number in range(values)]


def _scan(job: Job) -> list[str]:
    return _run(sql.scan(job.workload(), _file))


def _scan_and_write(job: Job) -> list[str]:
    """What the join has written, read and written again: only that counts."""
    joined = f"{job.scratch}/joined.parquet"
    written = _copy(job, sql.asof).replace(job.output, joined)
    return _run(f"{written}COPY (SELECT * FROM '{joined}') TO '{job.output}'")


def _nulls_refused(workload: Workload) -> str | None:
    return "would pass over NULLs" if workload.name == "nulls" else None


WINDOW_MAX = Engine("window_max", "DataFusion, window and join back", PEER, _starts(sql.window_max))
WINDOW_LAST_VALUE = Engine(
    "window_last_value",
    "DataFusion, last_value window",
    PEER,
    _starts(sql.window_last_value),
    refusal=_nulls_refused,
    # Its seconds grow with the square of the rows of a key.
    by_default=False,
)
SCAN = Engine(
    "scan",
    "scan of the files",
    BASELINE,
    {PARQUET: Start(_scan, _finished), COPY: Start(_scan_and_write, _finished)},
)
EQUI = Engine(
    "equi",
    "equality join",
    BASELINE,
    {PARQUET: Start(_starts(sql.equi)[PARQUET].command, _finished)},
)
FORCED = [
    Engine(f"asof_{strategy}", f"asof, {strategy} forced", OURS, asof(strategy))
    for strategy in ("broadcast", "broadcast_left", "sort_merge")
]
