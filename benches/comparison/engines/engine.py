"""What an engine is to the comparison: how a run of it is started, and how its output is read."""

from collections.abc import Callable
from dataclasses import dataclass

from ..job import Job, Reply
from ..workload import Workload

OURS = "ours"
PEER = "peer"
BASELINE = "baseline"
"""Does less than the join: what the join costs beside it is of interest, its answer is not."""


@dataclass(frozen=True)
class Start:
    """One way to run an engine."""

    command: Callable[[Job], list[str]]
    reply: Callable[[Job, str], Reply]
    """From what the command printed."""


def takes_all(_: Workload) -> None:
    return None


@dataclass(frozen=True)
class Engine:
    name: str
    label: str
    role: str
    starts: dict[str, Start]
    """By mode."""
    refusal: Callable[[Workload], str | None] = takes_all
    """Why it cannot do a workload, if so."""
    by_default: bool = True
    """Whether it runs when no engines are asked for."""
