"""The answer that a file written in mode `copy` holds: `python -m comparison.copied JOB`."""

import sys

import pyarrow.compute
import pyarrow.dataset

from .job import Answer, Job, Reply


def answer(job: Job) -> Answer:
    workload = job.workload()
    times = [right.time_alias() for right in workload.rights]
    rows = 0
    counts = [0] * len(times)
    sums = [0.0] * len(workload.floats())
    written = pyarrow.dataset.dataset(job.output, format="parquet")
    missing = set(workload.output_columns()) - set(written.schema.names)
    if missing:
        raise ValueError(f"{job.engine} wrote no columns {sorted(missing)} to {job.output}")
    for batch in written.to_batches(columns=[*times, *workload.floats()]):
        rows += len(batch)
        counts = [count + len(batch) - batch[time].null_count for count, time in zip(counts, times, strict=True)]
        sums = [total + _sum(batch[name]) for total, name in zip(sums, workload.floats(), strict=True)]
    return [rows, *counts, *sums]


def _sum(column: pyarrow.Array) -> float:
    # pandas writes what is missing as NaN.
    present = pyarrow.compute.drop_null(pyarrow.compute.if_else(pyarrow.compute.is_nan(column), None, column))
    return pyarrow.compute.sum(present).as_py() or 0.0


if __name__ == "__main__":
    print(Reply(0.0, answer(Job.from_json(sys.argv[1]))).to_json())
