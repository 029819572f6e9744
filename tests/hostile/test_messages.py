"""Any message whatever: the worker lives, the message is parked or done, one last event tells of it.

The real service on the in-process bus; every field of the envelope, of the work and of the headers is spoiled, alone
and with others. `make attack` sends a hundred thousand. SOAK_MESSAGES and SOAK_SEED change how many and which.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
from covaria_memory_site import HEARD, MemorySite, Play
from covaria_mutations import BEYOND, INFINITE, Mutator, edges, written
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from covaria.bus.model import Outgoing
from covaria.bus.topology import JOBS, PARKING
from covaria.messages.envelope import MAX_BYTES, Envelope, seal
from covaria.messages.ticket import ATTEMPT, FIRST_QUEUED, LAST_ERROR, MEMORY_SCALE, PREEMPTIONS, SEQUENCE
from covaria.messages.work import Work
from covaria.worker import interpreter
from covaria.worker.logs import JsonFormatter

LAST = ("succeeded", "parked", "cancelled")
MANY = int(os.environ.get("SOAK_MESSAGES", "100000"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
words = st.sampled_from(
    ["", "..", "/", "/etc/passwd", "/proc/self/mem", "/dev/zero", "relative", "~", "\x00", "\x1b]0;owned\x07", "\ud800",
     "\udfff\ud800", "\u202egpj", "a" * 300, "/" + "b" * 5000, "$(reboot)", "sphere", "none", "true", "live", "1e999",
     "covaria.ingest.requested.v1\n", "covaria.ingest.requested.v\u0661", "ingest"]
)  # fmt: skip
numbers = st.sampled_from(
    [
        0,
        -1,
        1,
        2**31,
        2**63,
        -(2**63) - 1,
        2**64,
        10**400,
        0.1,
        -0.0,
        1e308,
        float("nan"),
        float("inf"),
        BEYOND,
        INFINITE,
        True,
    ]
)
values = st.recursive(
    st.none() | words | numbers | st.text(st.characters(codec=None), max_size=20) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
headers = st.dictionaries(
    st.sampled_from([ATTEMPT, SEQUENCE, FIRST_QUEUED, MEMORY_SCALE, LAST_ERROR, PREEMPTIONS, "x-death", "\ud800"]),
    st.one_of(values, st.binary(max_size=20)),
    max_size=5,
)
spoils = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(["set", "drop", "add", "repeat"]), values), max_size=3
)
shapes = st.sampled_from(["json", "json", "json", "json", "json", "json", "cut", "padded", "bytes", "deep", "utf16"])


def places(document: Any, found: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a document."""
    found = [] if found is None else found
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in list(items):
        found.append((document, key))
        places(value, found)
    return found


def spoil(document: dict[str, Any], how: list[tuple[int, str, Any]]) -> dict[str, Any]:
    for number, action, value in how:
        where = places(document)
        if not where:
            return document
        container, key = where[number % len(where)]
        if action == "set":
            container[key] = value
        elif action == "drop":
            del container[key]
        elif action == "add" and isinstance(container, dict):
            container[f"new{number % 3}"] = value
        elif action == "repeat" and isinstance(container, list):
            container.append(container[key])
    return document


def body_of(document: Any, shape: str, number: int) -> bytes:
    body = written(document)
    match shape:
        case "cut":
            return body[: number % max(len(body), 1)]
        case "padded":
            return body + b" " * (MAX_BYTES - 100 + number % 300)
        case "bytes":
            return bytes(number % 256 for number in range(number % 64))
        case "deep":
            return body.replace(
                b'"job_class"', b'"x": ' + b"[" * (number % 60) + b"]" * (number % 60) + b', "job_class"'
            )
        case "utf16":
            return json.dumps(document).encode("utf-16")
    return body


