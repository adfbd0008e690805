"""The queries, for every engine that speaks SQL.

A query is a relation (how the tables are joined, which differs) under one of two heads: the
aggregates that are the answer, or the columns that mode `copy` writes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .workload import KEY, TIME, Table, Workload

# How an engine names a table: a path in quotes, a table function, a name.
Naming = Callable[[Table], str]


@dataclass(frozen=True)
class Relation:
    """What stands behind FROM, with the left columns in a table `l`."""

    text: str
    times: tuple[str, ...]
    """The time of the match in each right table."""


def aggregates(workload: Workload, relation: Relation) -> str:
    counts = ["count(*)", *(f"count({time})" for time in relation.times)]
    sums = [f"sum({name})" for name in workload.floats()]
    columns = [f"{value} AS a{number}" for number, value in enumerate(counts + sums)]
    return f"SELECT {', '.join(columns)} FROM {relation.text}"


def rows(workload: Workload, relation: Relation) -> str:
    columns = [f"l.{name} AS {name}" for name in workload.left_columns()]
    for right, time in zip(workload.rights, relation.times, strict=True):
        columns += [f"{time} AS {right.time_alias()}", *right.floats]
    return f"SELECT {', '.join(columns)} FROM {relation.text}"


def asof(workload: Workload, name: Naming) -> Relation:
    """The as-of join, which DuckDB and ClickHouse write as we do."""
    return _joined(workload, name, "ASOF LEFT JOIN", lambda right: f"l.{TIME} >= {right}.{TIME}")


def equi(workload: Workload, name: Naming) -> Relation:
    """An equality join of the same tables; with the time in the key no row has two matches."""
    return _joined(workload, name, "LEFT JOIN", lambda right: f"l.{TIME} = {right}.{TIME}")


def scan(workload: Workload, name: Naming) -> str:
    """Reads the columns that the join reads, and adds up the floats."""
    parts = []
    for table in workload.tables:
        # The largest, because a count of a column without NULLs does not read it.
        keys = (KEY, TIME) if workload.keyed else (TIME,)
        values = [f"max({column}) AS {table.name}_{column}" for column in keys]
        values += [f"sum({column}) AS {column}" for column in table.floats]
        parts.append(f"(SELECT count(*) AS {table.name}_rows, {', '.join(values)} FROM {name(table)})")
    return f"SELECT * FROM {' CROSS JOIN '.join(parts)}"


def window_max(workload: Workload, name: Naming) -> Relation:
    """The rewrite that is fastest in plain DataFusion.

    Both sides are laid together in time order, the time of the match is the largest right time so
    far, and an equality join fetches the row that it belongs to.
    """
    times = [right.time_alias() for right in workload.rights]
    lasts = [f"max({time}) OVER w AS {time}" for time in times]
    text = _last_seen(workload, name, lasts, lambda _: ())
    for right in workload.rights:
        on = [f"l.{right.time_alias()} = {right.name}.{TIME}"]
        if workload.keyed:
            on.append(f"l.{KEY} = {right.name}.{KEY}")
        text += f" LEFT JOIN {name(right)} {right.name} ON {' AND '.join(on)}"
    return Relation(text, tuple(f"l.{time}" for time in times))


def window_last_value(workload: Workload, name: Naming) -> Relation:
    """The rewrite that is in the books. It passes over NULLs: only for floats without them."""
    times = [right.time_alias() for right in workload.rights]
    floats = [column for right in workload.rights for column in right.floats]
    lasts = [f"last_value({column}) IGNORE NULLS OVER w AS {column}" for column in [*times, *floats]]
    text = _last_seen(workload, name, lasts, lambda right: right.floats)
    return Relation(text, tuple(f"l.{time}" for time in times))


def _joined(workload: Workload, name: Naming, join: str, on_time: Callable[[str], str]) -> Relation:
    text = f"{name(workload.left)} l"
    for right in workload.rights:
        on_key = f"l.{KEY} = {right.name}.{KEY} AND " if workload.keyed else ""
        text += f" {join} {name(right)} {right.name} ON {on_key}{on_time(right.name)}"
    return Relation(text, tuple(f"{right.name}.{TIME}" for right in workload.rights))


def _last_seen(
    workload: Workload,
    name: Naming,
    lasts: list[str],
    carried: Callable[[Table], tuple[str, ...]],
) -> str:
    """The left rows with what was last seen of the right ones.

    `carried` are the right columns that go through the window besides the time. At equal times right
    rows come first, so that they are seen.
    """
    key = [KEY] if workload.keyed else []
    left_floats = list(workload.left.floats)

    def part(table: Table) -> str:
        is_left = table == workload.left
        columns = [*key, TIME, f"{int(is_left)} AS is_left"]
        columns += [column if is_left else f"NULL AS {column}" for column in left_floats]
        for right in workload.rights:
            own = table == right
            time = TIME if own else "CAST(NULL AS TIMESTAMP)"
            columns.append(f"{time} AS {right.time_alias()}")
            for column in carried(right):
                columns.append(column if own else f"CAST(NULL AS DOUBLE) AS {column}")
        return f"SELECT {', '.join(columns)} FROM {name(table)}"

    together = " UNION ALL ".join(part(table) for table in workload.tables)
    partition = f"PARTITION BY {KEY} " if workload.keyed else ""
    columns = ", ".join([*key, TIME, *left_floats, "is_left", *lasts])
    return (
        f"(SELECT * FROM (SELECT {columns} FROM ({together}) WINDOW w AS ({partition}"
        f"ORDER BY {TIME}, is_left ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)) WHERE is_left = 1) l"
    )
