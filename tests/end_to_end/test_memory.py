"""--memory-gb is a promise: the peak of a whole run in a process of its own, beside the plan."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN

BUDGET_GB = 1.6
TARGETS = 12


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory of a child is read as Linux reports it")
def test_a_run_stays_within_its_memory(tmp_path: Path):
    """Twelve targets of 64 pixels want more than the budget at once, so it is the plan that holds it."""
    options = SimulationOptions(n_images=1500, box=64, pixel_size_angstrom=4.0, snr=0.3, seed=6)
    simulate(tmp_path / "set", BUILT_IN["presence"](2), options)
    command = f"run {tmp_path}/set/particles.star -o {tmp_path}/out --no-downsample --zdim 4 --n-clusters {TARGETS} "
    command += f"--n-trajectories 0 --no-density --skip-umap --device cpu --memory-gb {BUDGET_GB}"
    code = "import sys; from covaria.cli import main; sys.argv[1:] = " + repr(command.split()) + "; main()"
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", code])
    _, status, usage = os.wait4(child, 0)
    log = (tmp_path / "out" / "run.log").read_text()
    assert os.waitstatus_to_exitcode(status) == 0, log[-2000:]
    together = re.search(r"states: (\d+) targets, (\d+) in each pass", log)
    assert together and int(together[1]) == TARGETS and int(together[2]) < TARGETS
    assert usage.ru_maxrss * 1024 < BUDGET_GB * 1e9, f"{usage.ru_maxrss / 1e6:.2f} GB"
    assert usage.ru_maxrss * 1024 > 0.4 * BUDGET_GB * 1e9, "this run would not show a broken plan"
