"""The connection is lost just as a job's ending is told: the message comes again, and the ending is told then."""

from __future__ import annotations

import pytest
from covaria_memory_site import MemorySite, Play

from covaria.bus.model import BrokerAway, Outgoing
from covaria.bus.topology import EVENTS
from covaria.errors import InvalidInput
from covaria.worker.failures import Breakdown

GOOD, BAD = ("ingest.succeeded", "job.finished"), ("ingest.parked", "job.failed")


@pytest.mark.parametrize("key", [*GOOD, *BAD])
def test_an_ending_that_the_broker_did_not_take_is_told_again(
    memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    if key in BAD:
        memory_site.plays["ingest"] = Play(fails=Breakdown.of(InvalidInput("cannot be right")))
    service, lost = memory_site.service(), []
    publish = service.bus.publish

    def sent(message: Outgoing) -> None:
        if message.exchange == EVENTS and message.key == key and not lost:
            lost.append(key)
            service.bus.close()
            raise BrokerAway("the broker went away")
        publish(message)

    monkeypatch.setattr(service.bus, "publish", sent)
    memory_site.submit(memory_site.message())
    service.serve()
    told = {*memory_site.events(), *(kind for kind, _ in memory_site.told())}
    assert lost == [key]
    assert told >= set(BAD if key in BAD else GOOD)
    assert not {queue for queue in memory_site.depths() if "parking" not in queue}
