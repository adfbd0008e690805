"""Tempo (dbl-tempo) on a local Spark."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyspark.sql import DataFrame, SparkSession, functions
from tempo import TSDF

from ..job import COPY, Answer, Job
from ..workload import KEY, TIME, Workload


@contextmanager
def opened(job: Job) -> Iterator[Callable[[], Answer | None]]:
    logging.disable(logging.WARNING)
    workload = job.workload()
    spark = (
        SparkSession.builder.master(f"local[{job.threads}]")
        .config("spark.driver.memory", "12g")
        .config("spark.local.dir", job.scratch)
        .config("spark.log.level", "ERROR")
        # Spark has no nanoseconds: times stay the integers that the files hold.
        .config("spark.sql.legacy.parquet.nanosAsLong", "true")
        .config("spark.sql.parquet.compression.codec", "zstd")
        # Its default of 200 is for clusters.
        .config("spark.sql.shuffle.partitions", str(2 * job.threads))
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )

    def aggregate() -> Answer:
        counts = [functions.count("*"), *(functions.count(right.time_alias()) for right in workload.rights)]
        sums = [functions.sum(name) for name in workload.floats()]
        return list(_joined(workload, spark).agg(*counts, *sums).collect()[0])

    def copy() -> None:
        _joined(workload, spark).select(*workload.output_columns()).write.parquet(job.output)

    yield copy if job.mode == COPY else aggregate

    # Waited for, so that its time and memory count as those of this process.
    java = spark.sparkContext._gateway.proc
    spark.stop()
    java.stdin.close()
    java.wait()


def _joined(workload: Workload, spark: SparkSession) -> DataFrame:
    partition_cols = [KEY] if workload.keyed else []

    def series(file: str) -> TSDF:
        return TSDF(spark.read.parquet(file), ts_col=TIME, partition_cols=partition_cols)

    joined = series(workload.left.file)
    for right in workload.rights:
        # With skipNulls each column would take its own last value that is not NULL.
        joined = joined.asofJoin(series(right.file), right_prefix=right.name, skipNulls=False)
    frame = joined.df
    for right in workload.rights:
        for name in right.floats:
            frame = frame.withColumnRenamed(f"{right.name}_{name}", name)
    return frame
