"""Whether all engines gave one answer."""

import math
from collections import defaultdict
from collections.abc import Iterable

from .engines import BASELINE, ENGINES
from .job import Answer
from .run import Run

TOLERANCE = 1e-9


def disagreeing(runs: Iterable[Run]) -> list[Run]:
    """The runs whose answer is not that of most engines; all of them where no answer has most."""
    by_workload = defaultdict(list)
    for run in runs:
        if run.failure is None and ENGINES[run.engine].role != BASELINE:
            by_workload[run.workload].append(run)
    return [run for group in by_workload.values() for run in _minority(group)]


def _minority(runs: list[Run]) -> list[Run]:
    groups: list[list[Run]] = []
    for run in runs:
        group = next((group for group in groups if same(group[0].answer, run.answer)), None)
        if group is None:
            groups.append(group := [])
        group.append(run)
    engines = sorted(((len({run.engine for run in group}), group) for group in groups), key=lambda pair: -pair[0])
    if len(engines) > 1 and engines[0][0] == engines[1][0]:
        return runs
    return [run for _, group in engines[1:] for run in group]


def same(a: Answer | None, b: Answer | None) -> bool:
    if a is None or b is None or len(a) != len(b):
        return False
    return all(_same_value(x, y) for x, y in zip(a, b, strict=True))


def _same_value(x: float | None, y: float | None) -> bool:
    if isinstance(x, float) and isinstance(y, float):
        return math.isclose(x, y, rel_tol=TOLERANCE)
    return x == y
