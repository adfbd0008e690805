"""What a workload consists of, as its Parquet files say."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

MAIN = ("sorted", "shuffled", "small_right", "small_left", "hot_key", "no_key", "wide", "nulls", "many")
CURVE_MILLIONS = (1, 3, 10, 30, 100)
CURVE = tuple(f"curve_{size}m_{order}" for order in ("sorted", "shuffled") for size in CURVE_MILLIONS)
ALL = MAIN + CURVE

KEY = "sym"
TIME = "ts"


@dataclass(frozen=True)
class Table:
    name: str
    file: str
    rows: int
    floats: tuple[str, ...]

    def time_alias(self) -> str:
        """What the time of a match is called beside the time of the left."""
        return f"{self.name}_{TIME}"


@dataclass(frozen=True)
class Workload:
    name: str
    keyed: bool
    in_time_order: bool
    left: Table
    rights: tuple[Table, ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        return (self.left, *self.rights)

    def left_columns(self) -> tuple[str, ...]:
        key = (KEY,) if self.keyed else ()
        return (*key, TIME, *self.left.floats)

    def floats(self) -> list[str]:
        return [name for table in self.tables for name in table.floats]

    def output_columns(self) -> list[str]:
        """The columns of the joined table: the left ones, then time and floats of each right one."""
        rights = [name for right in self.rights for name in (right.time_alias(), *right.floats)]
        return [*self.left_columns(), *rights]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def read(directory: Path) -> "Workload":
        def table(fields: dict) -> Table:
            return Table(**{**fields, "floats": tuple(fields["floats"])})

        fields = json.loads((directory / DESCRIPTION).read_text())
        fields["left"] = table(fields["left"])
        fields["rights"] = tuple(table(right) for right in fields["rights"])
        return Workload(**fields)


DESCRIPTION = "workload.json"
