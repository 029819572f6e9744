"""Data that arrive: each version taken once when complete, sent when the broker can."""

from __future__ import annotations

import json
import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from covaria_broker import free_port
from covaria_site import Site, wait_until
from sets import star_text, write_star

from covaria.bus.memory import MemoryBroker, MemoryBus
from covaria.bus.topology import build_topology, job_queue
from covaria.errors import InvalidInput
from covaria.job.books import Books
from covaria.messages.envelope import Message, unseal
from covaria.operations.announce import show_queued
from covaria.operations.watching.rules import Rule
from covaria.operations.watching.watcher import Watcher
from covaria.settings import Settings
from covaria.tree import Tree
from covaria.tree.versions import next_of

DELAYS = (1.0,)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def watcher(tmp_path: Path, clock: Clock | None = None, **changes: object) -> Watcher:
    (tmp_path / "in").mkdir(parents=True, exist_ok=True)
    values = {"name": "watch", "folder": tmp_path / "in", "into": f"{tmp_path}/out/{{name}}", "class": "bulk"} | changes
    return Watcher(Rule.model_validate(values), tmp_path / "spool", clock or Clock())


def arrive(tmp_path: Path, name: str, rows: int = 3, **changes: float) -> Path:
    return write_star(tmp_path / "in" / name, rows, **changes)


