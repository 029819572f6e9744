"""`make soak`: real stages on a real broker while workers are killed and the broker restarts; and a job that outlives
the broker's patience. Prints its figures.

SOAK_JOBS (20) and SOAK_KILLS (8) change its size.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from covaria_broker import BrokerServer, ensure_installed
from covaria_site import COMMAND, OURS, Site, WorkerProcess, open_site, wait_until

from covaria.maps import fsc, read_volume
from covaria.request.stages import STAGES
from covaria.tree import Tree

pytestmark = [pytest.mark.slow, pytest.mark.broker]

JOBS = int(os.environ.get("SOAK_JOBS", "20"))
KILLS = int(os.environ.get("SOAK_KILLS", "8"))
KILLS_A_JOB = 5
SETS = 4
OPTIONS = (
    "--no-downsample", "--zdim", "1", "--n-clusters", "2", "--n-trajectories", "1", "--n-vols-along-path", "2",
    "--skip-umap",
)  # fmt: skip
LIMIT_S = 3000.0


@dataclass
class Crew:
    """Four workers, one for each stage, each replaced when it dies."""

    site: Site
    at_work: dict[str, WorkerProcess] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    stopped: threading.Event = field(default_factory=threading.Event)
    restarted: int = 0

    def start(self) -> None:
        for stage in STAGES:
            self.at_work[stage] = self.site.worker(stage)

    def busy(self) -> dict[str, str]:
        """stage -> job folder's name, for every worker that runs a stage now."""
        found = {}
        for out in sorted(self.site.root.glob("out*")):
            for stage, worker in self.at_work.items():
                note = Tree(out).stage_dir(stage) / "delivery.json"
                try:
                    state = json.loads(note.read_text())
                except FileNotFoundError:
                    continue
                if state["state"] == "running" and state["worker"].endswith(f":{worker.process.pid}"):
                    found[stage] = out.name
        return found

    def disturb(self, server: BrokerServer, seed: int) -> None:
        """Kill a busy worker now and then; restart the broker twice. Ends when told to."""
        dice = random.Random(seed)
        restarts = iter((KILLS // 3, 2 * KILLS // 3))
        next_restart = next(restarts, None)
        while not self.stopped.wait(dice.uniform(4, 12)) and sum(self.kills.values()) < KILLS:
            if next_restart is not None and sum(self.kills.values()) >= next_restart:
                server.stop_app()
                self.stopped.wait(dice.uniform(2, 6))
                server.start_app()
                self.restarted += 1
                next_restart = next(restarts, None)
            allowed = {stage: job for stage, job in self.busy().items() if self.kills[job] < KILLS_A_JOB}
            if allowed:
                stage = dice.choice(sorted(allowed))
                self.kills[allowed[stage]] += 1
                self.at_work[stage].kill()
                self.at_work[stage] = self.site.worker(stage)


def simulate(site: Site, number: int) -> Path:
    folder = site.root / f"set{number}"
    site.command("simulate", str(folder), "--box", "16", "--n-images", "100", "--snr", "1", "--seed", str(number))
    return folder / "particles.star"


def real_stages(site: Site) -> None:
    """No fake stages on the path of this facility."""
    site.extra.update(
        PYTHONPATH=os.pathsep.join(OURS), COVARIA_LEASE_RENEW_S="1", COVARIA_LEASE_DEAD_S="8", COVARIA_GRACE_S="60",
        COVARIA_MEMORY_GB="1", COVARIA_POLL_INTERVAL_S="0.5",
    )  # fmt: skip


@pytest.fixture
def own_server() -> Iterator[BrokerServer]:
    """A broker that may be stopped without disturbing other tests; it is impatient with unacknowledged messages."""
    ensure_installed()
    server = BrokerServer(extra_config="consumer_timeout = 60000")
    server.start()
    yield server
    server.stop()


def assert_equal_results(service: Tree, run: Tree) -> None:
    """science.md, row 18: subspace cosines >= 0.999, FSC >= 0.99 up to the half-map 0.5 shell."""
    half1, half2 = (read_volume(run.mean_half(half))[0] for half in (1, 2))
    curve = fsc(half1, half2)
    below = np.flatnonzero(curve < 0.5)
    last = int(below[0]) if below.size else len(curve)
    for name in ("mean.mrc", "mean_filt.mrc"):
        agreement = fsc(read_volume(service.volumes / name)[0], read_volume(run.volumes / name)[0])
        assert agreement[1 : max(last, 2)].min() >= 0.99, (name, agreement)
    ours = read_volume(service.eigenvolume(0))[0].ravel()
    theirs = read_volume(run.eigenvolume(0))[0].ravel()
    cosine = abs(float(ours @ theirs) / float(np.linalg.norm(ours) * np.linalg.norm(theirs)))
    assert cosine >= 0.999, cosine


def test_soak(own_server: BrokerServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = open_site(own_server, tmp_path)
    real_stages(site)
    crew = Crew(site)
    try:
        inputs = [simulate(site, number) for number in range(SETS)]
        run_s = []
        for number, particles in enumerate(inputs):
            began = time.monotonic()
            site.command(
                "run",
                str(particles),
                "-o",
                str(site.root / f"run{number}"),
                *OPTIONS,
                "--memory-gb",
                "1",
                timeout_s=LIMIT_S,
            )
            run_s.append(time.monotonic() - began)
        crew.start()
        alone_s = one_job_alone(site, inputs[0])
        began = time.monotonic()
        submit_all(site, inputs)
        disturber = threading.Thread(target=crew.disturb, args=(own_server, 7))
        disturber.start()
        outs = [site.root / f"out{number}" for number in range(JOBS)]
        wait_until(lambda: all(site.state("analysis", out.name) == "succeeded" for out in outs), LIMIT_S, "all jobs")
        seconds = time.monotonic() - began
        crew.stopped.set()
        disturber.join()
        site.wait_empty(120)
        for number, out in enumerate(outs):
            assert json.loads((out / "job.json").read_text())["status"] == "succeeded"
            for stage in STAGES:
                log = Tree(out).stage_log(stage).read_text()
                assert log.count(" done in ") == 1, f"{out.name} {stage} was published more than once:\n{log}"
            assert_equal_results(Tree(out), Tree(site.root / f"run{number % SETS}"))
        report = (
            f"\nsoak: {JOBS} jobs in {seconds:.0f} s = {3600 * JOBS / seconds:.0f} jobs/h, "
            f"{sum(crew.kills.values())} kills "
            f"(at most {max(crew.kills.values(), default=0)} a job), {crew.restarted} broker restarts\n"
            f"one job alone: services {alone_s:.1f} s, covaria run {run_s[0]:.1f} s, "
            f"{100 * (alone_s / run_s[0] - 1):+.1f} %; beside the stages' own seconds: "
            f"services {beside(site, 'alone'):.1f} s, covaria run {beside(site, 'run0'):.1f} s\n"
        )
        with capsys.disabled():
            print(report)
    finally:
        crew.stopped.set()
        site.close()


def one_job_alone(site: Site, particles: Path) -> float:
    """Seconds from submitting to the end, nothing else going on."""
    out = site.root / "alone"
    began = time.monotonic()
    site.command("submit", str(particles), "-o", str(out), *OPTIONS)
    site.wait_done("analysis", "alone", timeout_s=LIMIT_S)
    return time.monotonic() - began


def beside(site: Site, name: str) -> float:
    """Seconds of a job that no stage used: queueing, starting processes, handing over."""
    job = json.loads((site.root / name / "job.json").read_text())
    last = datetime.fromisoformat(job["stages"]["analysis"]["finished_at"])
    whole = (last - datetime.fromisoformat(job["submitted_at"])).total_seconds()
    return whole - sum(stage["seconds"] for stage in job["stages"].values())


def submit_all(site: Site, inputs: list[Path]) -> None:
    """Two submitters at once, each its half of the jobs, one of them twice over."""

    def submit(numbers: range, times: int) -> None:
        for number in numbers:
            particles = inputs[number % SETS]
            for _ in range(times):
                words = [*COMMAND, "submit", str(particles), "-o", str(site.root / f"out{number}"), *OPTIONS]
                subprocess.run(words, env=site.environment, check=True, capture_output=True, timeout=120)

    submitters = [
        threading.Thread(target=submit, args=(range(0, JOBS, 2), 1)),
        threading.Thread(target=submit, args=(range(1, JOBS, 2), 2)),
    ]
    for each in submitters:
        each.start()
    for each in submitters:
        each.join()


def test_job_longer_than_consumer_timeout(own_server: BrokerServer, tmp_path: Path) -> None:
    """The broker takes the delivery back after 60 to 120 s; the stage goes on, and all is done once."""
    site = open_site(own_server, tmp_path)
    try:
        workers = [site.worker(), site.worker(), site.worker("reconstruction")]
        quick = {"steps": 1, "step_s": 0.0}
        site.submit(site.message(route=("ingest", "reconstruction"), steps=18, step_s=8.0, reconstruction=quick))
        site.wait_done("reconstruction", timeout_s=280)
        site.wait_empty()
        for stage in ("ingest", "reconstruction"):
            assert site.trail(stage).count("published") == 1
            assert sum(line.startswith("step0 ") for line in site.trail(stage)) == 1
        logs = "".join(worker.text() for worker in workers)
        assert "the broker took the delivery back" in logs
        assert "the broker closed the channel" in logs
        for worker in workers:
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
    finally:
        site.close()
