"""What a stage asks of the world, as one frozen value, and how it is put together."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from covaria.errors import Cancelled, Interrupted
from covaria.opening import ANYWHERE, Roots
from covaria.running.checkpoints import NothingKept, NpzCheckpoints
from covaria.running.console import ConsoleHandler, LineFormatter, ScreenFormatter
from covaria.running.devices import default_memory_bytes
from covaria.running.ranks import ALONE
from covaria.running.run_line import RunLine
from covaria.running.step_report import StepReport
from covaria.running.stopper import Stopper
from covaria.stage import Checkpoints, Ranks
from covaria.tree import Pen, Tree, record

CANCEL_POLL_S = 0.5
LOG_REFRESH_S = 5.0

Listener = Callable[[str, int, int, str], None]
"""Hears (step, done, total, unit); what it raises stops the stage."""


@dataclass(frozen=True)
class StageContext:
    """`covaria.stage.Context` of a stage that runs in this process.

    tree         the tree with its pen: everything that the stage writes goes through it
    fingerprint  what its result depends on (covaria.request.identity)
    listeners    hear progress in this order; report is one of them and counts the images
    """

    stage: str
    tree: Tree
    fingerprint: str
    device: str
    memory_bytes: int
    checkpoints: Checkpoints
    log: logging.Logger
    report: StepReport
    listeners: tuple[Listener, ...]
    roots: Roots = ANYWHERE
    ranks: Ranks = ALONE

    @property
    def pen(self) -> Pen:
        """The right to write in OUT."""
        return self.tree.pen

    def progress(self, step: str, done: int, total: int, unit: str = "images") -> None:
        """Tell all listeners. Raises Cancelled or Interrupted."""
        for listener in self.listeners:
            listener(step, done, total, unit)


@contextmanager
def stage_context(
    tree: Tree,
    stage: str,
    fingerprint: str,
    *,
    device: str = "cpu",
    memory_bytes: int | None = None,
    console: Console,
    stopper: Stopper,
    roots: Roots = ANYWHERE,
    listeners: tuple[Listener, ...] = (),
    said: Callable[[], None] = lambda: None,
    verbose: bool = True,
) -> Iterator[StageContext]:
    """The context of a stage with its books in OUT: log, checkpoints, the cancel file. `listeners` hear first.

    On the console: with `verbose` every line of the log, else warnings and what people are told; `said` hears of each.
    """
    with ExitStack() as stack:
        screen = ConsoleHandler(console, said, verbose=verbose)
        log, report = stack.enter_context(_logged(stage, screen, _stage_log(tree, stage)))
        yield StageContext(
            stage, tree, fingerprint, device, memory_bytes or default_memory_bytes(),
            NpzCheckpoints(tree, stage, fingerprint), log, report,
            (*listeners, report, _RunLog(tree), _Stops(stage, stopper, tree.cancel)), roots,
        )  # fmt: skip


@contextmanager
def bookless_context(
    tree: Tree,
    name: str,
    log_file: Path,
    *,
    device: str,
    memory_bytes: int | None,
    console: Console,
    stopper: Stopper,
) -> Iterator[StageContext]:
    """The context of a computation over a finished OUT, which stays as it is: its lines go to `log_file`."""
    with RunLine(console, (name,)) as line:
        screen = ConsoleHandler(console, line.said, verbose=False)
        with _logged(name, screen, logging.FileHandler(log_file, encoding="utf-8")) as (log, report):
            line.begin(name)
            yield StageContext(
                name, tree, "", device, memory_bytes or default_memory_bytes(), NothingKept(), log, report,
                (partial(line.hear, name), report, _Stops(name, stopper, None)),
            )  # fmt: skip


@contextmanager
def _logged(stage: str, screen: ConsoleHandler, file: logging.Handler) -> Iterator[tuple[logging.Logger, StepReport]]:
    log = logging.getLogger(f"covaria.run.{stage}")
    handlers = [file, screen]
    report = StepReport(log)
    file.setFormatter(LineFormatter(stage))
    screen.setFormatter(ScreenFormatter(stage))
    for handler in handlers:
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addFilter(report.before_line)
    try:
        yield log, report
    finally:
        report.log_passes()
        log.removeFilter(report.before_line)
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


def _stage_log(tree: Tree, stage: str) -> logging.Handler:
    """Appends to the stage's log, in a file of our own that begins with what others wrote: a process that was taken
    over and wakes late appends to the old file, which has no name any more."""
    path = tree.stage_log(stage)
    tree.write_bytes(path, record.read_stage_log(tree, stage))
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    tree.pen.check()
    return _OwnedStream(os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace"))


class _OwnedStream(logging.StreamHandler):  # type: ignore[type-arg]
    """Closes its stream."""

    def close(self) -> None:
        self.stream.close()
        super().close()


class _RunLog:
    """Renews run.log now and then."""

    def __init__(self, tree: Tree) -> None:
        self._tree, self._renewed = tree, time.monotonic()

    def __call__(self, step: str, done: int, total: int, unit: str) -> None:
        if done >= total and time.monotonic() - self._renewed >= LOG_REFRESH_S:
            self._renewed = time.monotonic()
            record.refresh_log(self._tree)


class _Stops:
    """Notices a signal or a cancel file."""

    def __init__(self, stage: str, stopper: Stopper, cancel: Path | None) -> None:
        self._stage, self._stopper, self._cancel = stage, stopper, cancel
        self._checked = 0.0

    def __call__(self, step: str, done: int, total: int, unit: str) -> None:
        if self._stopper.asked:
            raise Interrupted(
                f"stopped by {self._stopper.asked} in {self._stage}", hint="run the same command again to resume"
            )
        now = time.monotonic()
        if self._cancel is not None and now - self._checked >= CANCEL_POLL_S:
            self._checked = now
            if self._cancel.exists():
                raise Cancelled(f"cancelled in {self._stage}", hint=f"remove {self._cancel} to run it again")
