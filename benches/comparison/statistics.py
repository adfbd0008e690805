"""What the runs come to: medians, ratios, their geometric means."""

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass

from .agreement import disagreeing
from .engines import ENGINES, MAIN, PEER
from .run import Run


@dataclass(frozen=True)
class Cell:
    """One engine on one workload in one mode."""

    failure: str | None
    wrong: bool
    """Its answer is not that of the others."""
    median: float = math.nan
    fastest: float = math.nan
    slowest: float = math.nan
    cpu: float = math.nan
    peak_mb: float = math.nan

    @property
    def counts(self) -> bool:
        return self.failure is None and not self.wrong


class Summary:
    """The cells of one mode, by workload and engine."""

    def __init__(self, runs: list[Run], mode: str) -> None:
        wrong = {run.cell for run in disagreeing(runs)}
        groups = defaultdict(list)
        for run in runs:
            if run.mode == mode:
                groups[run.cell].append(run)
        self._cells = {cell: _cell(group, cell in wrong) for cell, group in groups.items()}
        self.mode = mode

    def cell(self, workload: str, engine: str) -> Cell | None:
        return self._cells.get((workload, self.mode, engine))

    def workloads(self, known: tuple[str, ...]) -> list[str]:
        there = {workload for workload, _, _ in self._cells}
        return [workload for workload in known if workload in there]

    def engines(self) -> list[str]:
        there = {engine for _, _, engine in self._cells}
        return [engine for engine in ENGINES if engine in there]

    def fastest_peer(self, workload: str) -> str | None:
        peers = [
            (cell.median, engine)
            for engine in self.engines()
            if ENGINES[engine].role == PEER and (cell := self.cell(workload, engine)) and cell.counts
        ]
        return min(peers)[1] if peers else None

    def ratio(self, workload: str, engine: str | None) -> float | None:
        """How many times as long as this engine ours takes."""
        ours = self.cell(workload, MAIN.name)
        other = self.cell(workload, engine) if engine else None
        if ours and other and ours.counts and other.counts and other.median > 0:
            return ours.median / other.median
        return None


def geometric_mean(ratios: list[float | None]) -> float | None:
    present = [ratio for ratio in ratios if ratio]
    return statistics.geometric_mean(present) if present else None


def _cell(runs: list[Run], wrong: bool) -> Cell:
    failures = [run.failure for run in runs if run.failure]
    if failures:
        return Cell(failures[0], wrong)
    seconds = [run.seconds for run in runs]
    return Cell(
        failure=None,
        wrong=wrong,
        median=statistics.median(seconds),
        fastest=min(seconds),
        slowest=max(seconds),
        cpu=statistics.median(run.cpu_seconds for run in runs),
        peak_mb=max(run.peak_mb for run in runs),
    )
