"""Runs one process on the chosen cores, and tells what it took."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import places

_POLL_SECONDS = 0.02
# A process that leaves less than this to the machine is ended before the kernel chooses one.
_SPARE_KB = 1_000_000


@dataclass(frozen=True)
class Command:
    arguments: list[str]
    environment: dict[str, str]
    cpus: str
    timeout: float


@dataclass(frozen=True)
class Measured:
    failure: str | None
    """Why there is no result, if so."""
    output: str
    process_seconds: float
    cpu_seconds: float
    peak_mb: float


def run(command: Command) -> Measured:
    shutil.rmtree(places.SCRATCH, ignore_errors=True)
    places.SCRATCH.mkdir(parents=True)
    stdout, stderr = places.SCRATCH / "stdout", places.SCRATCH / "stderr"
    with stdout.open("wb") as out, stderr.open("wb") as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            ["taskset", "--cpu-list", command.cpus, *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=places.BENCHES,
            env={**os.environ, **command.environment},
            start_new_session=True,
        )
        failure, status, usage = _wait(process.pid, start + command.timeout)
        seconds = time.perf_counter() - start
    # Nothing that it started outlives it.
    _kill(process.pid)
    # Reaped by wait4 already, which Popen does not know.
    process.returncode = os.waitstatus_to_exitcode(status)
    if failure is None and process.returncode != 0:
        failure = f"exit code {process.returncode}: {last_line(stderr.read_text(errors='replace'))}"
    return Measured(
        failure=failure,
        output=stdout.read_text(errors="replace"),
        process_seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss / 1024,
    )


def _wait(pid: int, deadline: float) -> tuple[str | None, int, resource.struct_rusage]:
    failure = None
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return failure, status, usage
        if failure is None:
            if time.perf_counter() > deadline:
                failure = "timeout"
            elif _available_kb() < _SPARE_KB:
                failure = "out of memory"
            if failure:
                _kill(pid)
        time.sleep(_POLL_SECONDS)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _available_kb() -> int:
    with Path("/proc/meminfo").open() as info:
        for line in info:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1])
    raise RuntimeError("/proc/meminfo has no MemAvailable: this needs Linux")


def last_line(text: str) -> str:
    """The one that says what went wrong, of a Python traceback and most others."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:100] if lines else "nothing on stderr"
