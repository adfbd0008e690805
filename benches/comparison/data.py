"""The workloads on disk: made once, and again when the generator has changed."""

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import places
from .workload import Workload


@dataclass(frozen=True)
class Request:
    workload: str
    scale: float


def made(request: Request) -> Path:
    """The directory with the workload, which is written now if it is not there yet."""
    directory = places.DATA / f"{request.workload}-{request.scale:g}"
    stamp = directory / "generator"
    generator = _generator()
    if stamp.is_file() and stamp.read_text() == generator:
        return directory
    print(f"making {directory}", file=sys.stderr)
    shutil.rmtree(directory, ignore_errors=True)
    tool = places.BINARIES / "asof-bench-data"
    subprocess.run([tool, directory, request.workload, "--scale", str(request.scale)], check=True)
    describe = [sys.executable, "-m", "comparison.describe", directory, request.workload]
    subprocess.run(describe, check=True, cwd=places.BENCHES)
    Workload.read(directory)
    stamp.write_text(generator)
    return directory


def _generator() -> str:
    """A fingerprint of the code that decides what is written."""
    sources = [places.BENCHES / "src" / f"{name}.rs" for name in ("random", "table", "workload", "parquet")]
    sources.append(places.BENCHES / "comparison" / "describe.py")
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
