"""Every way in which a message ends, with a real service on the in-process bus; seconds in all."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from covaria_memory_site import MemorySite, Play

from covaria.bus.model import Outgoing
from covaria.bus.topology import JOBS, PARKING, job_queue
from covaria.errors import InvalidInput, MissingFile
from covaria.findings import Component, Findings, State
from covaria.job.books import Books
from covaria.job.lease import latest, take
from covaria.tree import record
from covaria.worker.child import Order
from covaria.worker.effects import Outcome
from covaria.worker.failures import Breakdown
from covaria.worker.metrics import CONFIRMED
from covaria.worker.process import RunningStage

WHOLE = ("ingest", "reconstruction")


@pytest.fixture
def site(memory_site: MemorySite) -> MemorySite:
    return memory_site


def disk_full() -> Breakdown:
    return Breakdown.of(OSError(errno.ENOSPC, "No space left on device"))


def test_succeeded(site: MemorySite) -> None:
    site.submit(site.message(route=WHOLE))
    site.work(*WHOLE)
    assert site.depths() == {}
    assert site.outcomes() == {"succeeded": 2}
    assert site.events() == ["ingest.started", "ingest.succeeded", "reconstruction.started", "reconstruction.succeeded"]
    assert [event.get("next_stage") for event in site.event_bodies()] == [None, "reconstruction", None, None]
    assert site.read(site.tree().job_json)["status"] == "succeeded"
    assert site.delivery() | {"at": "", "worker": ""} == {
        "job_id": "job-job", "state": "succeeded", "at": "", "attempt": 1, "worker": "",
    }  # fmt: skip
    handover = site.read(Books(site.tree(), "job-job").handover("ingest"))
    assert handover["message_id"] == "job-job/reconstruction/1/0"
    lease = latest(site.tree())
    assert lease is not None
    assert lease.released


def test_what_was_found_is_told_and_counted(site: MemorySite) -> None:
    """The event of a stage that succeeded says what the job has found; the worker counts reconstructions by it."""
    states = tuple(State(name=f"center{k:03d}", particles=k, share=k / 4950, population=k / 4950) for k in range(100))
    component = Component(z_score=9.0, share=1.0)
    found = Findings(tested=4, components=(component,), resolution_angstrom=5.5, states=states, warnings=("w" * 1000,))
    site.plays["reconstruction"].on_turn = lambda: record.write_findings(site.tree(), "reconstruction", found)
    site.submit(site.message(route=WHOLE))
    metrics = site.work(*WHOLE).metrics
    first, last = (body for body in site.event_bodies() if body["state"] == "succeeded")
    assert first["headline"] == ""
    assert "findings" not in first
    assert last["headline"] == found.headline()
    told = Findings.model_validate(last["findings"])
    assert (told.confirmed, told.resolution_angstrom) == (1, 5.5)
    assert [one.particles for one in told.states] == list(range(99, 79, -1))
    assert len(told.warnings[0]) == 300
    assert metrics.reconstructions.labels("1")._value.get() == 1
    counts = {sample.labels["confirmed"] for sample in next(iter(metrics.reconstructions.collect())).samples}
    assert counts == set(CONFIRMED)


def test_duplicate(site: MemorySite) -> None:
    for _ in range(3):
        site.submit(site.message(route=WHOLE))
    site.work(*WHOLE)
    assert site.outcomes() == {"succeeded": 2, "duplicate": 2}
    assert site.trail().count("published") == site.trail("reconstruction").count("published") == 1
    assert site.events().count("ingest.succeeded") == 1


def test_superseded(site: MemorySite) -> None:
    first = site.message()
    site.submit(first)
    site.work()
    later = site.message(seed=2, overwrite=True)
    site.submit(type(later)("job-later", later.work, later.data))
    site.work()
    assert site.outcomes() == {"succeeded": 2}
    site.submit(first)
    site.work()
    assert site.outcomes() == {"succeeded": 2, Outcome.SUPERSEDED.label: 1}
    assert site.read(site.tree().request)["job_id"] == "job-later"
    assert site.events()[-1] == "ingest.succeeded", "nothing is told of what did nothing"


@pytest.mark.parametrize(
    ("breakdown", "reason"),
    [
        (disk_full(), "filesystem"),
        (Breakdown.of(MissingFile("is not there")), "missing_file"),
        (Breakdown(signal=11), "killed"),
        (Breakdown.of(ZeroDivisionError("nobody foresaw this")), "unknown"),
        (Breakdown(("OutOfMemoryError", "RuntimeError"), "CUDA out of memory"), "device_memory"),
    ],
)
def test_retried_once(site: MemorySite, breakdown: Breakdown, reason: str) -> None:
    site.plays["ingest"] = Play(fails=breakdown, times=1)
    site.submit(site.message())
    site.work()
    assert site.outcomes() == {"retried": 1, "succeeded": 1}
    assert site.delivery()["attempt"] == 2
    assert site.events() == ["ingest.started", "ingest.retrying", "ingest.started", "ingest.succeeded"]
    assert site.event_bodies()[1]["reason"] == reason


def test_memory_is_halved(site: MemorySite) -> None:
    scales = []
    service = site.service()
    start = service.handler.start_stage

    def noting(order, scratch):  # type: ignore[no-untyped-def]
        scales.append(order.memory_scale)
        return start(order, scratch)

    service.handler.start_stage = noting
    site.plays["ingest"] = Play(fails=Breakdown(("MemoryError",), ""))
    site.submit(site.message())
    service.serve()
    assert scales == [1.0, 0.5]
    assert site.parked()[0]["covaria-reason"] == "host_memory"


def test_parked_with_its_reason(site: MemorySite) -> None:
    site.plays["ingest"] = Play(fails=Breakdown.of(MissingFile("is not there", file="particles.mrcs")))
    site.submit(site.message())
    site.work()
    assert site.depths() == {PARKING: 1}
    assert site.outcomes() == {"retried": 3, "parked": 1}
    (parked,) = site.parked()
    assert (parked["covaria-reason"], parked["covaria-attempt"]) == ("missing_file", 4)
    assert "particles.mrcs: is not there" in parked["covaria-last-error"]
    job = site.read(site.tree().job_json)
    assert job["status"] == "failed"
    assert "is not there" in job["error"]["message"]
    assert site.delivery()["state"] == "parked"
    assert site.delivery()["reason"] == "missing_file"
    assert site.events()[-1] == "ingest.parked"


def test_invalid_input_is_parked_at_once(site: MemorySite) -> None:
    site.plays["ingest"] = Play(fails=Breakdown.of(InvalidInput("cannot be right", file="p.star", row=3)))
    site.submit(site.message())
    site.work()
    assert site.outcomes() == {"parked": 1}


def test_cancelled_before_it_runs(site: MemorySite) -> None:
    site.submit(site.message())
    site.tree().state.mkdir(parents=True)
    site.tree().cancel.write_text("now")
    site.work()
    assert site.outcomes() == {"cancelled": 1}
    assert site.depths() == {}
    assert (site.state(), site.events(), site.trail()) == ("cancelled", ["ingest.cancelled"], [])


def test_cancelled_while_it_runs(site: MemorySite) -> None:
    def cancel_soon() -> None:
        site.tree().cancel.write_text("now")

    site.plays["ingest"] = Play(turns=100, on_turn=cancel_soon)
    site.submit(site.message(route=WHOLE))
    site.work()
    assert site.outcomes() == {"cancelled": 1}
    assert site.depths() == {}
    assert (site.state(), site.events()) == ("cancelled", ["ingest.started", "ingest.cancelled"])


def test_handed_back_and_resumed(site: MemorySite) -> None:
    site.submit(site.message(route=WHOLE))
    first = site.service()

    def ask_to_stop() -> None:
        first.terms = 1

    site.plays["ingest"] = Play(turns=100, on_turn=ask_to_stop)
    first.serve()
    first.bus.close()
    assert site.outcomes() == {"handed_back": 1}
    assert site.depths() == {job_queue("ingest", "bulk"): 1}
    assert (site.state(), site.delivery()["state"]) == ("queued", "handed_back")
    site.plays["ingest"] = Play()
    site.work(*WHOLE)
    assert site.outcomes() == {"handed_back": 1, "succeeded": 2}
    assert site.delivery()["attempt"] == 1
    assert "ingest.handed_back" in site.events()


def test_handed_back_while_watching_anothers_lease(site: MemorySite) -> None:
    take(site.tree(), "other", None)
    site.submit(site.message())
    service = site.service()

    def ask_to_stop() -> None:
        service.terms = 1

    site.clock.on_wait = ask_to_stop
    service.serve()
    assert site.outcomes() == {"handed_back": 1}
    assert site.depths() == {job_queue("ingest", "bulk"): 1}
    assert site.delivery() == {}, "who holds no lease writes nothing"


def test_deferred_while_another_works(site: MemorySite) -> None:
    other = take(site.tree(), "other", None)
    assert other is not None
    seen: list[str] = []

    def live() -> None:
        """The other worker raises its counter; once we have looked twice, it is done and frees the folder."""
        if sum(site.outcomes().values()) < 2:
            other.renew()
        elif not seen:
            seen.append("released")
            other.release()

    site.clock.on_wait = live
    site.submit(site.message())
    site.work()
    assert site.outcomes() == {"deferred": 2, "succeeded": 1}
    assert site.delivery()["attempt"] == 1, "waiting is no failure"


def test_cancelled_while_another_works(site: MemorySite) -> None:
    other = take(site.tree(), "other", None)
    assert other is not None
    site.tree().cancel.write_text("now")
    site.clock.on_wait = other.renew
    site.submit(site.message())
    site.work()
    assert site.outcomes() == {"cancelled": 1}
    assert site.depths() == {}
    assert site.events() == [], "the one who runs it tells of it"


def test_dead_lease_is_taken_over(site: MemorySite) -> None:
    take(site.tree(), "gone", None)
    began = site.clock.now
    site.submit(site.message())
    service = site.work()
    assert site.outcomes() == {"succeeded": 1}
    assert site.clock.now - began >= site.settings.lease_dead_s
    assert service.metrics.lease_takeovers.labels("ingest")._value.get() == 1


def test_orphans_hold_no_worker(site: MemorySite) -> None:
    """Ten jobs whose workers died, then a live one: it is done before any of them is judged; all are in the end."""
    for number in range(10):
        take(site.tree(f"orphan{number}"), "gone", None)
        site.submit(site.message(f"orphan{number}"))
    live = site.message("live")
    site.submit(replace(live, work=live.work.model_copy(update={"job_class": "live"})))
    began, order, times = site.clock.now, list[str](), dict[str, float]()
    service = site.service()
    start = service.handler.start_stage

    def noted(job: Order, scratch: Path | None) -> RunningStage:
        order.append(Path(job.request["out"]).name)
        times[order[-1]] = site.clock.now - began
        return start(job, scratch)

    service.handler.start_stage = noted
    service.serve()
    assert order[0] == "live" and times["live"] < 5
    assert sorted(order[1:]) == sorted(f"orphan{number}" for number in range(10))
    dead_s = site.settings.lease_dead_s
    assert all(times[name] >= dead_s for name in order[1:]), "no holder is judged before his time"
    assert max(times.values()) < dead_s + 60, "their times to wait pass side by side"
    assert site.outcomes()["succeeded"] == 11
    assert service.metrics.lease_takeovers.labels("ingest")._value.get() == 10


def test_a_live_job_that_comes_while_an_orphan_is_watched(site: MemorySite) -> None:
    take(site.tree("orphan"), "gone", None)
    site.submit(site.message("orphan"))
    sent: list[float] = []
    service = site.service()

    def beside(call: Callable[[], Any], turn: Callable[[float], None]) -> Any:
        """As shipped: the connection is served while the call works; here a turn at each of its waits."""

        def turns() -> None:
            site.clock.on_wait = live
            turn(0.0)
            site.clock.on_wait = turns

        site.clock.on_wait = turns
        try:
            return call()
        finally:
            site.clock.on_wait = live

    service.handler.disk = beside

    def live() -> None:
        if not sent and site.clock.now > 1010:
            sent.append(site.clock.now)
            message = site.message("live")
            site.submit(replace(message, work=message.work.model_copy(update={"job_class": "live"})))

    began: dict[str, float] = {}
    start = service.handler.start_stage

    def noted(job: Order, scratch: Path | None) -> RunningStage:
        began[Path(job.request["out"]).name] = site.clock.now
        return start(job, scratch)

    service.handler.start_stage = noted
    service.serve()
    assert began["live"] - sent[0] < 5
    assert began["orphan"] > began["live"]


def test_deferred_while_the_next_queue_is_full(site: MemorySite) -> None:
    queue = job_queue("reconstruction", "bulk")
    site.broker.limit(queue, 0)
    refused: list[str] = []

    def make_room() -> None:
        if site.outcomes()["deferred"] >= 2 and not refused:
            refused.append("twice")
            site.broker.limit(queue, None)

    site.clock.on_wait = make_room
    site.submit(site.message(route=WHOLE))
    site.work(*WHOLE)
    assert site.outcomes() == {"deferred": 2, "duplicate": 1, "succeeded": 1}
    assert site.trail().count("published") == 1
    assert site.events().count("ingest.succeeded") == 1


def test_lost_by_the_keeper(site: MemorySite) -> None:
    """Another takes over while the stage runs: the stage is stopped, nothing is written, the message is let go."""

    def steal() -> None:
        take(site.tree(), "thief", latest(site.tree()))
        site.keepers[-1].lost = True

    site.plays["ingest"] = Play(turns=100, on_turn=steal)
    site.submit(site.message())
    site.work()
    assert site.outcomes() == {"lost": 1}
    assert site.depths() == {}
    assert site.delivery()["state"] == "running", "ours; the thief has not written yet"
    lease = latest(site.tree())
    assert lease is not None
    assert (lease.owner, lease.released) == ("thief", False)


@pytest.mark.parametrize("fails", [None, disk_full()])
def test_woken_late_nothing_is_written_over_a_finished_job(site: MemorySite, fails: Breakdown | None) -> None:
    """The parent stood still for long; meanwhile another took over and finished. Neither state nor note changes."""
    site.submit(site.message())
    service = site.service()

    def another_finishes() -> None:
        take(site.tree(), "thief", latest(site.tree()))
        state = {"stage": "ingest", "job_id": "job-job", "status": "succeeded", "fingerprint": "f"}
        record.write_stage_state(site.tree(), "ingest", state)
        Books(site.tree(), "job-job").note_delivery("ingest", "succeeded", attempt=1, worker="thief")

    class Woken:
        pid, running = 1, False

        def reports(self): return []  # fmt: skip

        def stop(self): ...
        def kill(self): ...
        def finish(self):
            another_finishes()
            return fails or Breakdown(signal=9)

    service.handler.start_stage = lambda order, scratch: Woken()  # type: ignore[return-value]
    service.serve()
    assert site.delivery()["worker"] == "thief"
    assert site.state() == "succeeded"
    assert site.depths() == {}


def test_process_that_dies_after_publishing_has_succeeded(site: MemorySite) -> None:
    site.plays["ingest"] = Play(dies_after_publishing=True)
    site.submit(site.message(route=WHOLE))
    site.work(*WHOLE)
    assert site.outcomes() == {"succeeded": 2}


def test_time_limit(site: MemorySite) -> None:
    site.settings = site.settings.model_copy(update={"job_timeout_s": 30.0})
    site.plays["ingest"] = Play(turns=1000)
    site.submit(site.message())
    site.work()
    assert site.parked()[0]["covaria-reason"] == "time_limit"


def test_second_request_to_stop_kills(site: MemorySite) -> None:
    service = site.service()

    def hurry() -> None:
        service.terms = 2

    site.plays["ingest"] = Play(turns=100, on_turn=hurry)
    site.submit(site.message())
    service.serve()
    assert site.outcomes() == {"handed_back": 1}


def test_folder_of_another_is_left_alone(site: MemorySite) -> None:
    (site.root / "job").mkdir()
    (site.root / "job" / "thesis.tex").write_text("precious")
    site.submit(site.message())
    site.work()
    assert "was not made by Covaria" in site.parked()[0]["covaria-last-error"]
    assert [path.name for path in (site.root / "job").iterdir()] == ["thesis.tex"]


def test_folder_of_another_job_is_not_overwritten(site: MemorySite) -> None:
    site.submit(site.message())
    site.work()
    message = site.message()
    site.submit(type(message)("job-other", message.work, message.data))
    site.work()
    assert site.outcomes() == {"succeeded": 1, "parked": 1}
    assert "holds another job" in site.parked()[0]["covaria-last-error"]
    assert site.state() == "succeeded"


def refused_bodies(site: MemorySite) -> dict[str, bytes]:
    from covaria.messages.envelope import seal

    good = json.loads(seal(site.message("evil"), "evil/ingest/1/0"))
    outside = {**good["data"], "request": {**good["data"]["request"], "out": "/etc/x"}}
    return {
        "rejected": b"\x00not json",
        "version": json.dumps({**good, "type": "covaria.ingest.requested.v2"}).encode(),
        "schema": json.dumps({**good, "data": {}}).encode(),
        "path": json.dumps({**good, "data": outside}).encode(),
    }


@pytest.mark.parametrize("reason", ["rejected", "version", "schema", "path"])
def test_refused(site: MemorySite, reason: str) -> None:
    site.bus().publish(Outgoing(JOBS, "ingest.bulk", refused_bodies(site)[reason], "evil"))
    site.submit(site.message())
    site.work()
    assert site.outcomes() == {"parked": 1, "succeeded": 1}
    assert site.parked()[0].get("covaria-reason", "rejected") == reason
    assert not (site.root / "evil").exists()


def test_taken_back_while_it_runs(site: MemorySite) -> None:
    """The broker closes the channel: the stage goes on; the copy that comes again finds it done."""
    service = site.service()
    closed: list[str] = []

    def close_once() -> None:
        if not closed:
            closed.append("closed")
            service.bus.close()

    site.plays["ingest"] = Play(turns=3, on_turn=close_once)
    site.submit(site.message(route=WHOLE))
    service.serve()
    assert site.outcomes() == {"succeeded": 1, "duplicate": 1}
    assert site.trail().count("published") == 1
    assert service.metrics.deliveries_lost.labels("ingest")._value.get() == 1
    assert site.depths() == {job_queue("reconstruction", "bulk"): 1}


def test_taken_back_and_failed_no_copy_is_sent(site: MemorySite) -> None:
    service = site.service()
    closed: list[str] = []

    def close_once() -> None:
        if not closed:
            closed.append("closed")
            service.bus.close()

    site.plays["ingest"] = Play(fails=disk_full(), times=1, on_turn=close_once)
    site.submit(site.message())
    service.serve()
    assert site.trail() == ["failing", "published"]
    assert "ingest.retrying" not in site.events()
    assert site.depths() == {}


def test_live_goes_before_bulk(site: MemorySite) -> None:
    for number in range(3):
        site.submit(site.message(f"bulk{number}"))
    live = site.message("live")
    work = live.work.model_copy(update={"job_class": "live"})
    site.submit(type(live)(live.job_id, work, {**live.data, "job_class": "live"}))
    site.service(max_jobs=1).serve()
    assert site.state(name="live") == "succeeded"
    assert not any(site.state(name=f"bulk{number}") for number in range(3))


def test_missing_topology_is_waited_for(site: MemorySite) -> None:
    queues = dict(site.broker.queues)
    site.broker.queues.clear()
    declared: list[Callable[[], None]] = []

    def declare_later() -> None:
        if site.clock.now > 1100 and not declared:
            declared.append(declare_later)
            site.broker.queues.update(queues)
            site.submit(site.message())

    site.clock.on_wait = declare_later
    service = site.service(idle_exit_s=200)
    service.serve()
    assert site.outcomes() == {"succeeded": 1}


def test_every_outcome_is_here() -> None:
    """The names of these tests cover the enumeration."""
    here = Path(__file__)
    others = ("test_live_first.py", "test_quota_at_claim.py")
    text = "".join(path.read_text() for path in (here, *map(here.with_name, others)))
    for outcome in Outcome:
        assert f"def test_{outcome.value}" in text, outcome
