"""What a person sees of a run while it goes on: one line with stage, step, time passed, time left and memory.

On a terminal the line renews itself; elsewhere a plain line is printed when nothing else was said for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from covaria.request.duration import Leg
from covaria.running.console import patient_console
from covaria.running.devices import peak_memory_bytes
from covaria.running.time_left import TimeLeft
from covaria.tree.readme import duration

RENEW_S, SILENCE_S = 0.5, 4.0


@contextmanager
def at_work(command: str) -> Iterator[RunLine]:
    """The line of a command that is no run."""
    with RunLine(patient_console(), (command,), renew_s=RENEW_S, silence_s=SILENCE_S) as line:
        line.begin(command)
        yield line


class RunLine:
    """Use as a context manager; `hear` is told of every step, `said` of every line that others print."""

    def __init__(
        self,
        console: Console,
        stages: Sequence[str],
        legs: Sequence[Leg] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        renew_s: float = RENEW_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._console, self._stages, self._clock = console, tuple(stages), clock
        self._renew_s, self._silence_s = renew_s, silence_s
        self._time_left = TimeLeft(legs)
        self._lock, self._over = threading.Lock(), threading.Event()
        self._stage = self._step = self._count = ""
        self._began = self._said = clock()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[words]}"),
            console=console, disable=not console.is_terminal, transient=True, auto_refresh=False,
        )  # fmt: skip
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._task = self._bar.add_task("", total=1.0, words="")
        self._bar.start()
        self._ticker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._ticker.join()
        self._bar.stop()

    def plan(self, legs: Sequence[Leg]) -> None:
        """What the run will go through, once that is known."""
        with self._lock:
            self._time_left.plan(legs)

    def begin(self, stage: str) -> None:
        """A stage begins."""
        self.hear(stage, "", 0, 1, "")

    def hear(self, stage: str, step: str, done: int, total: int, unit: str) -> None:
        """As a stage tells its progress."""
        with self._lock:
            self._stage, self._step = stage, step
            self._count = f" {done:,} of {total:,} {unit}" if done < total > 1 else ""
            self._time_left.hear(stage, step, done / max(total, 1), self._clock())

    def said(self) -> None:
        """Somebody printed a line."""
        self._said = self._clock()

    def text(self) -> str:
        """The line."""
        what, words, _ = self._parts()
        return f"{what}: {words}"

    def _parts(self) -> tuple[str, str, float]:
        """(stage and step, times and memory, share that is done)."""
        with self._lock:
            now = self._clock()
            passed, left = now - self._began, self._time_left.left(now)
            place = self._stages.index(self._stage) + 1 if self._stage in self._stages else 0
            step = f", {self._step}{self._count}" if self._step else self._count
        words = [duration(passed)]
        words += [f"about {duration(left)} left"] if left is not None else []
        words.append(f"{peak_memory_bytes() / 1e9:.1f} GB")
        number = f"stage {place}/{len(self._stages)} " if place and len(self._stages) > 1 else ""
        return f"{number}{self._stage or 'starting'}{step}", ", ".join(words), passed / max(passed + (left or 0), 1e-9)

    def _tick(self) -> None:
        while not self._over.wait(self._renew_s):
            if self._console.is_terminal:
                what, words, share = self._parts()
                self._bar.update(self._task, description=what, completed=share, words=words)
                self._bar.refresh()
            elif self._clock() - self._said >= self._silence_s:
                self._console.print(self.text(), markup=False, highlight=False, soft_wrap=True)
                self.said()
