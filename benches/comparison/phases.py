"""Where a join's processor time goes: the command `benches/phases`.

Samples of `perf`, by the function that they fell in, are put together by phase. What the compiler has
merged into a caller counts as that. The kernel's part is that of the whole process.
"""

import argparse
import collections
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import build, data, places, sql
from .workload import MAIN, Workload

HERTZ = 1999

# In this order; the first that fits counts.
PHASES = (
    ("kernel: pages given to the process and taken back", r"clear_page|page_fault|handle_mm|folio|anon|"
     r"lru|unmap|zap_|vma_|pte|pmd|memcg|mmap|munmap|madvise|tlb|_alloc_|get_page|free_unref|rmqueue"),
    ("kernel: reading from the page cache", r"copy_to_iter|filemap|copy_mc|copy_page|xas_|ext4|vfs_|iov_iter|read_iter"),
    ("Parquet decoded", r"parquet|Decoder|unpack|bit_util|thrift|snap|zstd|lz4|byte_view"),
    ("keys to ordinals", r"ordinals|RowKeys"),
    ("along both sides in time order", r"merge::|SortMerge"),
    ("order checked", r"order::Inspection|OrderCheck"),
    ("right rows offered to the left's index", r"Candidates::|RightStream::|candidates::"),
    ("right rows gathered, merged with the left", r"meeting::|Meeting::|Bins|Gathering|thinning|Marks::|Thinned"),
    ("right values laid side by side", r"SideBySide"),
    ("left rows choose", r"choosing::|Choosing|Placing"),
    ("right values copied (interleave)", r"copies::|Copying|interleave"),
    ("index: rows scattered to their keys", r"scatter|Histogram|histogram"),
    ("index: lists put in order", r"sort_by_time|Sharded::order|::sort::|quicksort|smallsort|heapsort|pivot"),
    ("index: batches taken in, the rest", r"IndexPart|LinePlan|planning|Planning|finish::|numbers|ranks|build::"),
    ("left rows looked up", r"Timeline|probe::|Probing|Probe::|search::|by_place"),
    ("right values fetched", r"by_batch|gather|ByBatch|LaidRows"),
    ("aggregates", r"aggregate|accumul|Accumul"),
    ("copies and fills of memory, allocation", r"memmove|memset|memcpy|^_?mi_|malloc"),
    ("collecting into vectors (values fetched, inputs cast)", r"from_iter|::fold|try_fold"),
)


@dataclass(frozen=True)
class Profile:
    samples: collections.Counter
    runs: int

    def seconds(self, phase: str) -> float:
        return self.samples[phase] / HERTZ / self.runs


def main() -> int:
    parser = argparse.ArgumentParser(prog="benches/phases", description=__doc__.split("\n")[0])
    parser.add_argument("workloads", nargs="*", default=["sorted", "shuffled"], metavar="WORKLOAD")
    parser.add_argument("--strategy", default="auto", help="as asof.strategy has it (auto)")
    parser.add_argument("--runs", type=int, default=5, help="of which the samples are added up (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="times the rows (1)")
    options = parser.parse_args()
    build.build()
    for name in options.workloads:
        if name not in MAIN:
            parser.error(f"'{name}' is none of {', '.join(MAIN)}")
        workload = Workload.read(data.made(data.Request(name, options.scale)))
        print(table(workload, profile(workload, options)))
    return 0


def profile(workload: Workload, options: argparse.Namespace) -> Profile:
    relation = sql.asof(workload, lambda table: f"'{table.file}'")
    query = f"SET asof.strategy = {options.strategy}; {sql.aggregates(workload, relation)}"
    command = [str(places.BINARIES / "asof"), "--quiet", "-c", query]
    recorded = places.SCRATCH / "perf.data"
    recorded.parent.mkdir(parents=True, exist_ok=True)
    samples: collections.Counter = collections.Counter()
    for _ in range(options.runs):
        # Two in a row, for the reason that README.md gives under "Rules".
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        perf = ["perf", "record", "--quiet", "-F", str(HERTZ), "-o", str(recorded)]
        subprocess.run([*perf, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        samples.update(by_phase(recorded))
    recorded.unlink()
    return Profile(samples, options.runs)


def by_phase(recorded: Path) -> collections.Counter:
    script = ["perf", "script", "-i", str(recorded), "-F", "ip,sym", "--no-inline"]
    symbols = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    phases: collections.Counter = collections.Counter()
    for line in symbols.splitlines():
        symbol = line.strip().partition(" ")[2]
        phase = next((phase for phase, parts in PHASES if re.search(parts, symbol)), "everything else")
        phases[phase] += 1
    return phases


def table(workload: Workload, profile: Profile) -> str:
    rights = sum(right.rows for right in workload.rights)
    lines = [
        f"{workload.name}, CPU time of {profile.runs} runs on average:",
        "",
        "| phase | ms | ns a right row | ns a left row |",
        "|---|---|---|---|",
    ]
    for phase, _ in profile.samples.most_common():
        seconds = profile.seconds(phase)
        per_right, per_left = (seconds * 1e9 / rows for rows in (rights, workload.left.rows))
        lines.append(f"| {phase} | {seconds * 1e3:.0f} | {per_right:.1f} | {per_left:.1f} |")
    total = sum(profile.seconds(phase) for phase in profile.samples)
    return "\n".join([*lines, f"| all | {total * 1e3:.0f} | | |", ""])


if __name__ == "__main__":
    sys.exit(main())
