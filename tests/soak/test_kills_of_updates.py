"""kill -9 at random moments of a growing set's updates: every version is what it would have been.

Before each update is through, KILLS_OF_AN_UPDATE (5) of its processes die; UPDATES_SETS (4) sets get two updates each.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from covaria_site import OURS

from covaria.operations.growth import history
from covaria.testing.compare import SENSITIVE, differences
from covaria.tree import Tree
from covaria.tree.integrity import verify

pytestmark = pytest.mark.slow

SETS = int(os.environ.get("UPDATES_SETS", "4"))
KILLS = int(os.environ.get("KILLS_OF_AN_UPDATE", "5"))
SEED = int(os.environ.get("KILLS_SEED", "1"))
PARTS = (120, 160, 200)
OPTIONS = (
    "--no-downsample", "--zdim", "1", "--n-clusters", "2", "--n-trajectories", "1", "--n-vols-along-path", "2",
    "--skip-umap", "--memory-gb", "1",
)  # fmt: skip
OF_THE_RUN = re.compile(r".*(pipeline_result_dir|duration_seconds|input_args: outdir|explore.json: run.json).*")
PROGRAM = (sys.executable, "-c", "from covaria.cli import main; main()")


def started(*arguments: str) -> subprocess.Popen[str]:
    """A command in a process group of its own: its stages' processes die with it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(OURS)}
    return subprocess.Popen(
        [*PROGRAM, *arguments], env=environment, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def done(*arguments: str) -> float:
    began = time.monotonic()
    process = started(*arguments)
    assert (told := process.communicate(timeout=1800)[1]) is not None and process.returncode == 0, told
    return time.monotonic() - began


def killed(dice: random.Random, longest: float, *arguments: str) -> int:
    """The command, killed at random moments and given again, until it is through: how often it was killed."""
    kills = 0
    while kills < KILLS:
        process = started(*arguments)
        try:
            told = process.communicate(timeout=dice.uniform(1.0, 0.9 * longest))[1]
            assert process.returncode == 0, told
            return kills
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
    done(*arguments)
    return kills


def parts_of(star: Path) -> list[Path]:
    """The file as it was with PARTS of its rows, beside it."""
    lines = star.read_text().splitlines(keepends=True)
    rows = [number for number, line in enumerate(lines) if "@" in line]
    found = []
    for count in PARTS:
        path = star.with_name(f"first-{count}.star")
        path.write_text("".join(line for number, line in enumerate(lines) if number not in rows[count:]))
        found.append(path)
    return found


def test_updates_that_are_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dice, kills = random.Random(SEED), 0
    for number in range(SETS):
        folder = tmp_path / f"set{number}"
        done("simulate", str(folder), "--box", "16", "--n-images", str(PARTS[-1]), "--snr", "2", "--seed", str(number))
        first, *later = parts_of(folder / "particles.star")
        whole, broken = tmp_path / f"whole{number}", tmp_path / f"broken{number}"
        for out in (whole, broken):
            done("run", str(first), "-o", str(out), "--growing", *OPTIONS)
        for particles in later:
            seconds = done("grow", str(whole), str(particles))
            kills += killed(dice, seconds, "grow", str(broken), str(particles))
        lines = differences(broken, whole)
        found = [line for line in lines if not SENSITIVE.match(line) and not OF_THE_RUN.match(line)]
        assert not found, "\n".join(found)
        assert verify(Tree(broken)).damaged == ()
        assert json.loads(Tree(broken).job_json.read_text())["status"] == "succeeded"
        assert [one.version for one in history(Tree(broken))] == [1, 2, 3]
    assert kills >= KILLS * SETS
    with capsys.disabled():
        print(f"\n{kills} kills of {2 * SETS} updates of {SETS} growing sets: every version as it would have been")
