"""redteam 7, 22: whatever arrives, and whatever lies in the outbox, the good set beside it is taken and sent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sets import star_text

from covaria.bus.memory import MemoryBroker, MemoryBus
from covaria.bus.topology import build_topology, job_queue
from covaria.messages.envelope import Message, unseal
from covaria.operations.announce import show_queued
from covaria.operations.watching.rules import Rule
from covaria.operations.watching.watcher import Arrival, Watcher
from covaria.settings import Settings

DELAYS = (1.0,)


def watcher(root: Path, pattern: str = "**/*.star", into: str = "out") -> Watcher:
    (root / "in").mkdir(exist_ok=True)
    facts = {"name": "watch", "folder": root / "in", "pattern": pattern, "into": f"{root / into}/{{name}}"}
    return Watcher(Rule.model_validate(facts | {"settle_s": 0.0, "class": "bulk"}), root / "spool", lambda: 0.0)


def arrive(root: Path, name: str | bytes) -> Path:
    path = Path(os.fsdecode(os.fsencode(root / "in") + b"/" + os.fsencode(name)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(star_text(3))
    (path.parent / "stack.mrcs").touch()
    return path


def taken(looking: Watcher) -> list[Message]:
    return looking.look()


def sent(root: Path, looking: Watcher) -> list[Message]:
    broker = MemoryBroker()
    broker.declare(build_topology(DELAYS))
    bus = MemoryBus(broker)
    looking.send(bus, DELAYS)
    found = []
    while (delivery := bus.get(job_queue("ingest", "bulk"))) is not None:
        found.append(unseal(delivery.body))
        bus.ack(delivery)
    return found


@pytest.mark.parametrize(
    "name",
    [
        b"bad\xff\xfe/p.star",
        b"\xff.star",
        "escape\x1b]0;owned\x07/p.star",
        "new\nline/p.star",
        "/".join(["d" * 200] * 3) + "/p.star",
        "z" * 250 + ".star",
        "..star/p.star",
        "...star",
        " /p.star",
        "$(reboot)/`id`.star",
        "-rf/p.star",
        "é/ß.star",
    ],
)
def test_any_name_leaves_the_good_set_alone(tmp_path: Path, name: str | bytes) -> None:
    looking = watcher(tmp_path)
    arrive(tmp_path, name)
    arrive(tmp_path, "good/p.star")
    outs = [message.work.request.out for message in taken(looking)]
    assert tmp_path / "out" / "good__p" in outs
    for out in outs:
        assert out.parent == tmp_path / "out"
        assert out.name.strip(".")
        assert len(os.fsencode(out.name)) <= 200
    for message in sent(tmp_path, looking):
        show_queued(message, Settings())
    again = watcher(tmp_path)
    assert taken(again) == []
    assert again.is_quiet(), "what cannot be taken does not keep `--once` waiting"


def test_no_two_sets_in_one_folder(tmp_path: Path) -> None:
    names = ["a__b/p.star", "a/b/p.star", "a/b__p.star", "a__b__p.star"]
    for name in names:
        arrive(tmp_path, name)
    for name in ("y" * 100 + "/" + "x" * 150 + "1.star", "y" * 100 + "/" + "x" * 150 + "2.star"):
        arrive(tmp_path, name)
    looking = watcher(tmp_path, "**/*.star")
    outs = {message.work.request.ingest.particles: message.work.request.out for message in taken(looking)}
    assert len(outs) == len(set(outs.values())) == len(names) + 2
    for mark in (tmp_path / "spool").glob("taken-*/*.json"):
        mark.unlink()
    again = {m.work.request.ingest.particles: m.work.request.out for m in taken(watcher(tmp_path, "**/*.star"))}
    assert again == outs, "the same names after a restart that forgot what was taken"


def test_a_defect_in_one_set_does_not_stop_the_others(tmp_path: Path) -> None:
    looking = watcher(tmp_path)
    arrive(tmp_path, "a/p.star")
    arrive(tmp_path, "b/p.star")
    asked: list[str] = []
    make = looking.message

    def fails_on_a(arrival: Arrival) -> Message:
        asked.append(arrival.found.path.parent.name)
        if arrival.found.path.parent.name == "a":
            raise ZeroDivisionError("nobody foresaw this")
        return make(arrival)

    looking.message = fails_on_a  # type: ignore[method-assign]
    assert [message.work.request.out.name for message in taken(looking)] == ["b__p"]
    for _ in range(5):
        looking.look()
    assert asked.count("a") == 1, "asked and said once, until it changes"
    os.utime(arrive(root=tmp_path, name="a/p.star"), (1, 1))
    taken(looking)
    assert asked.count("a") == 2


def test_results_beneath_the_watched_folder_are_no_sets(tmp_path: Path) -> None:
    """--into beneath DIR: a job's own downsampled set would become the next job, and that one's the next."""
    arrive(tmp_path, "good/p.star")
    arrive(tmp_path, "results/old/downsampled/particles.64.star")
    arrive(tmp_path, "elsewhere/run/downsampled/particles.64.star")
    (tmp_path / "in" / "elsewhere" / "run" / ".covaria").mkdir()
    looking = watcher(tmp_path, into="in/results")
    assert [message.work.request.ingest.particles.parent.name for message in taken(looking)] == ["good"]


OUTBOX: dict[str, Callable[[Path], Any]] = {
    "torn": lambda path: path.write_text('{"specversion": "1.'),
    "empty": lambda path: path.write_text(""),
    "huge": lambda path: path.write_bytes(b"[" * 10_000_000),
    "folder": lambda path: path.mkdir(),
    "fifo": lambda path: os.mkfifo(path),
    "dangling link": lambda path: path.symlink_to("/nowhere"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "another version": lambda path: path.write_text('{"specversion": "1.0", "type": "covaria.ingest.requested.v9"}'),
}


@pytest.mark.parametrize("kind", OUTBOX)
def test_each_file_of_the_outbox_on_its_own(tmp_path: Path, kind: str) -> None:
    looking = watcher(tmp_path)
    (tmp_path / "spool" / "outbox").mkdir(parents=True)
    OUTBOX[kind](tmp_path / "spool" / "outbox" / "0.json")
    arrive(tmp_path, "good/p.star")
    taken(looking)
    assert [message.work.request.out.name for message in sent(tmp_path, looking)] == ["good__p"]
    assert looking.is_quiet()
    assert [path.name for path in (tmp_path / "spool" / "outbox" / "refused").iterdir()] == ["0.json"]


def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = watcher(tmp_path)
    arrive(tmp_path, "good/p.star")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert taken(looking) == []
    assert len(taken(looking)) == 1
