"""kill -9, hundreds of times, over jobs of both classes in all stages: every tree is as if nothing had happened.

Killed are stages' processes and whole workers, at random moments. Prints its figures. KILLS_JOBS (40) and KILLS_KILLS
(200) change its size, KILLS_SEED the moments.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from covaria_broker import BrokerServer, ensure_installed
from covaria_site import OURS, Site, WorkerProcess, open_site, wait_until

from covaria.bus.topology import EVENTS, Binding, Queue, Topology
from covaria.operations.announce import show_queued
from covaria.operations.submit import message_for
from covaria.request.model import AnalysisOptions, IngestOptions, ReconstructionOptions, Request
from covaria.request.stages import STAGES
from covaria.testing.compare import SENSITIVE, differences
from covaria.tree import Tree
from covaria.tree.integrity import verify

pytestmark = [pytest.mark.slow, pytest.mark.broker]

JOBS = int(os.environ.get("KILLS_JOBS", "40"))
KILLS = int(os.environ.get("KILLS_KILLS", "200"))
SEED = int(os.environ.get("KILLS_SEED", "1"))
SETS = 2
OF_A_WORKER = 0.3
"""Share of the kills that end a whole worker; the others end the process of its stage."""
MOST_OF_A_STAGE = 2
"""Ends of one job's stage process: each is a failed attempt, and the fourth is the last."""
OPTIONS = (
    "--no-downsample", "--zdim", "1", "--n-clusters", "2", "--n-trajectories", "1", "--n-vols-along-path", "2",
    "--skip-umap",
)  # fmt: skip
LIMIT_S = 3 * 3600.0
HEARD = "heard"
OF_THE_RUN = re.compile(r".*(pipeline_result_dir|duration_seconds|input_args: outdir|explore.json: run.json).*")


