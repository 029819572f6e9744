"""Stages are forked from a warm process: quick, clean, on their own, and none is left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from covaria_site import Site, wait_until

from covaria.worker.child import Order
from covaria.worker.failures import Breakdown
from covaria.worker.process import Nursery, RunningStage

ORDER = Order("ingest", "job", {"out": "nowhere"}, 1, (), "cpu", None, 1.0, "")
"""A request without particles: the child says so and ends."""


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    found = Nursery("ingest")
    yield found
    found.close()


def pid_of(nursery: Nursery) -> int:
    assert nursery._process is not None
    return nursery._process.pid


def ended(stage: RunningStage) -> Breakdown | None:
    wait_until(lambda: not stage.running, what="the stage's end")
    return stage.finish()


def test_each_order_has_a_fork_of_one_process(nursery: Nursery, tmp_path: Path) -> None:
    found = [ended(nursery(ORDER, scratch)) for scratch in (None, tmp_path)]
    first = pid_of(nursery)
    assert all(breakdown is not None and "ValidationError" in breakdown.types for breakdown in found)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: nursery._process.poll() is not None, what="its death")  # type: ignore[union-attr]
    again = ended(nursery(ORDER, None))
    assert again is not None and "ValidationError" in again.types
    assert pid_of(nursery) != first


def test_a_stage_is_stopped_before_it_is_born(nursery: Nursery) -> None:
    nursery.start()
    os.kill(pid_of(nursery), signal.SIGSTOP)
    stage = nursery(ORDER, None)
    stage.kill()
    os.kill(pid_of(nursery), signal.SIGCONT)
    breakdown = ended(stage)
    assert breakdown is not None and breakdown.signal in (signal.SIGKILL, None)


def descriptors(pid: int | str) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def test_descriptors_come_back(nursery: Nursery) -> None:
    ended(nursery(ORDER, None))
    before = descriptors("self"), descriptors(pid_of(nursery))
    for _ in range(5):
        ended(nursery(ORDER, None))
    wait_until(
        lambda: (descriptors("self"), descriptors(pid_of(nursery))) == before, what="as many descriptors as before"
    )


@pytest.mark.broker
def test_a_stage_ends_with_its_nursery_and_is_tried_again(site: Site) -> None:
    worker = site.worker()
    site.submit(site.message(until="go"))
    wait_until(lambda: site.trail(), what="a running stage")
    pid = worker.process.pid
    (nursery,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (child,) = Path(f"/proc/{nursery}/task/{nursery}/children").read_text().split()
    os.kill(int(nursery), signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{child}").exists(), what="the stage's end")
    site.touch("go")
    site.wait_done()
    assert site.delivery()["attempt"] == 2
    (nursery,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    worker.process.kill()
    wait_until(lambda: not Path(f"/proc/{nursery}").exists(), what="the nursery's end with its worker")
