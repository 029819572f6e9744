"""A disk that hangs stops neither heartbeats nor probes."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from covaria_memory_site import MemorySite

from covaria.worker import health as health_module
from covaria.worker.health import Health
from covaria.worker.patience import Background, beside


def test_the_loop_turns_while_the_disk_hangs() -> None:
    turns: list[float] = []
    enough = threading.Event()

    def turn(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) == 3:
            enough.set()

    assert beside(lambda: enough.wait(60), turn) is True
    assert turns == [0.0] * 3


def test_what_it_raises_comes_out() -> None:
    with pytest.raises(TimeoutError, match="its own"):
        beside(lambda: (_ for _ in ()).throw(TimeoutError("its own")), lambda seconds: None)


def test_background_leaves_out_what_comes_while_one_hangs() -> None:
    background, held, done = Background(), threading.Event(), []
    background.start(lambda: done.append(held.wait(60)))
    for _ in range(5):
        background.start(lambda: done.append(False))
    held.set()
    background.join(60)
    assert done == [True]
    background.start(lambda: done.append(True))
    background.join(60)
    assert done == [True, True]


def test_a_frozen_disk_keeps_the_worker_alive(memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records cannot be read for a while: /livez says ok, the connection is served, and then the job runs."""
    from covaria.worker import interpreter

    service = memory_site.service()
    service.handler.disk = beside
    thawed, look, lived = threading.Event(), interpreter.look, []

    def frozen(*arguments: object) -> object:
        thawed.wait(60)
        return look(*arguments)  # type: ignore[arg-type]

    def turn(seconds: float) -> None:
        lived.append(service.health.live())
        if len(lived) == 3:
            thawed.set()
        tick(seconds)

    tick = service.link.tick
    monkeypatch.setattr(interpreter, "look", frozen)
    monkeypatch.setattr(service.link, "tick", turn)
    memory_site.submit(memory_site.message())
    began = time.monotonic()
    service.serve()
    assert memory_site.outcomes() == {"succeeded": 1}
    assert lived[:3] == [[], [], []]
    assert time.monotonic() - began < 60


def test_probes_answer_while_a_root_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thawed = threading.Event()
    health = Health((tmp_path,), broker_open=True)
    monkeypatch.setattr(health_module, "ROOT_PATIENCE_S", 0.05)
    monkeypatch.setattr(os, "access", lambda path, mode: thawed.wait(60))
    assert health.ready() == ["a root does not answer"]
    assert health.ready() == ["a root does not answer"], "asked again while it still hangs"
    assert health.live() == []
    thawed.set()
    monkeypatch.setattr(health_module, "ROOT_PATIENCE_S", 60.0)
    assert health.ready() == []
