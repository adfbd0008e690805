"""Writes down what the Parquet files of a workload hold: `python -m comparison.describe DIR NAME`.

A process of its own, because what it imports would count as memory of the engines that are started
after it.
"""

import sys
from pathlib import Path

import pyarrow.parquet

from .workload import DESCRIPTION, KEY, TIME, Table, Workload


def table(file: Path) -> Table:
    names = pyarrow.parquet.read_schema(file).names
    floats = tuple(name for name in names if name not in (KEY, TIME))
    return Table(file.stem, str(file), pyarrow.parquet.read_metadata(file).num_rows, floats)


def workload(directory: Path, name: str) -> Workload:
    left = directory / "left.parquet"
    return Workload(
        name=name,
        keyed=KEY in pyarrow.parquet.read_schema(left).names,
        in_time_order=bool(pyarrow.parquet.read_metadata(left).row_group(0).sorting_columns),
        left=table(left),
        rights=tuple(table(file) for file in sorted(directory.glob("right*.parquet"))),
    )


if __name__ == "__main__":
    directory = Path(sys.argv[1]).resolve()
    (directory / DESCRIPTION).write_text(workload(directory, sys.argv[2]).to_json())
