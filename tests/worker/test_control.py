"""Orders over the bus: cancel, retry, another priority, given by somebody who cannot write in the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from covaria_memory_site import MemorySite, Play

from covaria.bus.topology import CONTROL
from covaria.errors import InvalidInput
from covaria.messages.control import Order, seal_order, unseal_order
from covaria.messages.envelope import BadMessage, Message
from covaria.operations.announce import show_queued
from covaria.operations.control import carry_out
from covaria.request.paths import PathRefused
from covaria.worker.dispatch import Dispatch
from covaria.worker.failures import Breakdown


def order(site: MemorySite, action: str, message: Message, **more: Any) -> str:
    """Given over the bus, carried out as the gateway does."""
    out = more.pop("out", str(message.work.request.out))
    dispatch = Dispatch(site.bus(), site.topology)
    dispatch.order(Order(job_id=message.job_id, action=action, out=out, **more))  # type: ignore[arg-type]
    bus = site.bus()
    delivery = bus.get(CONTROL)
    assert delivery is not None
    bus.ack(delivery)
    done = carry_out(unseal_order(delivery.body), site.settings)
    if done.message is not None:
        dispatch.submit(done.message)
    return done.text


def test_a_job_that_still_waits_is_cancelled_and_only_that_one(memory_site: MemorySite) -> None:
    message = memory_site.message()
    memory_site.submit(message)
    assert not memory_site.tree().out.exists()
    assert "will be cancelled" in order(memory_site, "cancel", message)
    memory_site.work()
    assert memory_site.events() == ["ingest.cancelled"]
    assert memory_site.trail() == []
    assert memory_site.state() == "cancelled"


def test_a_cancellation_does_not_hit_the_next_job_in_the_folder(memory_site: MemorySite) -> None:
    message = memory_site.message()
    other = Message("another", message.work, message.data)
    order(memory_site, "cancel", other)
    memory_site.submit(message)
    memory_site.work()
    assert memory_site.state() == "succeeded"


def test_retry_after_a_failure(memory_site: MemorySite) -> None:
    message = memory_site.message()
    memory_site.plays["ingest"] = Play(fails=Breakdown.of(InvalidInput("wrong")), times=1)
    memory_site.submit(message)
    memory_site.work()
    assert memory_site.delivery()["state"] == "parked"
    assert "is sent again from ingest" in order(memory_site, "retry", message)
    memory_site.work()
    assert memory_site.state() == "succeeded"
    with pytest.raises(InvalidInput, match="has succeeded"):
        order(memory_site, "retry", message)


def test_a_hurried_job_goes_first_and_stays_so(memory_site: MemorySite) -> None:
    first, second = memory_site.message("first"), memory_site.message("second", route=("ingest", "reconstruction"))
    for message in (first, second):
        memory_site.submit(message)
    memory_site.work("ingest")
    later = memory_site.message("later", route=("ingest", "reconstruction"))
    memory_site.submit(later)
    show_queued(later, memory_site.settings)
    order(memory_site, "priority", later, job_class="live")
    assert memory_site.depths()["covaria.ingest.live"] == 1
    memory_site.work("ingest")
    assert memory_site.depths()["covaria.reconstruction.live"] == 1, "its later stages too"
    assert memory_site.trail("ingest", "later").count("published") == 1, "the copy that waited does nothing"
    with pytest.raises(InvalidInput, match="succeeded already"):
        order(memory_site, "priority", first, job_class="live")


def test_who_does_not_know_the_job_changes_nothing(memory_site: MemorySite) -> None:
    message = memory_site.message()
    memory_site.submit(message)
    memory_site.work()
    stranger = Message("stranger", message.work, message.data)
    for action, more in (("cancel", {}), ("retry", {}), ("priority", {"job_class": "live"})):
        with pytest.raises(InvalidInput, match="holds no job stranger"):
            order(memory_site, action, stranger, **more)
        with pytest.raises(PathRefused):
            order(memory_site, action, message, out="/etc", **more)
    foreign = memory_site.root / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    with pytest.raises(InvalidInput, match="not made by Covaria"):
        order(memory_site, "cancel", message, out=str(foreign))
    assert [path.name for path in foreign.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"x" * 70_000, b'{"a":' * 5000,
        seal_order(Order(job_id="j", action="cancel", out="/x"))[0].replace(b"v1", b"v2"),
        seal_order(Order(job_id="j", action="cancel", out="/x"))[0].replace(b'"out":"/x"', b'"out":"/x","rm":1'),
    ],
)  # fmt: skip
def test_bytes_that_are_no_order(body: bytes) -> None:
    with pytest.raises(BadMessage):
        unseal_order(body)


def test_an_order_is_whole(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="belongs to priority"):
        Order(job_id="j", action="cancel", out="/x", job_class="live")
