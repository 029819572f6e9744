"""A real Slurm of two nodes: a run over both that loses a rank and resumes, a node that is lost, a preemption."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import real_slurm
from real_slurm import Cluster

from covaria.maps import read_volume
from covaria.operations.slurm import Slurm
from covaria.operations.slurm_news import News
from covaria.tree import Tree

pytestmark = pytest.mark.slow


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


def test_two_nodes_find_what_one_finds_after_a_rank_was_lost(nodes: Cluster) -> None:
    assert nodes.covaria(*ASKED, "one").returncode == 0
    job = nodes.queued("--nodes", "2", *ASKED, "two")
    nodes.until(lambda: bool(followers("two")), job)
    os.kill(followers("two")[0], signal.SIGKILL)
    assert nodes.ended(job) == "FAILED"
    assert re.search(r"LostRank: .*1 on \S+ ended with -9.*\n.*it resumes", nodes.words(job)), nodes.words(job)
    assert not followers("two")
    again = nodes.queued("--nodes", "2", *ASKED, "two")
    assert nodes.ended(again) == "COMPLETED", nodes.words(again)
    assert "ingest: done" not in nodes.words(again), "what was finished is not done again"
    one, two = (read_volume(Tree(nodes.folder / out).mean)[0] for out in ("one", "two"))
    assert np.linalg.norm(one - two) < 1e-4 * np.linalg.norm(one)


def test_a_lost_node_and_a_preemption_start_the_job_again(nodes: Cluster) -> None:
    job = nodes.queued("--nodes", "2", *ASKED, "lost")
    nodes.until(lambda: bool(followers("lost")), job)
    name = nodes.said("squeue", "--noheader", f"--job={job}", "--format=%j").strip()
    slurm, told = Slurm(lambda words, text: real_slurm.called(*words, environment=nodes.environment)), []
    news = News(slurm, name)
    assert news.of(slurm.jobs(name)) == []
    nodes.said("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=lost")
    nodes.until(lambda: bool(told.extend(news.of(slurm.jobs(name))) or told), job, patience_s=60)
    assert re.match(rf"Slurm job {job} was taken off n1 .*, n2 .* waits until 20.* last checkpoint", told[0])
    assert "asked to stop" in nodes.words(job)
    nodes.at_once(job)
    nodes.said("scontrol", "update", "NodeName=n2", "State=RESUME")
    nodes.until(lambda: "started again (1)" in nodes.words(job), job)
    nodes.until(lambda: bool(followers("lost")), job)
    urgent = subprocess.run(
        ["sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--exclusive", "--wrap=true"],
        cwd=nodes.folder, env=nodes.environment, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert nodes.ended(urgent) == "COMPLETED"
    nodes.at_once(job)
    assert nodes.ended(job) == "COMPLETED", nodes.words(job)
    assert "started again (2)" in nodes.words(job)


def test_what_is_not_there_is_refused(nodes: Cluster) -> None:
    done = nodes.covaria("sbatch", "--partition", "nowhere", *ASKED, "no")
    assert done.returncode and "sinfo" in done.stderr and "invalid partition" in done.stderr.lower()
    many = nodes.covaria("sbatch", "--nodes", "9", *ASKED, "no")
    assert "not started: PartitionConfig" in many.stderr and "sinfo" in many.stderr
    one = nodes.covaria("sbatch", "--nodes", "2", "density", "two")
    assert one.returncode and "density runs on one" in one.stderr
