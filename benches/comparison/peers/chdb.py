"""ClickHouse, as the library chDB, by SQL.

At its best: its default choice of an algorithm, which was as fast as any that was set. That needs an
equality, so where there is no key both sides get a constant one.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import chdb

from .. import sql
from ..job import COPY, Answer, Job
from ..workload import KEY, Table


@contextmanager
def opened(job: Job) -> Iterator[Callable[[], Answer | None]]:
    workload = job.workload()
    name = _file if workload.keyed else _with_constant_key
    relation = sql.asof(dataclasses.replace(workload, keyed=True), name)
    settings = {
        "join_use_nulls": 1,
        "max_threads": job.threads,
        "output_format_parquet_compression_method": "'zstd'",
        "output_format_compression_level": 3,
    }
    settings = "SETTINGS " + ", ".join(f"{key} = {value}" for key, value in settings.items())
    # The first query starts the server inside the library.
    chdb.query("SELECT 1")

    def aggregate() -> Answer:
        result = chdb.query(f"{sql.aggregates(workload, relation)} {settings}", "JSONCompactEachRow")
        return json.loads(str(result))

    def copy() -> None:
        rows = sql.rows(workload, relation)
        chdb.query(f"INSERT INTO FUNCTION file('{job.output}', Parquet) {rows} {settings}")

    yield copy if job.mode == COPY else aggregate


def _file(table: Table) -> str:
    return f"file('{table.file}', Parquet)"


def _with_constant_key(table: Table) -> str:
    return f"(SELECT *, toUInt8(1) AS {KEY} FROM {_file(table)})"
