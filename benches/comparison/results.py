"""Every run, in one JSON file for each commit, machine and scale."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from . import machine, places
from .run import Run


@dataclass
class Results:
    directory: Path
    commit: str
    scale: float
    machine: dict
    versions: dict
    runs: list[Run] = field(default_factory=list)

    @staticmethod
    def opened(scale: float) -> "Results":
        """The latest results of this commit on this machine, to be added to, or new ones."""
        commit = machine.commit()
        suffix = "" if scale == 1 else f"-scale{scale:g}"
        results = Results(
            directory=places.RESULTS / f"{machine.today()}-{commit}{suffix}",
            commit=commit,
            scale=scale,
            machine=machine.facts(),
            versions=machine.versions(),
        )
        for earlier in sorted(places.RESULTS.glob(f"*-{commit}{suffix}/runs.json"), reverse=True):
            kept = json.loads(earlier.read_text())
            if kept["machine"] == results.machine and kept["versions"] == results.versions:
                results.directory = earlier.parent
                results.runs = [Run(**run) for run in kept["runs"]]
                break
        return results

    def replace(self, runs: list[Run]) -> None:
        """Adds runs in place of earlier ones of the same engines on the same workloads."""
        cells = {run.cell for run in runs}
        self.runs = [run for run in self.runs if run.cell not in cells] + runs
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "runs.json").write_text(self._to_json())

    def _to_json(self) -> str:
        head = {"commit": self.commit, "scale": self.scale, "machine": self.machine, "versions": self.versions}
        # One run a line: it can be searched, and a change of it read.
        runs = ",\n".join(json.dumps(run.to_dict()) for run in self.runs)
        return json.dumps(head, indent=1)[:-2] + f',\n "runs": [\n{runs}\n]}}\n'
