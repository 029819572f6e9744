"""How long live work waits while every worker is busy with bulk, and what bulk loses by making room for it.

A real broker, one worker for ingest and two for reconstruction. First the bulk jobs alone, then the live jobs, then
both: a live job comes every few seconds while bulk runs. Lost work is CPU time, which neighbours on the machine do not
change: that of all processes of stages, minus what both kinds took alone, for each time that bulk made room.
`python bench/bench_live_first.py [LIVE_JOBS] [SECONDS_BETWEEN]`
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from facility import OURS, Site, WorkerProcess, facility, wait_until

from covaria.messages.envelope import new_message
from covaria.messages.work import Work
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.testing.compare import differences

BULK = 2
"""As many as there are workers for reconstruction."""
ROUTE: Any = ("ingest", "reconstruction")
OF_THE_RUN = re.compile(r".*(pipeline_result_dir|duration_seconds|input_args: outdir).*")
TICKS = os.sysconf("SC_CLK_TCK")


def particles(site: Site, name: str, images: int, box: int) -> Path:
    """A simulated set."""
    sizes = ("--box", str(box), "--n-images", str(images), "--snr", "0.2")
    site.command("simulate", str(site.root / name), *sizes, timeout_s=600)
    return site.root / name / "particles.star"


def submit(site: Site, source: Path, name: str, job_class: Literal["live", "bulk"]) -> None:
    """A job whose output folder is `name`."""
    request = Request(
        out=site.root / name,
        ingest=IngestOptions(particles=source, downsample=None),
        reconstruction=ReconstructionOptions(zdim=(1,)),
    )
    site.submit(new_message(f"job-{name}", Work(request=request, route=ROUTE, job_class=job_class)))


def cpu_s(worker: WorkerProcess) -> float:
    """CPU time of all ended stages of a worker: its nursery's children."""
    pid = worker.process.pid
    total = 0.0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        total += (int(words[13]) + int(words[14])) / TICKS
    return total


@contextmanager
def workers(site: Site) -> Iterator[list[WorkerProcess]]:
    """One for ingest, BULK for reconstruction."""
    found = [site.worker("ingest"), *(site.worker("reconstruction") for _ in range(BULK))]
    try:
        for one in found:
            wait_until(lambda one=one: "connected" in one.text(), 60)
        yield found[1:]
    finally:
        for one in found:
            one.process.terminate()
            one.wait()


def note(site: Site, name: str, stage: str) -> dict[str, Any]:
    """The stage's state."""
    found: dict[str, Any] = json.loads(site.tree(name).stage_state(stage).read_text())
    return found


def wait_s(site: Site, name: str) -> float:
    """From the end of ingest to the first start of reconstruction."""
    ended, began = note(site, name, "ingest")["finished_at"], note(site, name, "reconstruction")["started_at"]
    return (datetime.fromisoformat(began) - datetime.fromisoformat(ended)).total_seconds()


def play(site: Site, sets: dict[str, Path], bulk: list[str], live: list[str], every_s: float) -> tuple[float, int]:
    """CPU time of all reconstructions, s, and how often bulk made room."""
    with workers(site) as at_work:
        for name in bulk:
            submit(site, sets["bulk"], name, "bulk")
        for name in bulk:
            wait_until(lambda name=name: site.state("reconstruction", name) == "running", 600)
        for name in live:
            time.sleep(every_s if bulk else 0.0)
            submit(site, sets["live"], name, "live")
            site.wait_done("reconstruction", name, 600)
        for name in bulk:
            site.wait_done("reconstruction", name, 1800)
        site.eye = None  # it has not been served since
        site.wait_empty(60)
        rooms = sum(worker.text().count("handed back for live work") for worker in at_work)
        return sum(map(cpu_s, at_work)), rooms


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    every_s = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    with facility() as site:
        site.extra.update(
            PYTHONPATH=os.pathsep.join(OURS), COVARIA_POLL_INTERVAL_S="1", COVARIA_LEASE_RENEW_S="10",
            COVARIA_LEASE_DEAD_S="60", COVARIA_MEMORY_GB="2",
        )  # fmt: skip
        sets = {"bulk": particles(site, "many", 12000, 64), "live": particles(site, "few", 200, 16)}
        alone = [f"alone{number}" for number in range(BULK)]
        bulk_s, _ = play(site, sets, alone, [], 0.0)
        live_s, _ = play(site, sets, [], [f"quiet{number}" for number in range(count)], 0.0)
        both, live = [f"both{number}" for number in range(BULK)], [f"live{number}" for number in range(count)]
        all_s, rooms = play(site, sets, both, live, every_s)
        waits = [wait_s(site, name) for name in live]
        pairs = [(site.root / one, site.root / other) for one, other in zip(alone, both, strict=True)]
        unequal = [line for pair in pairs for line in differences(*pair) if not OF_THE_RUN.match(line)]
    print(f"{count} live jobs while {BULK} of {BULK} workers are busy with bulk, {rooms} times it made room")
    print(f"live waits, s: {', '.join(f'{wait:.1f}' for wait in waits)}; p95 {np.percentile(waits, 95):.1f}")
    print(f"CPU, s: bulk alone {bulk_s:.1f}, live alone {live_s:.1f}, both {all_s:.1f}")
    print(
        f"lost each time: {(all_s - bulk_s - live_s) / max(rooms, 1):.1f} s; results differ in {unequal or 'nothing'}"
    )
    return bool(unequal)


if __name__ == "__main__":
    sys.exit(main())
