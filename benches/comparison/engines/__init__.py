"""Who is compared."""

from ..job import MEMORY
from . import memory, shell
from .engine import BASELINE, OURS, PEER, Engine
from .python import peer

__all__ = ["BASELINE", "ENGINES", "MAIN", "OURS", "PEER", "Engine"]

# The one that the others are compared to.
MAIN = Engine("asof", "asof", OURS, {**shell.asof("auto"), MEMORY: memory.START})

ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        MAIN,
        *shell.FORCED,
        peer("duckdb", "DuckDB", in_memory=True),
        peer("polars", "Polars", in_memory=True),
        peer("polars_streaming", "Polars, streaming", in_memory=True),
        peer("pandas", "pandas"),
        peer("chdb", "ClickHouse (chDB)"),
        peer("tempo", "Tempo on Spark"),
        shell.WINDOW_MAX,
        shell.WINDOW_LAST_VALUE,
        shell.SCAN,
        shell.EQUI,
    )
}
