"""Signals as a wish that the next step honours."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopper:
    """Turns the first SIGINT, SIGTERM or SIGHUP (a closed terminal) into a request that the next `progress` honours.

    A second SIGINT raises KeyboardInterrupt. A SIGHUP that the caller ignores (nohup) stays ignored. Use as a context
    manager in the main thread.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.asked: str = ""
        self._console = console
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number).name
        if self._console is not None:
            self._console.print("stopping at the next step (again: at once); what is done is kept", markup=False)
