"""What a cluster costs on one machine, and who does what there: the command `benches/cluster`.

A workload is joined by the shell alone, and by the shell on a scheduler and executors that run as
processes on loopback, in turn. CPU time is that of all processes. How many rows of the join each executor
had is told by the tasks: their rows by the scheduler's REST API, and who ran them by the executors' logs.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from . import build, data, machine, places, sql
from .alone import alone
from .workload import MAIN, Workload

SECONDS_TO_START = 60
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Took:
    seconds: float
    cpu_seconds: float
    answer: str


@dataclass(frozen=True)
class Cluster:
    port: int
    scheduler: subprocess.Popen
    executors: list[subprocess.Popen]
    logs: list[Path]

    def rest(self, path: str) -> list | dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
            return json.load(answer)

    def cpu_seconds(self) -> float:
        return sum(cpu_seconds(process.pid) for process in (self.scheduler, *self.executors))


def main() -> int:
    parser = argparse.ArgumentParser(prog="benches/cluster", description=__doc__.split("\n")[0])
    parser.add_argument("--workload", default="hot_key", choices=MAIN, help="which is joined (hot_key)")
    parser.add_argument("--repetitions", type=int, default=5, help="runs of each (5)")
    parser.add_argument("--executors", type=int, default=2, help="how many (2)")
    parser.add_argument("--vcores", type=int, default=2, help="of each executor (2)")
    parser.add_argument("--scale", type=float, default=1.0, help="times the rows (1)")
    options = parser.parse_args()
    with alone():
        build.build(*build.PROGRAMS, "asof-scheduler", "asof-executor")
        workload = Workload.read(data.made(data.Request(options.workload, options.scale)))
        with started(options) as cluster:
            report = compare(workload, cluster, options.repetitions)
    directory = places.RESULTS / f"{machine.today()}-{machine.commit()}"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cluster.md").write_text(report)
    print(report)
    return 0


def compare(workload: Workload, cluster: Cluster, repetitions: int) -> str:
    select = sql.aggregates(workload, sql.asof(workload, lambda table: f"'{table.file}'"))
    salted = "SET asof.strategy = time_salted"
    ways = {
        "alone": (None, [select]),
        "alone, time_salted": (None, [salted, select]),
        "cluster": (cluster, [select]),
        "cluster, time_salted": (cluster, [salted, select]),
    }
    took: dict[str, list[Took]] = {way: [] for way in ways}
    for turn in range(repetitions + 1):
        for way, (where, statements) in ways.items():
            one = run(where, statements)
            # The first of each reads files and code for the first time.
            if turn > 0:
                took[way].append(one)
    answers = {one.answer for runs in took.values() for one in runs}
    if len(answers) != 1:
        sys.exit("DIFFERENT ANSWERS:\n" + "\n".join(sorted(answers)))
    rows = workload.left.rows, sum(right.rows for right in workload.rights)
    facts = machine.facts()
    lines = [
        f"`{workload.name}`, {rows[0] / 1e6:g} M × {rows[1] / 1e6:g} M rows, commit {machine.commit()}, "
        f"{facts['cores']} cores ({facts['cpu']}), {len(cluster.executors)} executors. Median of "
        f"{repetitions} runs in turn (least to most).",
        "",
        "| | seconds | CPU seconds |",
        "|---|---|---|",
    ]
    for way, runs in took.items():
        seconds, cpu = [one.seconds for one in runs], [one.cpu_seconds for one in runs]
        lines.append(f"| {way} | {spread(seconds)} | {spread(cpu)} |")
    lines += ["", "Rows of the last time-salted join, by the tasks:", ""]
    shares = rows_by_executor(cluster)
    total = sum(shares.values())
    lines += [f"* executor {number}: {rows} ({rows / total:.1%})" for number, rows in sorted(shares.items())]
    return "\n".join([*lines, ""])


def spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def run(where: Cluster | None, statements: list[str]) -> Took:
    command = [str(places.BINARIES / "asof"), "--quiet", "--rc", os.devnull, "--format", "csv"]
    if where:
        command += ["--cluster", f"df://127.0.0.1:{where.port}"]
    for statement in statements:
        command += ["--command", statement]
    before = where.cpu_seconds() if where else 0.0
    start, children = time.perf_counter(), os.times()
    # Answers may differ in the last digits of sums, which are added up in another order.
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ended, after = time.perf_counter(), os.times()
    cpu = after.children_user - children.children_user + after.children_system - children.children_system
    if where:
        cpu += where.cpu_seconds() - before
    return Took(ended - start, cpu, re.sub(r"\.\d+", "", output))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rows_by_executor(cluster: Cluster) -> Counter:
    """The rows of the last join's tasks, by the executors that ran them."""
    # Ids are in the order of time.
    job = max(job["job_id"] for job in cluster.rest("/api/jobs"))
    stages = cluster.rest(f"/api/job/{job}/stages?plan_format=metrics")["stages"]
    stage = next(stage for stage in stages if "AsOfJoinExec" in (stage["stage_plan"] or ""))
    rows = {task["id"]: task["input_rows"] for task in stage["tasks"]}
    shares: Counter = Counter()
    for number, log in enumerate(cluster.logs, 1):
        tasks = re.findall(rf"Received task: \[TID {job}/{stage['stage_id']}\.\d+/(\d+)\.", log.read_text())
        shares[number] = sum(rows.pop(int(task)) for task in tasks)
    if rows:
        sys.exit(f"nobody has logged tasks {sorted(rows)} of job {job}")
    return shares


@contextmanager
def started(options: argparse.Namespace) -> Iterator[Cluster]:
    """A scheduler and executors, which end with this."""
    with tempfile.TemporaryDirectory(dir=places.DATA.parent) as work:
        directory = Path(work)
        scheduler_port, *ports = free_ports(1 + 3 * options.executors)
        processes = [start("asof-scheduler", directory / "scheduler.log", f"--bind-port={scheduler_port}")]
        logs = []
        try:
            for number in range(options.executors):
                flight, grpc, health = ports[3 * number : 3 * number + 3]
                logs.append(directory / f"executor{number}.log")
                processes.append(
                    start(
                        "asof-executor",
                        logs[-1],
                        f"--scheduler-port={scheduler_port}",
                        f"--bind-port={flight}",
                        f"--bind-grpc-port={grpc}",
                        f"--bind-health-port={health}",
                        f"--work-dir={directory / str(number)}",
                        f"--vcores={options.vcores}",
                        "--scheduler-connect-timeout-seconds=60",
                    )
                )
            cluster = Cluster(scheduler_port, processes[0], processes[1:], logs)
            wait_for(cluster)
            yield cluster
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


def start(program: str, log: Path, *arguments: str) -> subprocess.Popen:
    with log.open("wb") as file:
        return subprocess.Popen(
            [places.BINARIES / program, *arguments], stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )


def wait_for(cluster: Cluster) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        try:
            if len(cluster.rest("/api/executors")) == len(cluster.executors):
                return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit("the cluster did not start:\n" + "\n".join(log.read_text() for log in cluster.logs))


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    sys.exit(main())
