"""Live before bulk where bulk runs already: who makes room, when, for how many, and what becomes of the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from covaria_memory_site import MemorySite, Play

from covaria.bus.memory import MemoryBus
from covaria.bus.model import BrokerAway
from covaria.bus.topology import CLASSES, job_queue
from covaria.cli.services.worker import alone_or_lasting
from covaria.messages.ticket import Ticket
from covaria.worker.clock import Clock
from covaria.worker.device_watch import DeviceWatch
from covaria.worker.live_first import LiveFirst
from covaria.worker.service import Service
from covaria.worker.supervise import never

LIVE, BULK = job_queue("ingest", "live"), job_queue("ingest", "bulk")


@pytest.fixture
def site(memory_site: MemorySite) -> MemorySite:
    memory_site.settings = memory_site.settings.model_copy(update={"preempt_after_s": 2.0})
    return memory_site


def once(act: Callable[[], object]) -> Callable[[], None]:
    left = [act]

    def call() -> None:
        if left:
            left.pop()()

    return call


def go_live(site: MemorySite, name: str = "live") -> None:
    site.submit(site.message(name).in_class("live"))


def bulk_runs(site: MemorySite, turns: int = 400, **play: object) -> None:
    """A bulk job, and a live one that comes while the stage of the first runs."""
    site.plays["ingest"] = Play(turns=turns, on_turn=once(lambda: go_live(site)), **play)  # type: ignore[arg-type]
    site.submit(site.message())


def test_preempted_and_resumed(site: MemorySite) -> None:
    bulk_runs(site)
    service = site.work()
    assert site.outcomes() == {"preempted": 1, "succeeded": 2}
    told = [(body["job_id"], body["state"]) for body in site.event_bodies()]
    assert told == [
        ("job-job", "started"), ("job-job", "preempted"), ("job-live", "started"), ("job-live", "succeeded"),
        ("job-job", "started"), ("job-job", "succeeded"),
    ]  # fmt: skip
    assert site.delivery()["attempt"] == 1, "it is no failure"
    assert site.depths() == {}
    assert site.trail() == site.trail(name="live") == ["published"]
    assert service.metrics.preemptions.labels("ingest")._value.get() == 1


def test_the_job_tells_how_often(site: MemorySite) -> None:
    bulk_runs(site)
    site.service(idle_exit_s=None, max_jobs=1).serve()
    assert site.state(name="live") == "succeeded", "what made room does not count as a job of --max-jobs"
    assert site.depths() == {BULK: 1}
    assert (site.state(), site.delivery()["state"]) == ("queued", "preempted")
    assert site.read(site.tree().job_json)["stages"]["ingest"]["preemptions"] == 1
    assert site.broker.queues[BULK].messages[0].headers["covaria-preemptions"] == 1


def test_the_live_message_is_held_before_the_stage_is_stopped(site: MemorySite) -> None:
    """Nobody else sees it wait: one message stops one stage."""
    go_live(site)
    two = [first_of(site) for _ in range(2)]
    watchers = [one.watcher("bulk", 0) for one in two]
    said = [[watch(10.0 + turn) for watch in watchers] for turn in range(6) if not site.clock.sleep(1.0)]
    assert sum(map(sum, said)) == 1, said
    assert site.depths() == {}
    holder = next(one for one in two if one.holds_one)
    holder.let_go()
    assert site.depths() == {LIVE: 1}


def first_of(site: MemorySite, classes: tuple[str, ...] = CLASSES, bus: MemoryBus | None = None) -> LiveFirst:
    service = Service("ingest", classes, site.settings, bus=bus or site.bus(), start_stage=None)
    clock = Clock(site.clock.monotonic, site.clock.sleep)
    return LiveFirst("ingest", classes, site.settings, service.link, clock)


def looks(site: MemorySite, watch: Callable[[float], bool], count: int, ran_s: float = 100.0) -> list[bool]:
    return [watch(ran_s) for _ in range(count) if not site.clock.sleep(site.settings.poll_interval_s)]


def test_the_idle_go_first(site: MemorySite) -> None:
    """What comes and is taken within two intervals of a poll is no reason."""
    watch, other = first_of(site).watcher("bulk", 0), site.bus()
    for number in range(5):
        go_live(site, f"live{number}")
        assert looks(site, watch, 2) == [False, False]
        assert other.get(LIVE) is not None
        assert looks(site, watch, 1) == [False]
    go_live(site)
    assert looks(site, watch, 3) == [False, False, True]


def test_who_never_makes_room(site: MemorySite) -> None:
    go_live(site)
    most = site.settings.preemptions
    assert first_of(site).watcher("live", 0) is never
    assert first_of(site, ("bulk",)).watcher("bulk", 0) is never, "live work is not this worker's"
    assert first_of(site).watcher("bulk", most) is never
    site.settings = site.settings.model_copy(update={"preemptions": 0})
    assert first_of(site).watcher("bulk", 0) is never
    assert site.depths() == {LIVE: 1}


def test_a_stage_runs_for_a_while_first(site: MemorySite) -> None:
    go_live(site)
    watch = first_of(site).watcher("bulk", 0)
    assert not any(looks(site, watch, 9, ran_s=site.settings.preempt_after_s - 0.1))
    assert any(looks(site, watch, 3, ran_s=site.settings.preempt_after_s))


@pytest.mark.parametrize("most", [1, 3])
def test_a_job_that_makes_room_each_time_still_finishes(site: MemorySite, most: int) -> None:
    """A live job comes whenever it runs: after so often it runs to its end."""
    site.settings = site.settings.model_copy(update={"preemptions": most})
    came: list[str] = []

    def come() -> None:
        if site.state() == "running" and LIVE not in site.depths() and len(came) < 10:
            came.append(f"live{len(came)}")
            go_live(site, came[-1])

    site.plays["ingest"] = Play(turns=400, on_turn=come)
    site.submit(site.message())
    site.work()
    assert site.outcomes() == {"preempted": most, "succeeded": len(came) + 1}
    assert len(came) == most + 1
    assert site.trail() == ["published"]
    assert site.delivery()["attempt"] == 1


def deaf(service: Service, stop: Callable[[Any], None]) -> None:
    """Stages of the bulk job do this when they are asked to stop."""
    start = service.handler.start_stage

    def started(order, scratch):  # type: ignore[no-untyped-def]
        stage = start(order, scratch)
        if order.job_id == "job-job":
            stage.stop = lambda: stop(stage)
        return stage

    service.handler.start_stage = started


def test_a_stage_that_ends_meanwhile_is_done(site: MemorySite) -> None:
    """Asked to make room, it publishes first: nothing is sent back, and the live message is next."""
    bulk_runs(site, turns=400)
    service = site.service()
    deaf(service, lambda stage: setattr(stage, "_turns", 0))
    service.serve()
    assert site.outcomes() == {"succeeded": 2}
    assert [body["job_id"] for body in site.event_bodies() if body["state"] == "succeeded"] == ["job-job", "job-live"]


def test_a_stage_that_does_not_stop_is_killed_and_sent_back(site: MemorySite) -> None:
    bulk_runs(site, turns=4000)
    service = site.service()
    deaf(service, lambda stage: None)
    service.handler.live_first.watcher = lambda job_class, number, of=service.handler.live_first.watcher: (
        of(job_class, number) if number == 0 else never
    )
    service.serve()
    assert site.outcomes() == {"preempted": 1, "succeeded": 2}
    assert site.delivery()["attempt"] == 1


def test_a_worker_that_cannot_compute_holds_no_live_message(site: MemorySite) -> None:
    """Its device broke while it made room: the message is for others."""
    bulk_runs(site)
    service = site.service(idle_exit_s=5.0)
    watch = DeviceWatch("cuda", service.clock)
    watch.look = lambda: None  # type: ignore[method-assign]
    watch.problem = ""
    service.handler.device = watch

    def broken(tell: object) -> None:
        watch.problem = "gone"

    said, do = [], service.handler.dispatch.tell
    service.handler.dispatch.tell = lambda event, trace="": (  # type: ignore[method-assign]
        said.append(event.state), do(event, trace), broken(event) if event.state == "preempted" else None,
    )  # fmt: skip
    service.serve()
    assert "preempted" in said
    assert site.depths() == {LIVE: 1, BULK: 1}


def test_a_lost_connection_loses_nothing(site: MemorySite) -> None:
    """The channel goes while the stage makes room: both messages come again, each job is done once."""
    bulk_runs(site)
    service = site.service()
    real = service.handler.live_first._take

    def take() -> bool:
        taken = real()
        service.bus.close()
        return taken

    service.handler.live_first._take = take  # type: ignore[method-assign]
    service.serve()
    service.bus.close()
    site.plays["ingest"] = Play()
    site.work()
    assert site.depths() == {}
    assert site.trail() == site.trail(name="live") == ["published"]


@pytest.mark.parametrize("gone", ["the queue", "the broker"])
def test_what_cannot_be_asked_stops_no_stage(site: MemorySite, gone: str) -> None:
    bus = site.bus()
    first = first_of(site, bus=bus)
    watch = first.watcher("bulk", 0)
    asked: list[str] = []
    depth = bus.depth

    def count(queue: str) -> int:
        asked.append(queue)
        if gone == "the broker":
            raise BrokerAway("gone")
        return depth(queue)

    bus.depth = count  # type: ignore[method-assign]
    if gone == "the queue":
        del site.broker.queues[LIVE]
    assert not any(looks(site, watch, 5))
    assert len(asked) == 1, "a queue that is gone costs the channel each time; a bus that is closed is not asked"


def test_the_count_travels() -> None:
    ticket = Ticket(attempt=2, sequence=3).preempted().again("x").unchanged()
    assert (ticket.preemptions, ticket.attempt, ticket.sequence) == (1, 3, 6)


def test_the_next_stage_counts_anew(site: MemorySite) -> None:
    site.plays["ingest"] = Play(turns=400, on_turn=once(lambda: go_live(site)))
    site.submit(site.message(route=("ingest", "reconstruction")))
    site.work()
    (waits,) = site.broker.queues[job_queue("reconstruction", "bulk")].messages
    assert "covaria-preemptions" not in waits.headers


def test_machines_that_share_a_job_make_no_room(site: MemorySite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others end with the stage: nobody would be there for the live one."""
    assert alone_or_lasting(site.settings) is site.settings
    for name, value in (("RENDEZVOUS", "first:29400"), ("NODE", "0"), ("NODES", "2")):
        monkeypatch.setenv(f"COVARIA_{name}", value)
    site.settings = alone_or_lasting(site.settings)
    bulk_runs(site)
    site.work()
    assert site.outcomes() == {"succeeded": 2}
