"""kill -9 of real processes: one published result, one effect at the next stage, nothing left over.

All orders of all effects are cut in test_crash_orders.py; here it is shown that a real death is such a cut. The points
run four at a time, each with a broker vhost and a folder of its own; every point is a test of its own.
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

from covaria.worker.faults import CHILD_POINTS

pytestmark = pytest.mark.broker

FAILS_ONCE = {"ingest": {"times": 1, "error": "OSError", "errno": 28}}


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


def killed_while_making_room(point: str, site: Site) -> None:
    """Both messages come again; each job is done once, the bulk job from its kept step on."""
    site.extra["COVARIA_PREEMPT_AFTER_S"] = "0.2"
    site.submit(site.message(steps=3, until="go", until_step=1, route=("ingest", "reconstruction")))
    doomed = site.worker("ingest", COVARIA_CRASH_AT=point)
    wait_until(site.trail, what="a kept step")
    site.submit(site.message("urgent", job_class="live"))
    assert doomed.wait() == -signal.SIGKILL, doomed.text()
    assert "stopping the stage: preempt" in doomed.text()
    site.touch("go")
    assert_one_result_one_effect(site)
    assert site.trail("ingest", "urgent").count("published") == 1
    assert [line.split()[0] for line in site.trail()] == ["step0", "step1", "step2", "published"]


SCENES: dict[str, Callable[[Site], None]] = {
    **{point: partial(parent_killed, point) for point in ("started", "next_published", "retry_published")},
    **{
        f"making room, {point}": partial(killed_while_making_room, point)
        for point in ("settled", "lease_released", "hand_back_published")
    },
    **{point: partial(child_killed, point) for point in CHILD_POINTS},
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
        yield {point: pool.submit(play, point) for point in SCENES}


@pytest.mark.parametrize("point", SCENES)
def test_killed_at(outcomes: dict[str, Future[None]], point: str) -> None:
    outcomes[point].result(timeout=240)