def later(path: Path, seconds: int = 10) -> None:
    """As if it had been written later: two writes within a tick of the filesystem's clock have one time."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + seconds * 10**9))


def test_a_still_set_is_taken_once(tmp_path: Path) -> None:
    clock = Clock()
    looking = watcher(tmp_path, clock)
    arrive(tmp_path, "s1/particles.star")
    assert looking.look() == []
    clock.now = 59
    assert looking.look() == []
    assert looking.states["settling"] == 1
    clock.now = 61
    (message,) = looking.look()
    assert message.work.request.out == tmp_path / "out" / "s1__particles"
    assert not message.work.request.overwrite
    clock.now = 1000
    assert looking.look() == []
    assert looking.states["taken"] == 1


def test_a_growing_stack_is_left_alone(tmp_path: Path) -> None:
    clock = Clock()
    looking = watcher(tmp_path, clock)
    stack = arrive(tmp_path, "s1/particles.star").parent / "stack.mrcs"
    for step in range(4):
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
    looking = watcher(tmp_path, marker="DONE")
    path = arrive(tmp_path, "s1/particles.star")
    assert looking.look() == []
    assert looking.is_quiet(), "what waits for others does not keep `--once` waiting"
    (path.parent / "DONE").touch()
    assert len(looking.look()) == 1


def test_an_old_marker_does_not_vouch_for_a_new_version(tmp_path: Path) -> None:
    clock = Clock()
    looking = watcher(tmp_path, clock, marker="DONE")
    path = arrive(tmp_path, "s1/particles.star")
    (path.parent / "DONE").touch()
    assert len(looking.look()) == 1
    arrive(tmp_path, "s1/particles.star", 5)
    later(path)
    assert looking.look() == []
    clock.now = 61
    assert len(looking.look()) == 1


@pytest.mark.parametrize(
    ("change", "news"),
    [
        ({"rows": 5}, "2 new rows"),
        ({"psi": 7.0}, "changed poses"),
        ({"defocus": 12000.0}, "changed CTF"),
        ({"rows": 4, "psi": 7.0}, "1 new rows and changed poses"),
        ({"rows": 2}, "1 rows fewer"),
    ],
)
def test_a_version_is_what_is_in_it(
    tmp_path: Path, change: dict[str, float], news: str, caplog: pytest.LogCaptureFixture
) -> None:
    looking = watcher(tmp_path, settle_s=0)
    path = arrive(tmp_path, "s1/particles.star")
    (first,) = looking.look()
    later(path)
    assert looking.look() == [], "written again as it was"
    rows = int(change.get("rows", 3))
    arrive(tmp_path, "s1/particles.star", rows, **{key: change[key] for key in change if key != "rows"})
    later(path, 20)
    with caplog.at_level(logging.INFO):
        (second,) = looking.look()
    assert f"({news})" in caplog.text
    assert second.work.request.out == first.work.request.out
    assert second.work.request.overwrite and second.job_id != first.job_id
    assert watcher(tmp_path, settle_s=0).look() == [], "also after a restart"
    assert [path.stem for path in looking.outbox.waiting()] == [second.job_id], "nobody wants the first any more"


def test_a_version_waits_for_the_one_before(tmp_path: Path) -> None:
    """At most one at work; what has come meanwhile is one version."""
    looking = watcher(tmp_path, settle_s=0)
    path = arrive(tmp_path, "s1/particles.star")
    (first,) = looking.look()
    show_queued(first, Settings())
    for rows in (4, 5):
        arrive(tmp_path, "s1/particles.star", rows)
        later(path, rows)
        assert looking.look() == []
        assert looking.states["waiting"] == 1
    Books(Tree(first.work.request.out), first.job_id).settle(
        "ingest", "failed", {"type": "x", "message": "", "hint": ""}
    )
    assert len(looking.look()) == 1
    assert looking.look() == []


def test_a_new_version_of_a_growing_set_is_an_update(tmp_path: Path) -> None:
    """The first time a run; then, with the same options, an update, and never two of them."""
    looking = watcher(tmp_path, settle_s=0, options={"growing": True, "zdim": (2,)})
    path = arrive(tmp_path, "s1/particles.star")
    (first,) = looking.look()
    tree = Tree(first.work.request.out)
    assert first.work.request.ingest.grown_from is None
    show_queued(first, Settings())
    for stage in first.work.route:
        Books(tree, first.job_id).settle(stage, "succeeded", None)
    tree.growth_memory.parent.mkdir()
    tree.growth_memory.touch()
    arrive(tmp_path, "s1/particles.star", 5)
    later(path)
    (second,) = looking.look()
    assert second.work.request.out == next_of(tree).out
    assert second.work.request.ingest.grown_from == tree.growth_memory
    assert second.work.command_line.startswith("covaria grow")
    show_queued(second, Settings())
    for rows in (6, 7):
        arrive(tmp_path, "s1/particles.star", rows)
        later(path, 10 * rows)
        assert looking.look() == []
        assert looking.states["waiting"] == 1, "what comes meanwhile is one update"
    Books(next_of(tree), second.job_id).settle("ingest", "failed", {"type": "x", "message": "", "hint": ""})
    (third,) = looking.look()
    assert third.work.request.out == next_of(tree).out
    other = watcher(tmp_path, settle_s=0, options={"growing": True, "zdim": (3,)})
    arrive(tmp_path, "s1/particles.star", 8)
    later(path, 100)
    Books(next_of(tree), second.job_id).settle("ingest", "failed", {"type": "x", "message": "", "hint": ""})
    (afresh,) = other.look()
    assert afresh.work.request.out == tree.out, "other options: all of it anew"


def test_versions_beside_or_never(tmp_path: Path) -> None:
    for again, outs in (("beside", ["s1__particles-v2"]), ("never", [])):
        looking = watcher(tmp_path / again, settle_s=0, again=again)
        path = arrive(tmp_path / again, "s1/particles.star")
        looking.look()
        arrive(tmp_path / again, "s1/particles.star", 5)
        later(path)
        assert [message.work.request.out.name for message in looking.look()] == outs
        assert looking.look() == []


def test_half_written_is_not_refused(tmp_path: Path) -> None:
    clock = Clock()
    looking = watcher(tmp_path, clock)
    path = arrive(tmp_path, "s1/particles.star")
    whole = path.read_text()
    path.write_text(whole[:-30])
    assert looking.look() == []
    clock.now = 30
    path.write_text(whole)
    assert looking.look() == []
    clock.now = 91
    assert len(looking.look()) == 1


def test_refused_once_and_taken_when_it_has_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = arrive(tmp_path, "s1/particles.star")
    path.write_text(star_text(3).replace("_rlnAngleTilt", "_rlnNobodysTilt"))
    looking = watcher(tmp_path, settle_s=0)
    for _ in range(3):
        assert looking.look() == []
        assert looking.states["refused"] == 1
    assert watcher(tmp_path, settle_s=0).look() == []
    assert caplog.text.count("_rlnAngleTilt") == 1, caplog.text
    arrive(tmp_path, "s1/particles.star")
    later(path)
    assert len(looking.look()) == 1


def test_a_missing_stack_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = arrive(tmp_path, "s1/particles.star")
    (path.parent / "stack.mrcs").unlink()
    looking = watcher(tmp_path, settle_s=0)
    for _ in range(3):
        assert looking.look() == []
        assert looking.states["waiting"] == 1 and looking.is_quiet()
    assert caplog.text.count("is not taken yet") == 1, "said once"
    (path.parent / "stack.mrcs").touch()
    assert len(looking.look()) == 1


def test_once_across_restarts(tmp_path: Path) -> None:
    arrive(tmp_path, "s1/particles.star")
    assert len(watcher(tmp_path, settle_s=0).look()) == 1
    again = watcher(tmp_path, settle_s=0)
    assert again.look() == []
    assert len(again.outbox.waiting()) == 1, "what was not sent is still there"


def test_killed_between_outbox_and_record(tmp_path: Path) -> None:
    """The set is seen again, and it is the same job: one file in the outbox."""
    arrive(tmp_path, "s1/particles.star")
    watcher(tmp_path, settle_s=0).look()
    for record in (tmp_path / "spool").glob("taken-*/*.json"):
        record.unlink()
    again = watcher(tmp_path, settle_s=0)
    assert len(again.look()) == 1
    assert len(again.outbox.waiting()) == 1


def test_a_record_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    arrive(tmp_path, "s1/particles.star")
    (first,) = watcher(tmp_path, settle_s=0).look()
    for record in (tmp_path / "spool").glob("taken-*/*.json"):
        record.write_text("{")
    (second,) = watcher(tmp_path, settle_s=0).look()
    assert second.job_id == first.job_id


def test_sent_when_the_broker_is_back(tmp_path: Path) -> None:
    broker = MemoryBroker()
    broker.declare(build_topology(DELAYS))
    queue = job_queue("ingest", "bulk")
    looking = watcher(tmp_path, settle_s=0)
    arrive(tmp_path, "s1/particles.star")
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
    (tmp_path / "out" / "a__particles").mkdir(parents=True)
    (tmp_path / "out" / "a__particles" / "mine.txt").touch()
    arrive(tmp_path, "a/particles.star")
    arrive(tmp_path, "b/particles.star")
    taken: list[Message] = watcher(tmp_path, settle_s=0).look()
    assert [message.work.request.out.name for message in taken] == ["b__particles"]


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a folder"):
        watcher(tmp_path, folder=tmp_path / "no")


@pytest.mark.broker
def test_watch_command_spools_while_the_broker_is_away(site: Site) -> None:
    arrivals = site.root / "arrivals"
    write_star(arrivals / "s1" / "particles.star")
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
