"""The flags of `benches/compare`."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import workload
from .engines import ENGINES
from .job import MODES


@dataclass(frozen=True)
class Options:
    workloads: tuple[str, ...]
    engines: tuple[str, ...]
    modes: tuple[str, ...]
    repetitions: int
    warm_up: bool
    scale: float
    timeout: float
    cpus: str

    @property
    def threads(self) -> int:
        return len(_cpus(self.cpus))


def parse(arguments: Sequence[str] | None = None) -> Options:
    default = [name for name, engine in ENGINES.items() if engine.by_default]
    groups = {"main": workload.MAIN, "curve": workload.CURVE, "all": workload.ALL}
    parser = argparse.ArgumentParser(
        prog="benches/compare",
        description="Compares datafusion-asof with its peers, and writes the results below benches/results.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"workloads: {', '.join(workload.ALL)}\nengines: {', '.join(ENGINES)}",
    )
    parser.add_argument(
        "--workloads",
        type=_names(workload.ALL, groups),
        default=workload.ALL,
        metavar="A,B",
        help="names, or 'main', 'curve', 'all' (default)",
    )
    parser.add_argument(
        "--engines",
        type=_names(tuple(ENGINES), {"default": tuple(default), "all": tuple(ENGINES)}),
        default=tuple(default),
        metavar="A,B",
        help="names, 'all', or 'default': all but window_last_value",
    )
    parser.add_argument(
        "--modes",
        type=_names(MODES, {"all": MODES}),
        default=MODES,
        metavar="A,B",
        help=f"of {', '.join(MODES)} (default: all)",
    )
    parser.add_argument("--repetitions", type=_positive(int), default=5, metavar="N", help="runs of each engine (5)")
    parser.add_argument(
        "--no-warm-up",
        dest="warm_up",
        action="store_false",
        help="one run a turn: for trials that take long",
    )
    parser.add_argument("--scale", type=_positive(float), default=1.0, metavar="F", help="times the rows (1)")
    parser.add_argument("--timeout", type=_positive(float), default=120.0, metavar="S", help="of one run (120)")
    parser.add_argument("--cpus", type=_cpu_list, default="0,1", metavar="A,B", help="cores, a thread each (0,1)")
    return Options(**vars(parser.parse_args(arguments)))


def _names(known: tuple[str, ...], groups: dict[str, tuple[str, ...]]) -> Callable[[str], tuple[str, ...]]:
    def names(text: str) -> tuple[str, ...]:
        chosen = [name for word in text.split(",") for name in groups.get(word, (word,))]
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join((*known, *groups))}")
        return tuple(dict.fromkeys(chosen))

    return names


def _positive(number: type) -> Callable[[str], float]:
    def positive(text: str) -> float:
        value = number(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    positive.__name__ = number.__name__
    return positive


def _cpu_list(text: str) -> str:
    if not all(cpu.isdigit() for cpu in _cpus(text)):
        raise argparse.ArgumentTypeError(f"'{text}' is no list of cores such as 0,1")
    return text


def _cpus(text: str) -> list[str]:
    return text.split(",")