class Attack:
    """Sends messages to one worker that must not fall. All are about one folder, which is empty before each."""

    def __init__(self, site: MemorySite) -> None:
        self.site, self.sent = site, 0
        self.service = site.service()
        self.bus = site.bus()
        self.document = good(site)
        self.known = set(site.root.iterdir())
        self.queues = {name: held.messages for name, held in site.broker.queues.items()}

    def send(self, body: bytes, headers: dict[str, Any]) -> None:
        self.sent += 1
        self.bus.publish(Outgoing(JOBS, "ingest.bulk", body, "theirs", headers))
        self.service.idle_exit_s = -1.0
        self.service.serve()
        if any(self.queues[name] for name in self.site.topology.tiers):  # is tried again later
            self.service.idle_exit_s = 16.0
            self.service.serve()
        self.check()
        for messages in self.queues.values():
            messages.clear()
        for path in set(self.site.root.iterdir()) - self.known:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def check(self) -> None:
        """Parked or done, and told of once."""
        left = {name: len(messages) for name, messages in self.queues.items() if messages}
        heard = [message.key for message in self.queues[HEARD]]
        ends = [key for key in heard if key.endswith(LAST)]
        parked = list(self.queues[PARKING])
        onward = left.get("covaria.density.bulk", 0) + left.get("covaria.density.live", 0)
        assert set(left) <= {HEARD, PARKING, "covaria.density.bulk", "covaria.density.live"}, f"left somewhere: {left}"
        rejected = heard.count("message.rejected")
        assert len(ends) + rejected == 1, f"one end: {heard}"
        assert heard.count("job.failed") == ends.count("ingest.parked"), heard
        assert len(parked) == (rejected or ends == ["ingest.parked"]), (left, heard)
        assert onward + heard.count("job.finished") == ends.count("ingest.succeeded"), (left, heard)
        assert all(message.headers.get("covaria-reason") != "unknown" for message in parked), parked


