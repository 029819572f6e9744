"""The control path, on a real broker with one real worker and a stage that does nothing.

Prints submit-to-start latency (median, p99) of an idle worker, jobs/s through one worker, confirmed publishes/s.
Floors: half the polling interval for the latency's median; the start of a Python process for a job.
`python bench/bench_control_path.py [JOBS]`
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "plugins"))

from covaria_broker import BrokerServer, ensure_installed
from covaria_site import Site, open_site, wait_until

from covaria.bus.model import Outgoing
from covaria.bus.topology import JOBS, build_topology
from covaria.worker.dispatch import Dispatch

POLL_S = 1.0
"""As shipped."""


def child_start_s() -> float:
    """The floor of a job: a Python process that imports what a stage's process imports."""
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
    ensure_installed()
    server = BrokerServer()
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            site = open_site(server, Path(folder))
            site.extra["COVARIA_POLL_INTERVAL_S"] = str(POLL_S)
            floor = child_start_s()
            worker = site.worker()
            wait_until(lambda: "connected" in worker.text(), 60)
            single = sorted(latencies(site, jobs))
            rate = throughput(site, jobs)
            confirmed = publishes(site, 500)
            site.close()
    finally:
        server.stop()
    median, p99 = statistics.median(single), single[min(len(single) - 1, int(0.99 * len(single)))]
    print(f"floor: stage process start {floor:.2f} s, half a poll {POLL_S / 2:.2f} s")
    print(
        f"submit to start: median {median:.2f} s, p99 {p99:.2f} s; ratio to floor {median / (floor + POLL_S / 2):.2f}"
    )
    print(f"no-op jobs: {rate:.2f} jobs/s one worker; ratio to floor (1 / process start) {rate * floor:.2f}")
    print(f"confirmed publishes: {confirmed:.0f}/s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
