"""Runs engines in turn: every engine, then every engine once more, and so on."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from . import data, measure, places
from .engines import ENGINES, Engine
from .job import COPY, Job, Reply
from .options import Options
from .run import Run


@dataclass(frozen=True)
class Round:
    """One workload in one mode."""

    workload: str
    directory: Path
    mode: str
    options: Options

    def runs(self) -> Iterator[Run]:
        engines = [ENGINES[name] for name in self.options.engines if self.mode in ENGINES[name].starts]
        for repetition in range(1, self.options.repetitions + 1):
            for engine in list(engines):
                run = self._turn(engine, repetition)
                if run.failure:
                    engines.remove(engine)
                yield run

    def _turn(self, engine: Engine, repetition: int) -> Run:
        """A run right after one of the same engine that does not count: files and memory are warm, for
        each alike. A virtual machine that gives unused memory back to its host makes whoever comes after
        a small process pay for getting it again, which may take longer than the join.
        """
        if self.options.warm_up:
            warm_up = self._run(engine, 0)
            _tell(warm_up)
            if warm_up.failure:
                return warm_up
        run = self._run(engine, repetition)
        _tell(run)
        return run

    def _run(self, engine: Engine, repetition: int) -> Run:
        job = Job(
            engine=engine.name,
            mode=self.mode,
            directory=str(self.directory),
            threads=self.options.threads,
            output=str(places.SCRATCH / "output.parquet"),
            scratch=str(places.SCRATCH),
        )
        run = Run(self.workload, self.mode, engine.name, repetition=repetition)
        refusal = engine.refusal(job.workload())
        if refusal:
            return replace(run, failure=f"n/a: {refusal}")
        start = engine.starts[self.mode]
        measured = measure.run(
            measure.Command(start.command(job), environment(job), self.options.cpus, self.options.timeout)
        )
        if measured.failure:
            return replace(run, failure=measured.failure)
        reply = start.reply(job, measured.output)
        run = replace(
            run,
            seconds=reply.seconds,
            process_seconds=measured.process_seconds,
            cpu_seconds=measured.cpu_seconds,
            peak_mb=measured.peak_mb,
            answer=reply.answer,
        )
        return _with_copied_answer(run, job) if self.mode == COPY else run


def environment(job: Job) -> dict[str, str]:
    """The number of threads, and where to spill, for those that are told by the environment."""
    return {
        "DATAFUSION_EXECUTION_TARGET_PARTITIONS": str(job.threads),
        "TOKIO_WORKER_THREADS": str(job.threads),
        "POLARS_MAX_THREADS": str(job.threads),
        # Without it, Spark looks this host up, which may have no address that can be bound.
        "SPARK_LOCAL_IP": "127.0.0.1",
        "TMPDIR": job.scratch,
    }


def rounds(options: Options) -> Iterator[Round]:
    for workload in options.workloads:
        directory = data.made(data.Request(workload, options.scale))
        for mode in options.modes:
            yield Round(workload, directory, mode, options)


def _with_copied_answer(run: Run, job: Job) -> Run:
    """What the file that was written holds, read back by a process that is not measured."""
    command = [sys.executable, "-m", "comparison.copied", job.to_json()]
    done = subprocess.run(command, cwd=places.BENCHES, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        return replace(run, failure=f"wrote what cannot be read: {measure.last_line(done.stderr)}")
    return replace(run, answer=Reply.from_json(done.stdout).answer)


def _tell(run: Run) -> None:
    what = run.failure or f"{run.seconds:.3f} s, {run.peak_mb:.0f} MB"
    turn = "warm-up" if run.repetition == 0 else f"{run.repetition}"
    print(f"{run.workload} {run.mode} {run.engine} ({turn}): {what}", file=sys.stderr)