class StrictLog(logging.StreamHandler[TextIO]):
    """The product's own lines, written to nowhere; one that cannot be written is an error."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        raise


@pytest.fixture
def strict_log() -> Iterator[None]:
    """Log as a service does. A hundred thousand lines are kept by nobody."""
    logger = logging.getLogger("covaria")
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        handler = StrictLog(nowhere)
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        before, logger.propagate = logger.propagate, False
        yield
        logger.propagate = before
        logger.removeHandler(handler)


def pool(size: int) -> list[Any]:
    """Values as hypothesis finds them worth trying."""
    found: list[Any] = []

    @seed(SEED)
    @settings(max_examples=size, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(values)
    def gather(value: Any) -> None:
        found.append(value)

    gather()
    return found


def test_any_message(memory_site: MemorySite) -> None:
    """Spoiled by hypothesis, which looks for the smallest message that does harm."""
    attacker = Attack(memory_site)

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(spoils, shapes, headers)
    def send(how: list[tuple[int, str, Any]], shape: str, given_headers: dict[str, Any]) -> None:
        number = how[0][0] if how else attacker.sent
        document = spoil(json.loads(json.dumps(attacker.document)), how)
        attacker.send(body_of(document, shape, number), given_headers)

    send()
    assert attacker.sent >= 60


def flood(site: MemorySite, messages: int, pooled: int) -> Attack:
    attacker = Attack(site)
    mutator = Mutator(attacker.document, edges(Envelope) | edges(Work, ("data",)), pool(pooled), SEED)
    for number in range(messages):
        hostile = mutator.message(number)
        try:
            attacker.send(hostile.body, hostile.headers)
        except Exception as error:
            raise AssertionError(f"message {number} of seed {SEED}: {hostile.how}\n{hostile.body[:2000]!r}") from error
    return attacker


def test_a_thousand_messages(memory_site: MemorySite, strict_log: None) -> None:
    """Every field beyond its bounds, as its schema says them; every place with any value; any damage to the bytes."""
    assert flood(memory_site, 1000, 50).sent == 1000
    assert 0 < memory_site.outcomes()["succeeded"] < 50


@pytest.mark.slow
@pytest.mark.timeout(14400)
def test_a_hundred_thousand_messages(
    memory_site: MemorySite, strict_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    began, used = time.monotonic(), time.process_time()
    sent = flood(memory_site, MANY, 1000).sent
    wall, processor = time.monotonic() - began, time.process_time() - used
    with capsys.disabled():
        print(
            f"\n{sent} hostile messages in {wall:.0f} s ({processor:.0f} s of one processor): all parked or done, "
            f"the worker lives; {dict(memory_site.outcomes())}, seed {SEED}"
        )


def good(site: MemorySite) -> dict[str, Any]:
    return json.loads(seal(site.message("job1", ("ingest", "density")), "job1/ingest/1/0"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.update(newer=INFINITE), "schema"),
        (lambda data: data.update(newer="\ud800"), "schema"),
        (lambda data: data.update({"\udfff": 1}), "schema"),
        (lambda data: data.update(newer=BEYOND), "schema"),
        (lambda data: data["request"].update(seed=BEYOND), "schema"),
        (lambda data: data["request"]["reconstruction"].update(zdim=[]), "schema"),
        (lambda data: data["request"]["analysis"].update(b_factor=1e300), "schema"),
        (lambda data: data["request"].update(seed=-1), "schema"),
        (lambda data: data["request"]["analysis"].update(n_vols_along_path=10**9), "schema"),
        (lambda data: data["request"]["ingest"].update(particles="/" + "a" * 5000), "schema"),
        (lambda data: data["request"].update(out="/data/\x1b]0;owned\x07"), "path"),
    ],
)
def test_what_the_table_names(memory_site: MemorySite, change: Callable[[dict[str, Any]], None], reason: str) -> None:
    """redteam 3, 18, 19, 20, 24: refused as what they are, before any work."""
    document = good(memory_site)
    change(document["data"])
    memory_site.bus().publish(Outgoing(JOBS, "ingest.bulk", body_of(document, "json", 0), "theirs"))
    memory_site.work()
    (parked,) = memory_site.parked()
    assert parked["covaria-reason"] == reason
    assert parked["covaria-last-error"].isprintable()
    (event,) = memory_site.event_bodies()
    assert (event["job_id"], event["state"], event["reason"]) == ("job-job1", "parked", reason)


@pytest.mark.parametrize("version", ["v1\n", "v\u0661", "v01x", "v" + "9" * 90])
def test_versions_that_look_like_ours(memory_site: MemorySite, version: str) -> None:
    document = good(memory_site) | {"type": f"covaria.ingest.requested.{version}"}
    memory_site.bus().publish(Outgoing(JOBS, "ingest.bulk", json.dumps(document).encode(), "theirs"))
    memory_site.work()
    assert memory_site.depths() == {PARKING: 1}
    assert memory_site.trail(name="job1") == []


def test_full_disk_ends_no_worker(memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch) -> None:
    """redteam 10: every write fails from the middle of a job on; the message waits, and with room the job finishes."""
    full: list[int] = []

    def fsync(handle: int) -> None:
        if full:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    service = memory_site.service(idle_exit_s=16.0)
    memory_site.plays["ingest"].on_turn = lambda: full.append(1) if not memory_site.outcomes() else None
    memory_site.clock.on_wait = lambda: full.clear() if memory_site.outcomes()["retried"] >= 2 else None
    memory_site.submit(memory_site.message())
    service.serve()
    assert memory_site.outcomes() == {"retried": 2, "succeeded": 1}
    assert memory_site.state() == "succeeded"
    assert "ingest.retrying" in memory_site.events()


def test_a_disk_that_fills_up_tells_the_truth_later(memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is parked while nothing can be written; once there is room its folder says so."""
    full: list[int] = []

    def fsync(handle: int) -> None:
        if full:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    memory_site.plays["ingest"] = Play(on_turn=lambda: full.append(1))
    memory_site.submit(memory_site.message())
    service = memory_site.service(idle_exit_s=50.0)
    service.serve()
    assert memory_site.outcomes() == {"retried": 3, "parked": 1}
    assert memory_site.state() == "running", "the disk is full"
    full.clear()
    service.serve()
    assert memory_site.state() == "failed"
    assert (memory_site.delivery()["state"], memory_site.delivery()["reason"]) == ("parked", "filesystem")
    assert memory_site.read(memory_site.tree().job_json)["status"] == "failed"
    assert service.handler.ledger.owed == []


