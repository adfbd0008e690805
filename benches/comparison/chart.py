"""The pictures: bars of every workload, and how the seconds grow with the rows."""

import math
from collections.abc import Iterator
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from . import workload
from .engines import BASELINE, ENGINES, MAIN, PEER
from .job import MODES, PARQUET
from .results import Results
from .statistics import Summary
from .table import WHAT

COLOURS = {
    MAIN.name: "#d62728",
    "duckdb": "#e3b505",
    "polars": "#1f77b4",
    "polars_streaming": "#8ec1e8",
    "pandas": "#6a4c93",
    "chdb": "#f28e2b",
    "tempo": "#8c564b",
    "window_max": "#59a14f",
    "window_last_value": "#b6d7a8",
    "scan": "#222222",
    "equi": "#888888",
}


def draw(results: Results) -> None:
    matplotlib.use("agg")
    pyplot.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    summaries = [Summary(results.runs, mode) for mode in MODES]
    bars = [summary for summary in summaries if summary.workloads(workload.MAIN)]
    if bars:
        _save(_bars(bars), results.directory / "workloads")
    by_rows = Summary(results.runs, PARQUET)
    if by_rows.workloads(workload.CURVE):
        _save(_curves(by_rows, results.scale), results.directory / "curve")


def _save(figure: Figure, path: Path) -> None:
    for form in ("png", "svg"):
        figure.savefig(path.with_suffix(f".{form}"), dpi=150, bbox_inches="tight")
    pyplot.close(figure)


def _bars(summaries: list[Summary]) -> Figure:
    figure, axes = pyplot.subplots(len(summaries), 1, figsize=(13, 4 * len(summaries)), squeeze=False)
    for axis, summary in zip(axes.flat, summaries, strict=True):
        names = summary.workloads(workload.MAIN)
        _bars_of(axis, summary, names)
        axis.set_title(WHAT[summary.mode], loc="left", fontweight="bold")
        axis.set_xticks(range(len(names)), names)
        axis.legend(ncols=1, frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def _bars_of(axis: Axes, summary: Summary, names: list[str]) -> None:
    engines = [engine for engine in _shown(summary) if ENGINES[engine].role != BASELINE]
    width = 0.84 / len(engines)
    for number, engine in enumerate(engines):
        places = [place - 0.42 + (number + 0.5) * width for place in range(len(names))]
        medians = _medians(summary, engine, names)
        axis.bar(places, medians, width * 0.92, color=COLOURS[engine], label=_label(engine))
        for place, name in zip(places, names, strict=True):
            cell = summary.cell(name, engine)
            if cell and not cell.counts:
                # At the foot of the picture, in the place of the bar.
                axis.text(place, 0.01, "×", color=COLOURS[engine], ha="center", transform=axis.get_xaxis_transform())
    for engine, style in (("scan", "-"), ("equi", ":")):
        if engine in summary.engines():
            medians = _medians(summary, engine, names)
            starts = [place - 0.46 for place in range(len(names))]
            ends = [place + 0.46 for place in range(len(names))]
            axis.hlines(medians, starts, ends, color=COLOURS[engine], linestyle=style, label=_label(engine))
    _seconds(axis)
    # On a log scale bars have no natural foot: half of the least leaves every bar visible.
    medians = [median for engine in summary.engines() for median in _medians(summary, engine, names)]
    axis.set_ylim(bottom=min((median for median in medians if not math.isnan(median)), default=1) / 2)


def _curves(summary: Summary, scale: float) -> Figure:
    figure, axes = pyplot.subplots(1, 2, figsize=(13, 5), sharey=True)
    for axis, order in zip(axes, ("sorted", "shuffled"), strict=True):
        names = [f"curve_{size}m_{order}" for size in workload.CURVE_MILLIONS]
        rows = [size * 1e6 * scale for size in workload.CURVE_MILLIONS]
        for engine in _shown(summary):
            medians = _medians(summary, engine, names)
            if all(math.isnan(median) for median in medians):
                continue
            baseline = ENGINES[engine].role == BASELINE
            axis.plot(
                rows,
                medians,
                color=COLOURS[engine],
                label=_label(engine),
                linestyle="--" if baseline else "-",
                linewidth=2.5 if engine == MAIN.name else 1.3,
                marker="o",
                markersize=4,
            )
        axis.set_title(f"Parquet in, aggregates out: inputs {order}", loc="left", fontweight="bold")
        axis.set_xscale("log")
        axis.set_xlabel("rows of the right table (the left has a quarter of them)")
        _seconds(axis)
    axes[-1].legend(frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def _seconds(axis: Axes) -> None:
    axis.set_yscale("log")
    axis.set_ylabel("seconds, median")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(axis="y", which="both", color="#eeeeee")
    axis.set_axisbelow(True)


def _shown(summary: Summary) -> Iterator[str]:
    """Of our own strategies only the one that is chosen: the others are in the table."""
    for engine in summary.engines():
        if engine == MAIN.name or ENGINES[engine].role in (PEER, BASELINE):
            yield engine


def _medians(summary: Summary, engine: str, names: list[str]) -> list[float]:
    cells = [summary.cell(name, engine) for name in names]
    return [cell.median if cell and cell.counts else math.nan for cell in cells]


def _label(engine: str) -> str:
    return ENGINES[engine].label
