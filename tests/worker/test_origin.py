"""Whose a job is comes back in everything that is said of it; every ending is told, of refused messages too."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from covaria_memory_site import MemorySite, Play

from covaria.bus.model import Outgoing
from covaria.bus.topology import JOBS
from covaria.errors import InvalidInput
from covaria.messages.envelope import Message, message_id, seal
from covaria.operations.jobs_on_disk import view_job
from covaria.request.origin import Origin
from covaria.worker.dispatch import Dispatch
from covaria.worker.failures import Breakdown

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ORIGIN = Origin(proposal="mx1234", visit="mx1234-5", instrument="m02", correlation_id="c-0", metadata={"dcid": "77"})


def of(message: Message, origin: Origin, traceparent: str = TRACE) -> Message:
    work = message.work.model_copy(update={"origin": origin})
    return Message(message.job_id, work, work.model_dump(mode="json"), traceparent)


def begin(site: MemorySite, message: Message) -> None:
    Dispatch(site.bus(), site.topology).begin(message)


def test_it_is_in_every_event_in_job_json_in_the_list_and_in_the_log(
    memory_site: MemorySite, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    begin(memory_site, of(memory_site.message(route=("ingest", "reconstruction")), ORIGIN))
    memory_site.work("ingest", "reconstruction")
    told = memory_site.told()
    assert [key for key, _ in told] == ["job.queued", "job.running", "job.finished"]
    assert all(document["traceparent"] == TRACE for _, document in told)
    assert all(document["data"]["origin"] == ORIGIN.model_dump() for _, document in told)
    assert [document["type"] for _, document in told][-1] == "covaria.job.finished.v1"
    assert "job.json" in [one["path"] for one in told[-1][1]["data"]["results"]]
    assert all(body["origin"] == ORIGIN.model_dump() for body in memory_site.event_bodies())
    assert json.loads(memory_site.tree().job_json.read_text())["origin"] == ORIGIN.given
    assert view_job(memory_site.tree().out).origin == ORIGIN.given
    started = next(record for record in caplog.records if record.getMessage().startswith("started"))
    assert (started.visit, started.trace) == ("mx1234-5", TRACE.split("-")[1])  # type: ignore[attr-defined]


def test_a_lims_closes_every_record_from_events_alone(memory_site: MemorySite) -> None:
    """Right jobs, a failing one, a cancelled one, one from outside the roots, one of a later version, and bytes."""
    records: dict[str, str] = {}
    for number in range(6):
        message = of(memory_site.message(f"good{number}"), Origin(correlation_id=str(number)))
        records[message.job_id] = "finished"
        begin(memory_site, message)
    outside = of(memory_site.message("outside"), Origin(correlation_id="outside"))
    data = json.loads(json.dumps(outside.data))
    data["request"]["out"] = "/etc/outside"
    records[outside.job_id] = "failed"
    begin(memory_site, replace(outside, data=data))
    later = of(memory_site.message("later"), Origin(correlation_id="later"))
    body = seal(later, message_id(later, 1, 0)).replace(b"requested.v1", b"requested.v7")
    bus = memory_site.bus()
    bus.publish(Outgoing(JOBS, "ingest.bulk", body, "later", {}))
    records[later.job_id] = "failed"
    bus.publish(Outgoing(JOBS, "ingest.bulk", b"{", "garbage", {}))
    wrong = of(memory_site.message("wrong"), Origin(correlation_id="wrong"))
    wrong.data["request"]["ingest"]["no_such_option"] = 1
    wrong.data["job_class"] = "urgent"
    records[wrong.job_id] = "failed"
    begin(memory_site, wrong)
    memory_site.work()
    memory_site.plays["ingest"] = Play(fails=Breakdown.of(InvalidInput("holds no particles")))
    failing = of(memory_site.message("failing"), Origin(correlation_id="failing"))
    records[failing.job_id] = "failed"
    begin(memory_site, failing)
    memory_site.work()

    last: dict[str, dict[str, Any]] = {}
    for key, document in memory_site.told():
        if key.startswith("job."):
            last[document["subject"]] = document["data"]
    assert {job: data["state"] for job, data in last.items()} == records
    assert {data["origin"]["correlation_id"] for data in last.values()} == {
        *map(str, range(6)), "outside", "later", "wrong", "failing"
    }  # fmt: skip
    assert all(data["reason"] and data["message"] for data in last.values() if data["state"] == "failed")
    (rejected,) = [document["data"] for key, document in memory_site.told() if key == "message.rejected"]
    assert (rejected["message_id"], rejected["queue"], rejected["reason"]) == (
        "garbage",
        "covaria.ingest.bulk",
        "envelope",
    )


@pytest.mark.parametrize(
    "given",
    [
        {"visit": "a\nb"}, {"proposal": "x" * 129}, {"metadata": {"": "x"}}, {"metadata": {"a b": "x"}},
        {"metadata": {f"k{number}": "" for number in range(65)}}, {"metadata": {"k": "x" * 1025}}, {"owner": "x"},
    ],
)  # fmt: skip
def test_what_cannot_be_carried_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Origin.model_validate(given)
