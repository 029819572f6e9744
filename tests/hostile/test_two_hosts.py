"""Two hosts that share a folder and the broker alone: namespaces of their own for mounts, names, processes and the
monotonic clock, and wall clocks ten minutes apart. Leases, fences, take-over, `reconcile`.

Needs root (or user namespaces that may mount), `unshare` with time namespaces, and a C compiler for the wall clock.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from covaria_site import COMMAND, Site, WorkerProcess, wait_until

from covaria.bus.topology import EVENTS, Binding, Queue, Topology, job_queue

pytestmark = [pytest.mark.broker, pytest.mark.slow]

APART_S = 600
HEARD = "heard"
CLOCK = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long ahead(void) { const char *text = getenv("CLOCK_AHEAD_S"); return text ? atol(text) : 0; }
int clock_gettime(clockid_t which, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, which, now);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead();
    return failed;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec time;
    if (clock_gettime(CLOCK_REALTIME, &time)) return -1;
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}
"""
"""The wall clock of a process, some seconds ahead; file times stay those of the filesystem, as on a shared one."""
LIBRARY = Path(tempfile.gettempdir()) / f"covaria-clock-{os.getpid()}.so"


def host(name: str, ahead_s: int) -> list[str]:
    """The words that run a command on a host of its own, whose wall clock is ahead of ours."""
    inside = (
        f"hostname {name} && mount -t tmpfs none /dev/shm && "
        f'export CLOCK_AHEAD_S={ahead_s} LD_PRELOAD={LIBRARY} && exec "$@"'
    )
    spaces = ["--mount", "--uts", "--ipc", "--pid", "--mount-proc", "--kill-child", "--fork"]
    clock = ["--time", "--monotonic", str(100_000 + ahead_s), "--boottime", str(100_000 + ahead_s)]
    return ["unshare", *spaces, *clock, "sh", "-c", inside, "sh"]


def why_not() -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return "no C compiler is there"
    words = [compiler, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(LIBRARY)]
    subprocess.run(words, input=CLOCK, text=True, check=True, capture_output=True)
    if shutil.which("unshare") is None:
        return "unshare is not there (util-linux)"
    tried = subprocess.run([*host("probe", APART_S), "date", "+%s"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"namespaces are not allowed here: {tried.stderr.strip()}"
    return "" if abs(int(tried.stdout) - time.time() - APART_S) < 60 else "the clock cannot be set apart"


@pytest.fixture(scope="module", autouse=True)
def allowed() -> Iterator[None]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    yield
    LIBRARY.unlink()


def worker_on(site: Site, name: str, ahead_s: int, stage: str = "ingest") -> WorkerProcess:
    words = [*host(name, ahead_s), *COMMAND, "worker", stage]
    log = site.root / f"log.{name}.{stage}"
    with log.open("wb") as stream:
        process = subprocess.Popen(words, env=site.environment, stdout=stream, stderr=subprocess.STDOUT, cwd=site.root)
    found = WorkerProcess(process, log)
    site.workers.append(found)
    return found


def covaria_on(site: Site, name: str, ahead_s: int, *words: str) -> str:
    done = subprocess.run(
        [*host(name, ahead_s), *COMMAND, *words], env=site.environment, capture_output=True, text=True, timeout=150,
        check=True,
    )  # fmt: skip
    return done.stdout


def all_of(process: int) -> list[int]:
    """A process and all that descend from it, as seen from here."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def freeze(worker: WorkerProcess, number: int) -> None:
    """The whole host stands still, or goes on."""
    for pid in all_of(worker.process.pid)[1:]:
        os.kill(pid, number)


def listen(site: Site) -> Callable[[], Counter[str]]:
    bus = site.bus()
    bus.declare(Topology((), (Queue(HEARD, {}, "what a listener hears"),), (Binding(EVENTS, HEARD, "#"),), ()))
    bus.close()

    def more() -> Counter[str]:
        heard, again = Counter[str](), site.bus()
        while (event := again.get(HEARD)) is not None:
            heard[event.key] += 1
        again.close()
        return heard

    return more


@pytest.mark.parametrize("ahead_s", [APART_S, -APART_S])
def test_a_host_that_dies_is_replaced_and_one_that_lives_is_not(site: Site, ahead_s: int) -> None:
    """The holder's clock is ahead of, or behind, that of the host that watches it."""
    heard = listen(site)
    message = site.message(until="go")
    site.submit(message)
    first = worker_on(site, "one", ahead_s)
    wait_until(lambda: site.trail(), what="a running stage")
    site.submit(message)  # a copy: the other host meets a folder whose holder lives
    second = worker_on(site, "two", 0)
    wait_until(lambda: "looking again later" in second.text(), what="the other host waits")
    assert "taking over" not in second.text()
    assert "0 jobs" in covaria_on(site, "desk", 0, "reconcile", str(site.root), "--older-than", "0")
    first.kill()  # the power goes: nothing on that host is left
    wait_until(lambda: "taking over the lease of one:" in second.text(), what="the take-over")
    site.touch("go")
    site.wait_done()
    site.wait_empty()
    assert site.trail().count("published") == 1
    assert heard()["ingest.succeeded"] == 1


@pytest.mark.parametrize("ahead_s", [APART_S, -APART_S])
def test_a_host_that_wakes_late_changes_nothing(site: Site, ahead_s: int) -> None:
    heard = listen(site)
    message = site.message(route=("ingest", "reconstruction"), ingest={"until": "go"})
    site.submit(message)
    first = worker_on(site, "one", ahead_s)
    wait_until(lambda: site.trail(), what="a running stage")
    freeze(first, signal.SIGSTOP)
    site.touch("go")
    site.submit(message)  # what the broker does when the connection is silent for too long
    worker_on(site, "two", 0), worker_on(site, "two", 0, "reconstruction")
    site.wait_done("reconstruction")
    wait_until(lambda: sum(site.all_messages().values()) == 1, what="nothing left but what the frozen host holds")
    tree = {path: path.read_bytes() for path in site.tree().out.rglob("*") if path.is_file()}
    freeze(first, signal.SIGCONT)
    wait_until(lambda: "lease" in first.text().rpartition("started, out")[2], what="the late one has seen it")
    site.wait_empty()
    changed = {path.name for path, before in tree.items() if path.read_bytes() != before}
    assert changed <= {"trail.ingest"}, changed  # written by the fake stage itself, past every guard
    assert site.trail().count("published") == 1
    assert (site.state(), site.state("reconstruction")) == ("succeeded", "succeeded")
    told = heard()
    assert (told["ingest.succeeded"], told["reconstruction.succeeded"], told["job.finished"]) == (1, 1, 1)


@pytest.mark.parametrize("ahead_s", [APART_S, -APART_S])
def test_a_lost_queue_is_made_good_from_a_host_with_another_clock(site: Site, ahead_s: int) -> None:
    particles = site.root / "job.star"
    particles.write_text("{}")
    covaria_on(site, "one", ahead_s, "submit", str(particles), "-o", str(site.root / "job"), "--only-mean")
    bus = site.bus()
    lost = bus.get(job_queue("ingest", "bulk"))
    assert lost is not None
    bus.ack(lost)
    bus.close()
    assert "sent " in covaria_on(site, "desk", 0, "reconcile", str(site.root), "--older-than", "0")
    worker_on(site, "two", -ahead_s), worker_on(site, "two", -ahead_s, "reconstruction")
    site.wait_done("reconstruction")
    site.wait_empty()
    assert site.trail().count("published") == 1
