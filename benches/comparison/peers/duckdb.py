"""DuckDB, by SQL. Its own settings, but that it need not keep the order of rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from .. import sql
from ..job import COPY, MEMORY, Answer, Job
from ..workload import Table


@contextmanager
def opened(job: Job) -> Iterator[Callable[[], Answer | None]]:
    workload = job.workload()
    config = {"threads": job.threads, "preserve_insertion_order": False, "temp_directory": job.scratch}
    with duckdb.connect(config=config) as connection:
        name = _file
        if job.mode == MEMORY:
            name = _name
            for table in workload.tables:
                connection.execute(f"CREATE TABLE {_name(table)} AS FROM {_file(table)}")
        relation = sql.asof(workload, name)

        def aggregate() -> Answer:
            return list(connection.execute(sql.aggregates(workload, relation)).fetchone())

        def copy() -> None:
            options = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3"
            connection.execute(f"COPY ({sql.rows(workload, relation)}) TO '{job.output}' ({options})")

        yield copy if job.mode == COPY else aggregate


def _file(table: Table) -> str:
    return f"read_parquet('{table.file}')"


def _name(table: Table) -> str:
    return f'"{table.name}"'
