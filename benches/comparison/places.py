"""Where files are: everything but the results lies below cargo's target directory."""

import os
from pathlib import Path

BENCHES = Path(__file__).resolve().parent.parent
ROOT = BENCHES.parent
RESULTS = BENCHES / "results"

_TARGET = Path(os.environ["CARGO_TARGET_DIR"])
BINARIES = _TARGET / "release"
DATA = _TARGET / "compare" / "data"
SCRATCH = _TARGET / "compare" / "scratch"
LOCK = _TARGET / "compare" / "lock"
