"""The report in Markdown."""

from collections.abc import Callable

from . import workload
from .engines import ENGINES, MAIN
from .job import COPY, MEMORY, MODES, PARQUET
from .results import Results
from .statistics import Cell, Summary, geometric_mean

WHAT = {
    PARQUET: "Parquet in, aggregates out",
    MEMORY: "Tables in memory, aggregates out",
    COPY: "Parquet in, Parquet out",
}


def report(results: Results) -> str:
    parts = [f"# Comparison at {results.commit}", _conditions(results)]
    for mode in MODES:
        summary = Summary(results.runs, mode)
        if summary.engines():
            parts += [f"## {WHAT[mode]}", *_mode(summary)]
    return "\n\n".join(parts) + "\n"


def _conditions(results: Results) -> str:
    machine = results.machine
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}.",
        ", ".join(f"{name} {version}" for name, version in results.versions.items()) + ".",
    ]
    if results.scale != 1:
        lines.append(f"**Rows times {results.scale:g}: a trial, not a result.**")
    return "\n".join(lines)


def _mode(summary: Summary) -> list[str]:
    return [
        "Ratios are ours to theirs: below 1, ours takes less.",
        _ratios(summary),
        "Seconds, median (fastest–slowest):",
        _matrix(summary, lambda cell: f"{cell.median:.2f} ({cell.fastest:.2f}–{cell.slowest:.2f})"),
        "CPU seconds of the whole process, median:",
        _matrix(summary, lambda cell: f"{cell.cpu:.1f}"),
        "Peak memory of the process, MB:",
        _matrix(summary, lambda cell: f"{cell.peak_mb:.0f}"),
    ]


def _ratios(summary: Summary) -> str:
    names = summary.workloads(workload.ALL)
    fastest = {name: summary.fastest_peer(name) for name in names}
    columns = {
        "to the fastest peer": [summary.ratio(name, fastest[name]) for name in names],
        "to scan": [summary.ratio(name, "scan") for name in names],
        "to equi": [summary.ratio(name, "equi") for name in names],
    }
    rows = []
    for number, name in enumerate(names):
        peer = ENGINES[fastest[name]].label if fastest[name] else "–"
        ours = summary.cell(name, MAIN.name)
        shown = _show(ours, lambda cell: f"{cell.median:.2f}")
        rows.append([name, shown, peer, *(_ratio(values[number]) for values in columns.values())])
    means = [_ratio(geometric_mean(values)) for values in columns.values()]
    rows.append(["*geometric mean*", "", "", *means])
    return _table(["", "asof, seconds", "fastest peer", *columns], rows)


def _matrix(summary: Summary, show: Callable[[Cell], str]) -> str:
    engines = summary.engines()
    rows = [
        [name, *(_show(summary.cell(name, engine), show) for engine in engines)]
        for name in summary.workloads(workload.ALL)
    ]
    return _table(["", *(ENGINES[engine].label for engine in engines)], rows)


def _show(cell: Cell | None, show: Callable[[Cell], str]) -> str:
    if cell is None:
        return ""
    if cell.failure:
        return cell.failure.replace("|", "/")
    return f"**WRONG** {show(cell)}" if cell.wrong else show(cell)


def _ratio(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
