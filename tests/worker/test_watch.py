"""Data that arrive: taken once when complete, sent when the broker can."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from covaria_broker import free_port
from covaria_site import Site, wait_until

from covaria.bus.memory import MemoryBroker, MemoryBus
from covaria.bus.topology import build_topology, job_queue
from covaria.errors import InvalidInput, MissingFile
from covaria.messages.envelope import Message, unseal
from covaria.operations.arrivals import Watcher
from covaria.operations.submit import message_for
from covaria.request.model import IngestOptions, Request

DELAYS = (1.0,)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def make_message(path: Path, out: Path) -> Message:
    return message_for(Request(out=out, ingest=IngestOptions(particles=path)))


def watcher(tmp_path: Path, clock: Clock, **changes: object) -> Watcher:
    (tmp_path / "in").mkdir(exist_ok=True)
    values = {"settle_s": 60.0, "clock": clock} | changes
    return Watcher(tmp_path / "in", "**/*.star", tmp_path / "out", tmp_path / "spool", make_message, **values)  # type: ignore[arg-type]


def arrive(tmp_path: Path, name: str, text: str = "data") -> Path:
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_still_set_is_taken_once(tmp_path: Path) -> None:
    clock = Clock()
    looking = watcher(tmp_path, clock)
    arrive(tmp_path, "s1/particles.star")
    assert looking.look() == []
    clock.now = 59
    assert looking.look() == []
    clock.now = 61
    (message,) = looking.look()
    assert message.work.request.out == tmp_path / "out" / "s1__particles"
    clock.now = 1000
    assert looking.look() == []


def test_a_growing_set_is_left_alone(tmp_path: Path) -> None:
    clock = Clock()
    looking = watcher(tmp_path, clock)
    arrive(tmp_path, "s1/particles.star")
    stack = arrive(tmp_path, "s1/stack.mrcs", "1")
    for step in range(10):
        clock.now += 30
        stack.write_text("1" * (step + 2))
        assert looking.look() == []
    clock.now += 61
    assert len(looking.look()) == 1


def test_a_changed_time_counts_too(tmp_path: Path) -> None:
    clock = Clock()
    looking = watcher(tmp_path, clock)
    path = arrive(tmp_path, "particles.star")
    looking.look()
    clock.now = 61
    os.utime(path, (1, 1))
    assert looking.look() == []


def test_done_marker(tmp_path: Path) -> None:
    looking = watcher(tmp_path, Clock(), marker="DONE")
    arrive(tmp_path, "s1/particles.star")
    assert looking.look() == []
    arrive(tmp_path, "s1/DONE")
    assert len(looking.look()) == 1


def test_once_across_restarts(tmp_path: Path) -> None:
    arrive(tmp_path, "s1/particles.star")
    arrive(tmp_path, "s1/DONE")
    assert len(watcher(tmp_path, Clock(), marker="DONE").look()) == 1
    again = watcher(tmp_path, Clock(), marker="DONE")
    assert again.look() == []
    assert len(again.outbox.waiting()) == 1, "what was not sent is still there"


def test_killed_between_outbox_and_mark(tmp_path: Path) -> None:
    """The set is seen again, and it is the same job: one file in the outbox."""
    arrive(tmp_path, "s1/particles.star")
    arrive(tmp_path, "s1/DONE")
    watcher(tmp_path, Clock(), marker="DONE").look()
    for mark in (tmp_path / "spool").glob("taken-*/*.json"):
        mark.unlink()
    again = watcher(tmp_path, Clock(), marker="DONE")
    assert len(again.look()) == 1
    assert len(again.outbox.waiting()) == 1


def test_sent_when_the_broker_is_back(tmp_path: Path) -> None:
    broker = MemoryBroker()
    broker.declare(build_topology(DELAYS))
    queue = job_queue("ingest", "bulk")
    looking = watcher(tmp_path, Clock(), marker="DONE")
    arrive(tmp_path, "s1/particles.star")
    arrive(tmp_path, "s1/DONE")
    looking.look()
    broker.limit(queue, 0)
    bus = MemoryBus(broker)
    assert looking.send(bus, DELAYS) == 0
    assert len(looking.outbox.waiting()) == 1
    assert not looking.is_quiet()
    broker.limit(queue, None)
    assert looking.send(bus, DELAYS) == 1
    assert looking.is_quiet()
    delivery = bus.get(queue)
    assert delivery is not None
    assert unseal(delivery.body).work.request.ingest.particles == tmp_path / "in/s1/particles.star"


def test_a_set_that_cannot_be_a_job_does_not_stop_the_others(tmp_path: Path) -> None:
    arrive(tmp_path, "a/particles.star")
    arrive(tmp_path, "b/particles.star")

    def refuse_a(path: Path, out: Path) -> Message:
        if path.parent.name == "a":
            raise MissingFile("has no stacks", file=path)
        return make_message(path, out)

    clock = Clock()
    looking = watcher(tmp_path, clock)
    looking.make_message = refuse_a
    looking.look()
    clock.now = 61
    assert [message.work.request.out.name for message in looking.look()] == ["b__particles"]


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a folder"):
        Watcher(tmp_path / "no", "*", tmp_path, tmp_path, make_message)


@pytest.mark.broker
def test_watch_command_spools_while_the_broker_is_away(site: Site) -> None:
    arrivals = site.root / "arrivals"
    (arrivals / "s1").mkdir(parents=True)
    (arrivals / "s1" / "particles.star").write_text(json.dumps({}))
    words = (
        "watch",
        str(arrivals),
        "--into",
        str(site.root / "out"),
        "--settle",
        "0.3",
        "--every",
        "0.2",
        "--only-mean",
    )
    away = site.start(*words, COVARIA_BROKER_URL=f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    wait_until(lambda: list((site.root / "spool" / "outbox").glob("*.json")), what="a spooled job")
    away.signal(signal.SIGTERM)
    assert away.wait() == 0
    assert site.depths() == {}
    site.command(*words, "--once")
    assert site.depths() == {"covaria.ingest.live": 1}
    site.command(*words, "--once")
    assert site.depths() == {"covaria.ingest.live": 1}
    status = site.command("status", str(site.root / "out" / "s1__particles"), "--json").stdout
    assert json.loads(status)["status"] == "queued"
