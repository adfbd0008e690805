"""Polars, by its lazy frames, with either of its engines.

At its best: keys as categories, inputs that are in order declared so, those that are not sorted
first, and no check of the order.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import polars

from ..job import COPY, MEMORY, Answer, Job
from ..workload import KEY, TIME, Table, Workload

ENGINES = {"polars": "in-memory", "polars_streaming": "streaming"}


@contextmanager
def opened(job: Job) -> Iterator[Callable[[], Answer | None]]:
    workload = job.workload()
    engine = ENGINES[job.engine]
    loaded = {}
    if job.mode == MEMORY:
        loaded = {table.name: polars.read_parquet(table.file) for table in workload.tables}

    def source(table: Table) -> polars.LazyFrame:
        if table.name in loaded:
            return loaded[table.name].lazy()
        return polars.scan_parquet(table.file)

    def aggregate() -> Answer:
        counts = [polars.len(), *(polars.col(right.time_alias()).count() for right in workload.rights)]
        sums = [polars.col(name).sum() for name in workload.floats()]
        return list(_joined(workload, source).select(*counts, *sums).collect(engine=engine).row(0))

    def copy() -> None:
        frame = _joined(workload, source).select(workload.output_columns())
        if workload.keyed:
            frame = frame.with_columns(polars.col(KEY).cast(polars.String))
        frame.sink_parquet(job.output, compression="zstd", compression_level=3, engine=engine)

    yield copy if job.mode == COPY else aggregate


def _joined(workload: Workload, source: Callable[[Table], polars.LazyFrame]) -> polars.LazyFrame:
    def ordered(table: Table, time: str) -> polars.LazyFrame:
        frame = source(table).rename({TIME: time})
        if workload.keyed:
            frame = frame.with_columns(polars.col(KEY).cast(polars.Categorical))
        return frame.set_sorted(time) if workload.in_time_order else frame.sort(time)

    frame = ordered(workload.left, TIME)
    for right in workload.rights:
        frame = frame.join_asof(
            ordered(right, right.time_alias()),
            left_on=TIME,
            right_on=right.time_alias(),
            by=KEY if workload.keyed else None,
            coalesce=False,
            check_sortedness=False,
        )
    return frame
