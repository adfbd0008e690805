"""pandas, by `merge_asof`. At its best: keys as categories, which pyarrow reads at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pandas
import pyarrow
import pyarrow.parquet

from ..job import COPY, Answer, Job
from ..workload import KEY, TIME, Table, Workload


@contextmanager
def opened(job: Job) -> Iterator[Callable[[], Answer | None]]:
    pyarrow.set_cpu_count(job.threads)
    workload = job.workload()

    def aggregate() -> Answer:
        joined = _joined(workload)
        counts = [len(joined), *(int(joined[right.time_alias()].count()) for right in workload.rights)]
        return counts + [float(joined[name].sum()) for name in workload.floats()]

    def copy() -> None:
        table = pyarrow.Table.from_pandas(_joined(workload)[workload.output_columns()], preserve_index=False)
        pyarrow.parquet.write_table(table, job.output, compression="zstd", compression_level=3)

    yield copy if job.mode == COPY else aggregate


def _joined(workload: Workload) -> pandas.DataFrame:
    frames = [_read(table) for table in workload.tables]
    if workload.keyed:
        # merge_asof compares categories as such only if both sides have the same ones.
        categories = frames[0][KEY].cat.categories
        for frame in frames[1:]:
            categories = categories.union(frame[KEY].cat.categories)
        for frame in frames:
            frame[KEY] = frame[KEY].cat.set_categories(categories)
    left, *rights = [frame if workload.in_time_order else frame.sort_values(TIME) for frame in frames]
    for table, right in zip(workload.rights, rights, strict=True):
        left = pandas.merge_asof(
            left,
            right.rename(columns={TIME: table.time_alias()}),
            left_on=TIME,
            right_on=table.time_alias(),
            by=KEY if workload.keyed else None,
        )
    return left


def _read(table: Table) -> pandas.DataFrame:
    return pyarrow.parquet.read_table(table.file, read_dictionary=[KEY]).to_pandas(self_destruct=True)
