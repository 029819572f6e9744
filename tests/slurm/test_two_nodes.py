"""A real Slurm of two nodes: a run over both that loses a rank and resumes, a node that is lost, a preemption."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import real_slurm

from covaria.maps import read_volume
from covaria.tree import Tree

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]


class Cluster:
    """Its commands, in a folder."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def covaria(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["covaria", *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def queued(self, *words: str) -> str:
        done = self.covaria("sbatch", "--cpus", "1", "--mem-gb", "1", *words)
        assert done.returncode == 0, done.stderr
        found = re.search(r"Slurm job (\d+)", done.stdout)
        assert found
        return found.group(1)

    def said(self, *words: str) -> str:
        return real_slurm.said(*words, environment=self.environment)

    def state(self, job: str) -> str:
        found = re.search(r"JobState=(\w+)", self.said("scontrol", "show", "job", job))
        return found.group(1) if found else ""

    def at_once(self, job: str) -> None:
        """Slurm lets a job that it queued again wait for two minutes; not here."""
        self.until(lambda: self.state(job) == "PENDING", job, 60)
        self.said("scontrol", "update", f"JobId={job}", "StartTime=now")

    def words(self, job: str) -> str:
        log = self.folder / f"slurm-{job}.out"
        return log.read_text() if log.exists() else ""

    def until(self, true: Callable[[], bool], job: str, patience_s: float = 240) -> None:
        end = time.monotonic() + patience_s
        while not true():
            assert time.monotonic() < end, (self.state(job), self.words(job)[-3000:])
            time.sleep(0.1)

    def ended(self, job: str) -> str:
        over = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT")
        self.until(lambda: self.state(job) in over, job)
        return self.state(job)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("nodes")
    program = folder / "bin" / "covaria"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from covaria.cli import main; main()" "$@"\n')
    program.chmod(0o755)
    with real_slurm.running(folder / "slurm") as environment:
        path = f"{REPOSITORY / 'shared'}:{REPOSITORY / 'services'}"
        environment |= {"PATH": f"{program.parent}:{environment['PATH']}", "PYTHONPATH": path}
        found = Cluster(folder, environment)
        made = found.covaria("simulate", "set", "-n", "2000", "-D", "24", "--states", "homogeneous")
        assert made.returncode == 0, made.stderr
        yield found


ASKED = ("run", "set/particles.star", "--only-mean", "--no-downsample", "--device", "cpu", "--memory-gb", "1", "-o")


def followers(out: str) -> list[int]:
    """Processes of the stage in `out` that were started for other ranks."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"covaria.running.followers" in words and any(f'"out":"{out}"'.encode() in word for word in words):
            found.append(int(folder.name))
    return found


def test_two_nodes_find_what_one_finds_after_a_rank_was_lost(cluster: Cluster) -> None:
    assert cluster.covaria(*ASKED, "one").returncode == 0
    job = cluster.queued("--nodes", "2", *ASKED, "two")
    cluster.until(lambda: bool(followers("two")), job)
    os.kill(followers("two")[0], signal.SIGKILL)
    assert cluster.ended(job) == "FAILED"
    assert re.search(r"LostRank: .*1 on \S+ ended with -9.*\n.*it resumes", cluster.words(job)), cluster.words(job)
    assert not followers("two")
    again = cluster.queued("--nodes", "2", *ASKED, "two")
    assert cluster.ended(again) == "COMPLETED", cluster.words(again)
    assert "ingest: done" not in cluster.words(again), "what was finished is not done again"
    one, two = (read_volume(Tree(cluster.folder / out).mean)[0] for out in ("one", "two"))
    assert np.linalg.norm(one - two) < 1e-4 * np.linalg.norm(one)


def test_a_lost_node_and_a_preemption_start_the_job_again(cluster: Cluster) -> None:
    job = cluster.queued("--nodes", "2", *ASKED, "lost")
    cluster.until(lambda: bool(followers("lost")), job)
    cluster.said("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=lost")
    cluster.at_once(job)
    cluster.said("scontrol", "update", "NodeName=n2", "State=RESUME")
    cluster.until(lambda: "started again (1)" in cluster.words(job), job)
    cluster.until(lambda: bool(followers("lost")), job)
    urgent = subprocess.run(
        ["sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--exclusive", "--wrap=true"],
        cwd=cluster.folder, env=cluster.environment, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert cluster.ended(urgent) == "COMPLETED"
    cluster.at_once(job)
    assert cluster.ended(job) == "COMPLETED", cluster.words(job)
    assert "started again (2)" in cluster.words(job)


def test_what_is_not_there_is_refused(cluster: Cluster) -> None:
    done = cluster.covaria("sbatch", "--partition", "nowhere", *ASKED, "no")
    assert done.returncode and "sinfo" in done.stderr and "invalid partition" in done.stderr.lower()
    many = cluster.covaria("sbatch", "--nodes", "9", *ASKED, "no")
    assert "not started: PartitionConfig" in many.stderr and "sinfo" in many.stderr
    one = cluster.covaria("sbatch", "--nodes", "2", "density", "two")
    assert one.returncode and "density runs on one" in one.stderr
