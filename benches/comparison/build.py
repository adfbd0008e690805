"""Builds the programs of this repository that are compared and that make the data."""

import subprocess

from . import places

PROGRAMS = ("asof", "asof-bench-data", "asof-bench-memory")


def build(*programs: str) -> None:
    # Without -p: it would select fewer features of the dependencies and build them all again.
    command = ["cargo", "build", "--release"]
    for program in programs or PROGRAMS:
        command += ["--bin", program]
    subprocess.run(command, cwd=places.ROOT, check=True)
