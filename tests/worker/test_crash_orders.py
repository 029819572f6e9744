"""Power is cut after every effect of every way to end, also twice: redelivered, the job ends as if nothing had been.

Compared are the books on disk, what was published, the messages that are left, the jobs that are parked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from covaria_memory_site import MemorySite, Play

from covaria.bus.model import Outgoing
from covaria.bus.topology import JOBS, PARKING, job_queue
from covaria.errors import InvalidInput
from covaria.job.lease import latest, take
from covaria.worker.effects import NoteRefused, PutInPlace
from covaria.worker.failures import Breakdown
from covaria.worker.faults import PARENT_POINTS

WHOLE = ("ingest", "reconstruction")
OF_THE_RUN = {
    "at",
    "attempt",
    "completed_at",
    "duration_seconds",
    "finished_at",
    "owner",
    "preemptions",
    "started_at",
    "submitted_at",
    "worker",
    "seconds",
}
"""Times, and who did it at which attempt: a cut may cost or save an attempt."""


@dataclass(frozen=True)
class Scene:
    """What lies there before the worker looks, and how its stage behaves."""

    prepare: Callable[[MemorySite], None]
    play: Callable[[MemorySite], Play] = lambda site: Play()
    stages: tuple[str, ...] = WHOLE
    parks: bool = False
    tells: str = ""
    """The event without which it would not be this scene."""


def submit(site: MemorySite, route: tuple[str, ...] = WHOLE, times: int = 1) -> None:
    for _ in range(times):
        site.submit(site.message(route=route))


def submit_cancelled(site: MemorySite) -> None:
    submit(site)
    site.tree().state.mkdir(parents=True)
    site.tree().cancel.write_text("now")


def submit_superseded(site: MemorySite) -> None:
    first = site.message()
    site.submit(first)
    site.work()
    later = site.message(seed=2, overwrite=True)
    site.submit(type(later)("job-later", later.work, later.data))
    site.work()
    site.submit(first)


def submit_with_next_queue_full(site: MemorySite) -> None:
    site.broker.limit(job_queue("reconstruction", "bulk"), 0)

    def make_room() -> None:
        if site.clock.now > 1003:
            site.broker.limit(job_queue("reconstruction", "bulk"), None)

    site.clock.on_wait = make_room
    submit(site)


def submit_beside_a_living(site: MemorySite) -> None:
    other = take(site.tree(), "other", None)
    assert other is not None

    def live() -> None:
        seen = latest(site.tree())
        if seen is not None and seen.owner == "other" and not seen.released:
            other.renew() if site.clock.now < 1006 else other.release()

    site.clock.on_wait = live
    submit(site)


def submit_over_quota(site: MemorySite) -> None:
    """Room comes after a while."""
    site.why_held = lambda message: "1 of 1" if site.clock.now < 1003 else ""
    submit(site)


def refused(site: MemorySite, reason: str) -> None:
    body = b"\x00not json" if reason == "rejected" else b'{"data": 1}'
    if reason == "path":
        from covaria.messages.envelope import seal

        message = site.message("evil")
        data = {**message.data, "request": {**message.data["request"], "out": "/etc/x"}}
        body = seal(type(message)(message.job_id, message.work, data), "evil/ingest/1/0")
    site.bus().publish(Outgoing(JOBS, "ingest.bulk", body, "evil"))


def stop_asked(site: MemorySite) -> Play:
    """The first worker is asked to stop while its stage runs."""
    first: list[int] = []

    def ask() -> None:
        service = site.services[-1]
        first.append(id(service))
        service.terms = int(first[0] == id(service))

    return Play(turns=4, on_turn=ask)


def live_comes(site: MemorySite) -> Play:
    """A live job comes while the stage of the first runs."""
    site.settings = site.settings.model_copy(update={"preempt_after_s": 0.5, "poll_interval_s": 0.1})
    came: list[bool] = []

    def come() -> None:
        if not came:
            came.append(True)
            site.submit(site.message("urgent", route=WHOLE).in_class("live"))

    return Play(turns=200, on_turn=come)


SCENES = {
    "succeeded": Scene(submit),
    "last stage": Scene(partial(submit, route=("ingest",))),
    "duplicate": Scene(partial(submit, times=2)),
    "superseded": Scene(submit_superseded),
    "retried": Scene(submit, lambda site: Play(fails=Breakdown(signal=9), times=1)),
    "parked": Scene(submit, lambda site: Play(fails=Breakdown.of(InvalidInput("cannot be right"))), parks=True),
    "cancelled": Scene(submit_cancelled),
    "handed back": Scene(submit, stop_asked, tells="ingest.handed_back"),
    "made room": Scene(submit, live_comes, tells="ingest.preempted"),
    "deferred, next queue full": Scene(submit_with_next_queue_full),
    "deferred, another lives": Scene(submit_beside_a_living),
    "dies after publishing": Scene(submit, lambda site: Play(dies_after_publishing=True)),
    "held back": Scene(submit_over_quota, tells="ingest.held_back"),
    "rejected": Scene(partial(refused, reason="rejected"), parks=True),
    "refused": Scene(partial(refused, reason="path"), parks=True),
}


def opened(scene: Scene, root: Path) -> MemorySite:
    site = MemorySite(root)
    scene.prepare(site)
    site.plays["ingest"] = scene.play(site)
    return site


def end_state(site: MemorySite) -> dict[str, Any]:
    """All that matters once nobody has anything left to do."""
    books = {
        str(path.relative_to(site.root)): _plain(site.read(path), str(site.root))
        for path in sorted(site.root.rglob("*.json"))
        if path.name not in ("documents.json", "ro-crate-metadata.json")  # which tell times
    }
    trails = {str(path.relative_to(site.root)): path.read_text() for path in sorted(site.root.rglob("trail.*"))}
    depths = site.depths()
    parked = {(entry["id"], str(entry.get("covaria-reason", "rejected"))) for entry in site.parked()}
    depths.pop(PARKING, None)
    return {
        "books": books,
        "published": {name: text.count("published") for name, text in trails.items()},
        "waiting": depths,
        "parked": parked,
    }


def _plain(value: Any, root: str) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item, root) for key, item in value.items() if key not in OF_THE_RUN}
    if isinstance(value, list):
        return [_plain(item, root) for item in value]
    return value.replace(root, "") if isinstance(value, str) else value


@pytest.mark.parametrize("name", SCENES)
def test_every_cut_ends_the_same(name: str, memory_site: MemorySite) -> None:
    scene, root = SCENES[name], memory_site.root
    undisturbed = opened(scene, _folder(root, "undisturbed"))
    passed = undisturbed.cut("ingest", None)
    undisturbed.work(*scene.stages)
    wanted = end_state(undisturbed)
    assert bool(wanted["parked"]) == scene.parks
    assert wanted["waiting"] == {}
    assert not scene.tells or scene.tells in undisturbed.events()
    ends = {
        key
        for key in undisturbed.events()
        if not key.endswith((".started", ".retrying", ".handed_back", ".preempted", ".held_back"))
    }
    for count in range(1, len(passed) + 1):
        site = opened(scene, _folder(root, f"cut{count}"))
        assert site.cut("ingest", count) == passed[:count]
        again = site.cut("ingest", count)  # the same cut once more, wherever that is now
        site.work("ingest", *scene.stages)
        assert end_state(site) == wanted, f"cut after {passed[:count]}, again after {again}"
        assert set(site.events()) >= ends, f"an event is missing, cut after {passed[:count]}, again after {again}"


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir()
    return folder


def test_the_scenes_pass_every_point(memory_site: MemorySite) -> None:
    passed: set[str] = set()
    for number, scene in enumerate(SCENES.values()):
        passed |= set(opened(scene, _folder(memory_site.root, f"s{number}")).cut("ingest", None))
    of_updates = {PutInPlace.point, NoteRefused.point}  # these are cut in test_updates.py
    assert passed == set(PARENT_POINTS) - of_updates


def test_no_cut_loses_the_only_copy(memory_site: MemorySite) -> None:
    """At every instant the job is in a queue, in the worker's hands, or finished and handed over."""
    wanted = MemorySite(_folder(memory_site.root, "w"))
    submit(wanted)
    passed = wanted.cut("ingest", None)
    for count in range(1, len(passed)):
        site = MemorySite(_folder(memory_site.root, f"c{count}"))
        submit(site)
        site.cut("ingest", count)
        assert sum(site.depths().values()) >= 1, passed[:count]
