"""A worker killed at every point of a job: one published result, one effect at the next stage, nothing left over.

The points run four at a time, each with a broker vhost and a folder of its own; every point is a test of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from covaria_broker import BrokerServer
from covaria_site import Site, open_site, wait_until

from covaria.worker.faults import CHILD_POINTS, PARENT_POINTS, POINTS

pytestmark = pytest.mark.broker

FAILS_ONCE = {"ingest": {"times": 1, "error": "OSError", "errno": 28}}
FAILS_FOR_EVER = {"ingest": {"times": 9, "error": "InvalidInput"}}


def assert_one_result_one_effect(site: Site) -> None:
    """Whole workers finish the job; both stages published once; every queue is empty."""
    whole = site.worker("ingest")
    following = site.worker("reconstruction")
    site.wait_done("reconstruction")
    site.wait_empty()
    for worker in (whole, following):
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.text()
    assert site.all_messages() == {}
    for stage in ("ingest", "reconstruction"):
        assert site.trail(stage).count("published") == 1, (stage, site.trail(stage))


def parent_killed(point: str, site: Site) -> None:
    fails = FAILS_ONCE if point == "retry_published" else {}
    site.submit(site.message(route=("ingest", "reconstruction"), fail=fails))
    doomed = site.worker("ingest", COVARIA_CRASH_AT=point)
    assert doomed.wait() == -signal.SIGKILL, doomed.text()
    assert_one_result_one_effect(site)


def child_killed(point: str, site: Site) -> None:
    site.submit(site.message(route=("ingest", "reconstruction")))
    doomed = site.worker("ingest", "--max-jobs", "1", COVARIA_CRASH_AT=point)
    assert doomed.wait() == 0, doomed.text()
    assert ("ended by signal 9" in doomed.text()) == (point != "child_done"), doomed.text()
    assert_one_result_one_effect(site)


def killed_while_handing_back(site: Site) -> None:
    site.submit(site.message(route=("ingest", "reconstruction"), steps=3, step_s=0.5))
    doomed = site.worker("ingest", COVARIA_CRASH_AT="hand_back_published")
    wait_until(lambda: "step0 1000000000" in site.trail(), what="the first step")
    doomed.signal(signal.SIGTERM)
    assert doomed.wait() == -signal.SIGKILL, doomed.text()
    assert_one_result_one_effect(site)
    assert site.trail().count("step0 1000000000") == 1, "a finished step was done again"


def killed_while_parking(site: Site) -> None:
    site.submit(site.message(fail=FAILS_FOR_EVER))
    doomed = site.worker("ingest", COVARIA_CRASH_AT="park_published")
    assert doomed.wait() == -signal.SIGKILL, doomed.text()
    whole = site.worker("ingest")
    wait_until(lambda: site.depths() == {"covaria.parking": 2}, what="the copy parked too")
    whole.signal(signal.SIGTERM)
    assert whole.wait() == 0
    assert {parked["covaria-reason"] for parked in site.parked()} == {"invalid_input"}
    assert site.state() == "failed"
    assert site.trail().count("published") == 0


SCENES: dict[str, Callable[[Site], None]] = {
    **{point: partial(parent_killed, point) for point in PARENT_POINTS},
    **{point: partial(child_killed, point) for point in CHILD_POINTS},
    "hand_back_published": killed_while_handing_back,
    "park_published": killed_while_parking,
}


@pytest.fixture(scope="module")
def outcomes(
    broker_server: BrokerServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    root = tmp_path_factory.mktemp("crash")

    def play(point: str) -> None:
        site = open_site(broker_server, Path(root) / point)
        try:
            SCENES[point](site)
        finally:
            site.close()

    with ThreadPoolExecutor(4) as pool:
        yield {point: pool.submit(play, point) for point in POINTS}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(outcomes: dict[str, Future[None]], point: str) -> None:
    outcomes[point].result(timeout=240)
