"""The command: builds, makes the data, runs, and writes the report."""

import shutil
import sys

from . import agreement, build, options, places, schedule, table
from .alone import alone
from .options import Options
from .results import Results


def main() -> int:
    chosen = options.parse()
    with alone():
        return compare(chosen)


def compare(chosen: Options) -> int:
    build.build()
    results = Results.opened(chosen.scale)
    for turn in schedule.rounds(chosen):
        # Written after each workload, so that a run that is stopped leaves what it has.
        results.replace(list(turn.runs()))
        (results.directory / "table.md").write_text(table.report(results))
    shutil.rmtree(places.SCRATCH, ignore_errors=True)
    # Imported last: what it loads would count as memory of the processes that are started after it.
    from . import chart

    chart.draw(results)
    print(f"written to {results.directory}", file=sys.stderr)
    wrong = agreement.disagreeing(results.runs)
    for run in wrong:
        print(f"DIFFERENT ANSWER: {run.engine} on {run.workload}, {run.mode}: {run.answer}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
