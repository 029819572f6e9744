"""redteam 6: a stage whose parent is dead ends; one that stood still meanwhile and wakes late changes nothing."""

from __future__ import annotations

import hashlib
import os
import re
import signal
from pathlib import Path

import pytest
from covaria_site import Site, WorkerProcess, wait_until

pytestmark = pytest.mark.broker


def stage_of(worker: WorkerProcess) -> int:
    """The process id of the stage that a worker runs."""
    found = wait_until(lambda: re.search(r"the stage's process is (\d+)", worker.text()), what="the stage's process")
    return int(found.group(1))


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def snapshot(folder: Path) -> dict[str, str]:
    """Name -> sum of every file beneath a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_stage_ends_with_its_parent(site: Site) -> None:
    site.submit(site.message(until="never"))
    worker = site.worker()
    pid = stage_of(worker)
    wait_until(lambda: site.trail(), what="a running stage")
    worker.kill()
    wait_until(lambda: not runs(pid), what="the orphan's end")
    assert "published" not in site.trail()


@pytest.mark.parametrize("step", ["in a step", "before it publishes"])
def test_woken_late_an_orphan_changes_nothing(site: Site, step: str) -> None:
    plan = {"until": "go"} if step == "in a step" else {"linger_s": 2.0, "steps": 1}
    site.submit(site.message(route=("ingest", "reconstruction"), ingest=plan))
    first = site.worker()
    pid = stage_of(first)
    wait_until(lambda: site.trail(), what="a running stage")
    os.kill(pid, signal.SIGSTOP)
    first.kill()
    site.touch("go")
    second, following = site.worker(), site.worker("reconstruction")
    site.wait_done("reconstruction")
    site.wait_empty()
    for worker in (second, following):
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    before = snapshot(site.tree().out)
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not runs(pid), what="the orphan's end")
    after = snapshot(site.tree().out)
    trail = ".covaria/trail.ingest"  # written by the fake stage itself, past every guard
    assert {name: value for name, value in after.items() if name != trail} == {
        name: value for name, value in before.items() if name != trail
    }
    assert site.trail().count("published") == 1
    assert site.state() == site.state("reconstruction") == "succeeded"
