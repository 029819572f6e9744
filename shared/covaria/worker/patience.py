"""Work on the disk goes on beside the I/O loop: a filesystem that hangs stops neither heartbeats nor probes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

TURN_S = 0.05


class _Work(Generic[T]):
    """A call in a thread of its own. The thread never keeps the process from ending."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self.ended = threading.Event()
        self.result: list[T] = []
        self.error: BaseException | None = None
        threading.Thread(target=self._run, name="disk", daemon=True).start()

    def _run(self) -> None:
        try:
            self.result.append(self._call())
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()


class Disk(Protocol):
    """How work on the disk is done: `beside` as shipped."""

    def __call__(self, call: Callable[[], T], turn: Callable[[float], None]) -> T: ...


def beside(call: Callable[[], T], turn: Callable[[float], None]) -> T:
    """What `call` returns or raises; `turn(0)` is called again and again until it has."""
    work = _Work(call)
    while not work.ended.wait(TURN_S):
        turn(0.0)
    if work.error is not None:
        raise work.error
    return work.result[0]


class Background:
    """At most one call at a time, nobody waits for it; while one hangs the next ones are left out."""

    def __init__(self) -> None:
        self._work: _Work[None] | None = None

    def start(self, call: Callable[[], None]) -> None:
        """Call it, unless the one before still runs. It must not raise."""
        if self._work is None or self._work.ended.is_set():
            self._work = _Work(call)

    @property
    def hangs(self) -> bool:
        """Whether a call still runs."""
        return self._work is not None and not self._work.ended.is_set()

    def join(self, seconds: float) -> None:
        """Give the running call some time to end."""
        if self._work is not None:
            self._work.ended.wait(seconds)
