"""The control path, on a real broker with one real worker and a stage that does nothing.

Prints submit-to-start latency (median, p99) of an idle worker, jobs/s through one worker and its growth in memory, the
time of a job of three stages, confirmed publishes/s. They are compared with the start of a Python process, which every
stage cost before stages were forked from a process that is warm. `python bench/bench_control_path.py [JOBS]`
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from facility import Site, WorkerProcess, facility, wait_until

from covaria.bus.model import Outgoing
from covaria.bus.topology import JOBS, build_topology
from covaria.worker.dispatch import Dispatch

POLL_S = 1.0
"""As shipped."""
THREE = ("ingest", "reconstruction", "analysis")


def child_start_s() -> float:
    """A Python process that imports what a stage's process imports."""
    began = time.perf_counter()
    for _ in range(3):
        subprocess.run([sys.executable, "-c", "import covaria.worker.child"], check=True)
    return (time.perf_counter() - began) / 3


def latencies(site: Site, jobs: int) -> list[float]:
    """Submit-to-start of single jobs to an idle worker, s: from before the publish to the stage's own start."""
    found = []
    for number in range(jobs):
        message = site.message(f"single{number}", steps=0)
        time.sleep((number % 7) / 7 * POLL_S)  # all phases of the poll
        began = time.time()
        site.submit(message)
        site.wait_done(name=f"single{number}", timeout_s=60)
        state = json.loads(site.tree(f"single{number}").stage_state("ingest").read_text())
        found.append(datetime.fromisoformat(state["started_at"]).timestamp() - began)
    return found


def throughput(site: Site, jobs: int) -> float:
    """Jobs/s of one worker on a full queue."""
    messages = [site.message(f"many{number}", steps=0) for number in range(jobs)]
    dispatch = Dispatch(site.bus(), build_topology(site.settings.retry_delays_s))
    for message in messages:
        dispatch.submit(message)
    wait_until(lambda: site.state(name="many0") == "succeeded", 60)
    began = time.perf_counter()
    wait_until(lambda: site.state(name=f"many{jobs - 1}") == "succeeded", 600)
    return (jobs - 1) / (time.perf_counter() - began)


def whole_jobs(site: Site, jobs: int) -> float:
    """Submit to done of a job of three stages that do nothing, median s: what the control path adds to a job."""
    took = []
    for number in range(jobs):
        message = site.message(f"whole{number}", route=THREE, steps=0)
        began = time.perf_counter()
        site.submit(message)
        site.wait_done(THREE[-1], name=f"whole{number}", timeout_s=60)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def resident_mb(worker: WorkerProcess) -> float:
    """Of the worker and the process that its stages are forked from."""
    pid = worker.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = [re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{one}/status").read_text()) for one in (pid, *children)]
    return sum(int(kilobytes) for (kilobytes,) in found) / 1024


def publishes(site: Site, count: int) -> float:
    """Confirmed mandatory publishes/s of one connection."""
    bus = site.bus()
    body = b"x" * 2000
    began = time.perf_counter()
    for number in range(count):
        bus.publish(Outgoing(JOBS, "density.bulk", body, str(number)))
    rate = count / (time.perf_counter() - began)
    bus.close()
    return rate


def main() -> int:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with facility() as site:
        site.extra["COVARIA_POLL_INTERVAL_S"] = str(POLL_S)
        floor = child_start_s()
        worker, *others = [site.worker(stage) for stage in THREE]
        for one in (worker, *others):
            wait_until(lambda one=one: "connected" in one.text(), 60)
        single = sorted(latencies(site, jobs))
        before = resident_mb(worker)
        rate = throughput(site, jobs)
        growth = resident_mb(worker) - before
        whole = whole_jobs(site, min(jobs, 20))
        confirmed = publishes(site, 500)
    median, p99 = statistics.median(single), single[min(len(single) - 1, int(0.99 * len(single)))]
    print(f"start of a process {floor:.2f} s")
    print(f"submit to start: median {median:.2f} s, p99 {p99:.2f} s")
    print(f"no-op jobs: {rate:.2f} jobs/s one worker; {rate * floor:.2f} in the time of a process start")
    print(f"no-op job of three stages: {whole:.2f} s; {whole / floor:.2f} process starts")
    print(f"memory of worker and nursery: {before:.0f} MB, {growth:+.1f} MB after {jobs} jobs")
    print(f"confirmed publishes: {confirmed:.0f}/s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
