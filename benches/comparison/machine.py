"""What the comparison ran on: the machine, and the versions of everything."""

import os
import platform
import subprocess
from datetime import date
from importlib import metadata
from pathlib import Path

from . import places

PACKAGES = ("duckdb", "polars", "pandas", "pyarrow", "chdb", "chdb-core", "pyspark", "dbl-tempo")


def facts() -> dict[str, str | int]:
    """Two machines with the same facts are taken for the same."""
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory) / 2**20),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
    }


def versions() -> dict[str, str]:
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    return {
        "asof": _output([str(places.BINARIES / "asof"), "--version"]),
        "rustc": _output(["rustc", "--version"]),
        "python": platform.python_version(),
        "java": java.splitlines()[0] if java else "none",
        **{package: metadata.version(package) for package in PACKAGES},
    }


def commit() -> str:
    """The short hash, marked if the work tree differs from it."""
    return _output(["git", "describe", "--always", "--exclude=*", "--dirty"])


def today() -> str:
    return date.today().isoformat()


def _field(file: str, name: str) -> str:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _output(command: list[str]) -> str:
    return subprocess.run(command, cwd=places.ROOT, check=True, capture_output=True, text=True).stdout.strip()