def test_full_disk_that_stays_parks(memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    memory_site.submit(memory_site.message())
    memory_site.work()
    assert memory_site.outcomes() == {"retried": 3, "parked": 1}
    (parked,) = memory_site.parked()
    assert (parked["covaria-reason"], parked["covaria-attempt"]) == ("filesystem", 4)
    assert "No space left" in parked["covaria-last-error"]


BOOKS = (
    "request.json", "submission.json", "superseded.json", "lease.7", "stages/ingest/state.json",
    "stages/ingest/delivery.json", "stages/ingest/handover.json", "stages/ingest/progress.json",
)  # fmt: skip
DAMAGES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_text(""),
    "cut": lambda path: path.write_text('{"job_id": "job-j'),
    "list": lambda path: path.write_text("[]"),
    "number": lambda path: path.write_text("5"),
    "brackets": lambda path: path.write_text("[" * 100_000),
    "bytes": lambda path: path.write_bytes(b"\xff\x00" * 50),
    "foreign": lambda path: path.write_text('{"job_ids": 5, "stages": [], "status": [], "job_id": {}, "counter": []}'),
    "folder": lambda path: path.mkdir(),
    "fifo": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "huge": lambda path: (path.touch(), os.truncate(path, 1 << 31)),
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "numbers": lambda path: path.write_text(
        '{"status": "running", "counter": 1e999, "seconds": -1e999, "job_id": NaN}'
    ),
    "half": lambda path: path.write_text('{"job_id": "job-job", "status": "running", "environment": {"\\ud800": 1}}'),
    "deep": lambda path: path.write_text('{"status": "running", "environment": ' + '{"x": ' * 400 + "1" + "}" * 401),
    "other": lambda path: (path.parent / "lease.007").touch(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("book", BOOKS)
def test_books_of_a_stranger_are_that_jobs_problem_alone(memory_site: MemorySite, book: str, damage: str) -> None:
    """redteam 2, 13, 23, 25."""
    path = memory_site.tree().state / book
    path.parent.mkdir(parents=True)
    DAMAGES[damage](path)
    memory_site.submit(memory_site.message())
    memory_site.submit(memory_site.message("healthy"))
    memory_site.work()
    assert memory_site.state(name="healthy") == "succeeded"
    ends = [event for event in memory_site.event_bodies() if event["state"] in LAST]
    assert sorted(event["job_id"] for event in ends) == ["job-healthy", "job-job"], ends
    for parked in memory_site.parked():
        assert parked["covaria-reason"] in ("damaged_books", "invalid_input", "filesystem"), parked


def test_a_link_for_our_state_leads_nowhere(memory_site: MemorySite) -> None:
    """redteam 5: what lies behind the link is neither written nor deleted; the job is parked, the next one runs."""
    elsewhere = memory_site.root / "elsewhere"
    (elsewhere / "tmp" / "ingest-1").mkdir(parents=True)
    (elsewhere / "tmp" / "ingest-1" / "precious").write_text("result")
    before = sorted(elsewhere.rglob("*"))
    memory_site.tree().out.mkdir()
    memory_site.tree().state.symlink_to(elsewhere)
    memory_site.submit(memory_site.message())
    memory_site.submit(memory_site.message("healthy"))
    memory_site.work()
    assert memory_site.state(name="healthy") == "succeeded"
    assert memory_site.depths() == {PARKING: 1}
    assert sorted(elsewhere.rglob("*")) == before


def test_a_defect_of_ours_parks_the_message_as_it_came(
    memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(facts: object) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    memory_site.submit(memory_site.message())
    with monkeypatch.context() as patched:
        patched.setattr(interpreter, "decide", defect)
        memory_site.work()
    assert memory_site.depths() == {PARKING: 1}
    memory_site.submit(memory_site.message("healthy"))
    memory_site.work()
    assert memory_site.state(name="healthy") == "succeeded"


def test_a_bus_that_breaks_in_a_new_way_is_asked_again(
    memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = memory_site.service()
    get, raised = service.bus.get, []

    def breaks_once(queue: str) -> object:
        if not raised:
            raised.append(queue)
            raise struct.error("unpack requires a buffer of 4 bytes")
        return get(queue)

    monkeypatch.setattr(service.bus, "get", breaks_once)
    memory_site.submit(memory_site.message())
    service.serve()
    assert memory_site.outcomes() == {"succeeded": 1}