@dataclass
class Killer:
    """Four workers, one for each stage; one of them, or its stage's process, dies now and then."""

    site: Site
    at_work: dict[str, WorkerProcess] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    """By job."""
    by_stage: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By job and stage: no stage takes all the kills of its job."""
    of: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By what was killed and its stage."""
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Ends of stages' processes by job and stage."""
    stopped: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        for stage in STAGES:
            self.at_work[stage] = self.site.worker(stage)

    def busy(self) -> list[tuple[str, str]]:
        """(stage, job) of every worker that runs a stage now."""
        found = []
        for number in range(JOBS):
            for stage in STAGES:
                with suppress(FileNotFoundError, ValueError, KeyError):
                    note = json.loads(Tree(self.site.root / f"out{number}").delivery(stage).read_text())
                    mine = note["worker"].endswith(f":{self.at_work[stage].process.pid}")
                    if note["state"] == "running" and mine:
                        found.append((stage, f"out{number}"))
        return found

    def run(self) -> None:
        dice = random.Random(SEED)
        allowed = -(-KILLS // JOBS)
        while sum(self.kills.values()) < KILLS and not self.stopped.wait(dice.uniform(0.05, 1.5)):
            open_now = [
                (stage, job)
                for stage, job in self.busy()
                if self.kills[job] < allowed and self.by_stage[job, stage] < -(-allowed // 3)
            ]
            if not open_now:
                continue
            stage, job = dice.choice(open_now)
            if dice.random() < OF_A_WORKER or self.ended[job, stage] >= MOST_OF_A_STAGE:
                self.at_work[stage].kill()
                self.at_work[stage] = self.site.worker(stage)
                self.of["worker", stage] += 1
            elif pids := re.findall(r"the stage's process is (\d+)", self.at_work[stage].text()):
                try:
                    os.kill(int(pids[-1]), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.ended[job, stage] += 1
                self.of["stage", stage] += 1
            else:
                continue
            self.kills[job] += 1
            self.by_stage[job, stage] += 1


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    ensure_installed()
    server = BrokerServer()
    server.start()
    found = open_site(server, tmp_path)
    found.extra.update(
        PYTHONPATH=os.pathsep.join(OURS), COVARIA_LEASE_RENEW_S="1", COVARIA_LEASE_DEAD_S="10", COVARIA_MEMORY_GB="1",
        COVARIA_GRACE_S="60",
    )  # fmt: skip
    yield found
    found.close()
    server.stop()


def names(out: Path) -> set[str]:
    """Every file of a tree, ours apart."""
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and ".covaria" not in path.parts}


def heard(site: Site) -> Counter[tuple[str, str]]:
    """(job, kind of event) of everything that was told."""
    bus, found = site.bus(), Counter[tuple[str, str]]()
    while (event := bus.get(HEARD)) is not None:
        found[event.message_id.split("/")[0], event.key] += 1
    bus.close()
    return found


def submit(site: Site, particles: Path, out: Path, job_class: Literal["live", "bulk"]) -> None:
    """As `covaria submit` does with OPTIONS."""
    request = Request(
        out=out,
        ingest=IngestOptions(particles=particles, downsample=None),
        reconstruction=ReconstructionOptions(zdim=(1,)),
        analysis=AnalysisOptions(n_clusters=2, n_trajectories=1, n_vols_along_path=2, skip_umap=True),
    )
    message = message_for(request, job_class=job_class)
    show_queued(message, site.settings)
    site.submit(message)


def test_killed_again_and_again(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    bus = site.bus()
    bus.declare(Topology((), (Queue(HEARD, {}, "what a listener hears"),), (Binding(EVENTS, HEARD, "#"),), ()))
    bus.close()
    inputs = []
    for number in range(SETS):
        folder = site.root / f"set{number}"
        site.command("simulate", str(folder), "--box", "16", "--n-images", "160", "--snr", "2", "--seed", str(number))
        inputs.append(folder / "particles.star")
        run = ("run", str(inputs[-1]), "-o", str(site.root / f"run{number}"), "--memory-gb", "1", *OPTIONS)
        site.command(*run, timeout_s=LIMIT_S)
    began = time.monotonic()
    for number in range(JOBS):
        job_class: Literal["live", "bulk"] = "live" if number % 2 else "bulk"
        submit(site, inputs[number % SETS], site.root / f"out{number}", job_class)
    killer = Killer(site)
    killer.start()
    thread = threading.Thread(target=killer.run)
    thread.start()
    try:
        done = [f"out{number}" for number in range(JOBS)]
        wait_until(lambda: all(site.state("analysis", name) == "succeeded" for name in done), LIMIT_S, "all jobs")
        site.wait_empty(600)
    finally:
        killer.stopped.set()
        thread.join()
    seconds = time.monotonic() - began
    told = heard(site)
    unequal: dict[str, list[str]] = {}
    for number, name in enumerate(done):
        out, run = site.root / name, site.root / f"run{number % SETS}"
        assert names(out) == names(run)
        found = [line for line in differences(out, run) if not SENSITIVE.match(line) and not OF_THE_RUN.match(line)]
        if found:
            unequal[name] = found
        assert verify(Tree(out)).damaged == ()
        job = json.loads((out / "job.json").read_text())["job_id"]
        for stage in STAGES:
            assert Tree(out).stage_log(stage).read_text().count(" done in ") == 1, (name, stage)
            assert told[job, f"{stage}.succeeded"] == 1, (name, stage, told)
        assert told[job, "job.finished"] == 1
    assert unequal == {}, (unequal, killer.of, killer.kills)
    with capsys.disabled():
        by = ", ".join(f"{count} of {what}s in {stage}" for (what, stage), count in sorted(killer.of.items()))
        print(
            f"\n{sum(killer.kills.values())} kills over {JOBS} jobs, at most {max(killer.kills.values())} a job, in "
            f"{seconds:.0f} s: {JOBS} of {JOBS} trees equal, one event each\n{by}"
        )
