"""Looking at parked messages changes nothing: not for others who look, not for who is killed while looking."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
from covaria_memory_site import MemorySite
from covaria_site import Site, wait_until

from covaria.bus.model import Bus, Outgoing
from covaria.bus.topology import DEAD, PARKING
from covaria.operations.parking import asked_for, drop, listed, look, replay

MANY = 40
HOLDS_AND_IS_KILLED = """
import time
from covaria.bus.rabbit import RabbitBus
from covaria.bus.topology import PARKING
from covaria.settings import load_settings
bus = RabbitBus(load_settings())
bus.open()
for _ in range(30):
    bus.get(PARKING)
print("holds", flush=True)
time.sleep(600)
"""
NAMES = [f"job{number}/ingest/1/0" for number in range(MANY)]


@pytest.fixture
def bus(memory_site: MemorySite) -> Bus:
    return memory_site.bus()


def park(bus: Bus) -> None:
    for name in NAMES:
        bus.publish(Outgoing(DEAD, "ingest.bulk", b"nonsense", name, {"covaria-reason": "schema"}))


def names(bus: Bus) -> list[str]:
    return [one.message_id for one in listed(bus, lambda seconds: None)]


def test_looking_keeps_messages_and_their_order(memory_site: MemorySite, bus: Bus) -> None:
    park(bus)
    assert names(bus) == names(bus) == NAMES
    (one,) = look(bus, asked_for(["job7"], everything=False), lambda seconds: None)
    assert (one.body, one.size) == (b"nonsense", 8)
    assert bus.depth(PARKING) == MANY
    (line,) = replay(bus, asked_for(["job7"], everything=False))
    assert line.startswith("kept job7")
    assert sorted(names(bus)) == sorted(NAMES)
    dropped = drop(bus, asked_for(["job7", "job8/ingest/1/0"], everything=False))
    assert sorted(dropped) == [f"dropped {NAMES[7]}", f"dropped {NAMES[8]}"]
    assert sorted(names(bus)) == sorted(NAMES[:7] + NAMES[9:])


def test_who_looks_meanwhile_waits_for_what_another_holds(memory_site: MemorySite, bus: Bus) -> None:
    """Another holds all of them, or some, and gives them back after a while."""
    park(bus)
    for taken in (MANY, 10):
        other = memory_site.bus()
        for _ in range(taken):
            other.get(PARKING)
        turns = iter(range(99))
        found = listed(bus, lambda seconds, other=other, turns=turns: other.close() if next(turns) == 3 else None)
        assert sorted(one.message_id for one in found) == sorted(NAMES)


@pytest.mark.broker
def test_killed_while_it_looks(site: Site) -> None:
    """At a real broker: kill -9 in the middle, two who look at once; all see all."""
    mine = site.bus()
    park(mine)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_AND_IS_KILLED], env=site.environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"holds\n"
    killer = threading.Timer(0.2, process.send_signal, [signal.SIGKILL])
    killer.start()
    try:
        assert sorted(one.message_id for one in listed(mine)) == sorted(NAMES)
    finally:
        killer.join()
        process.wait(20)
        process.stdout.close()
        mine.close()
    seen: list[list[str]] = []

    def looks() -> None:
        bus = site.bus()
        seen.extend([one.message_id for one in listed(bus)] for _ in range(2))
        bus.close()

    both = [threading.Thread(target=looks) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert [len(one) for one in seen] == [MANY] * 4
    wait_until(lambda: site.depths() == {PARKING: MANY}, what="all of them back")
