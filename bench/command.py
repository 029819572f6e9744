"""The `covaria` command of this environment, as the benchmarks call it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COVARIA = Path(sys.executable).with_name("covaria")


def call(*arguments: object) -> None:
    """Run `covaria` with these arguments; what it said is shown where it fails."""
    command = [str(COVARIA), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
