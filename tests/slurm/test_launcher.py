"""`covaria launcher slurm` between a real RabbitMQ and a real Slurm: whole sets, and what is killed on the way."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from covaria_broker import BrokerServer
from covaria_site import OURS, Site, open_site, wait_until
from real_slurm import Cluster

from covaria.request.stages import STAGES
from covaria.testing.compare import SENSITIVE, differences
from covaria.tree import Tree

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(900)]

OPTIONS = (
    "--no-downsample", "--zdim", "1", "--n-clusters", "2", "--n-trajectories", "1", "--n-vols-along-path", "2",
    "--skip-umap",
)  # fmt: skip
OF_THE_RUN = re.compile(r".*(pipeline_result_dir|duration_seconds|input_args: outdir|explore.json: run.json).*")
PATIENCE_S = 400.0


@pytest.fixture
def site(nodes: Cluster, broker_server: BrokerServer) -> Iterator[Site]:
    """A facility whose workers Slurm starts: a launcher for each stage, two messages a job."""
    found = open_site(broker_server, nodes.folder)
    slurm = {name: nodes.environment[name] for name in ("PATH", "SLURM_CONF")}
    found.extra.update(slurm, PYTHONPATH=os.pathsep.join(OURS) or nodes.environment["PYTHONPATH"])
    try:
        yield found
    finally:
        for launcher in found.workers:
            launcher.signal(signal.SIGTERM)
        nodes.said("scancel", "--user", "root")
        found.close()


def launch(site: Site) -> None:
    for stage in STAGES:
        ends = ("--max-jobs", "2", "--idle-exit", "10", "--most", "1", "--every", "1", "--cpus", "1", "--mem-gb", "1")
        site.start("launcher", "slurm", stage, *ends)


def jobs(nodes: Cluster, stage: str) -> dict[str, str]:
    """Numbers of the stage's jobs, the latest last -> state."""
    lines = nodes.said("scontrol", "--oneliner", "show", "job").splitlines()
    found = [re.search(rf"JobId=(\d+) JobName=covaria-{stage}-.* JobState=(\w+)", line) for line in lines]
    return dict(sorted((match.groups() for match in found if match), key=lambda job: int(job[0])))


def steps_kept(tree: Tree) -> dict[str, int]:
    """The reconstruction's finished steps -> when each was written."""
    found = tree.checkpoints("reconstruction").glob("*.npz")
    return {path.name: path.stat().st_mtime_ns for path in found if ".part" not in path.name}


def in_the_middle(site: Site, nodes: Cluster, name: str, after: int) -> tuple[dict[str, int], str]:
    """The steps kept when more than `after` are and a next one runs, and the Slurm job that runs it."""
    tree = site.tree(name)

    def found() -> tuple[dict[str, int], str] | None:
        kept = steps_kept(tree)
        running = [job for job, state in jobs(nodes, "reconstruction").items() if state == "RUNNING"]
        busy = site.delivery("reconstruction", name).get("state") == "running"
        return (kept, running[0]) if len(kept) > after and busy and running else None

    return wait_until(found, PATIENCE_S, f"{name}: {after + 1} steps kept")


def the_same(one: Path, other: Path) -> list[str]:
    return [line for line in differences(one, other) if not SENSITIVE.match(line) and not OF_THE_RUN.match(line)]


def test_waiting_messages_become_jobs_and_what_is_killed_resumes(nodes: Cluster, site: Site) -> None:
    site.command("simulate", "moving", "--box", "24", "--n-images", "1000", "--snr", "2")
    particles = str(site.root / "moving" / "particles.star")
    site.command("run", particles, "-o", "alone", *OPTIONS, timeout_s=PATIENCE_S)
    for name in ("first", "second"):
        site.command("submit", particles, "-o", str(site.root / name), *OPTIONS)
    launch(site)
    try:
        kept, job = in_the_middle(site, nodes, "first", after=1)
        os.kill(int(re.findall(r"the stage's process is (\d+)", nodes.words(job))[-1]), signal.SIGKILL)

        more, job = in_the_middle(site, nodes, "first", after=len(kept))
        nodes.said("scancel", job)
        last, _ = in_the_middle(site, nodes, "first", after=len(more))
        assert kept.items() <= more.items() <= last.items(), "a step that was finished is not done again"
        for name in ("first", "second"):
            wait_until(lambda name=name: site.state("analysis", name) == "succeeded", PATIENCE_S, name)
        site.wait_empty()
    finally:  # shown where it fails
        print("\n".join(launcher.text()[-2000:] for launcher in site.workers))
        print("\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in sorted(site.root.glob("slurm-*.out"))))
    assert jobs(nodes, "reconstruction")[job] == "CANCELLED"
    assert len(jobs(nodes, "reconstruction")) >= 2, "the next look queued another"
    assert len(jobs(nodes, "ingest")) == 1, "one job deals with two messages"
    for name in ("first", "second"):
        assert the_same(site.root / name, site.root / "alone") == []
