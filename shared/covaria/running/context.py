"""What a stage asks of the world, on one machine: log, progress bars, device, memory, checkpoints, a way to stop."""

from __future__ import annotations

import logging
import signal
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typing_extensions import override

from covaria.errors import Cancelled, Interrupted
from covaria.plain import printable
from covaria.running.checkpoints import NpzCheckpoints
from covaria.running.devices import default_memory_bytes
from covaria.running.ranks import ALONE
from covaria.stage import Checkpoints, Ranks
from covaria.tree import Tree, record

CANCEL_POLL_S = 0.5
LOG_REFRESH_S = 5.0


class Stopper:
    """Turns the first SIGINT or SIGTERM into a request that the next `progress` honours.

    A second SIGINT raises KeyboardInterrupt. Use as a context manager in the main thread.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.asked: str = ""
        self._console = console
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
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


class RateColumn(ProgressColumn):
    """Units for each second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed else "", style="cyan")


@dataclass(frozen=True)
class _Passes:
    """Finished passes of one step, not yet logged."""

    step: str
    unit: str
    count: int = 0
    units: int = 0
    seconds: float = 0.0


class LocalContext:
    """A stage's context in this process. Use as a context manager: log file and bars live as long as the block."""

    def __init__(
        self,
        tree: Tree,
        stage: str,
        fingerprint: str,
        *,
        device: str = "cpu",
        memory_bytes: int | None = None,
        console: Console | None = None,
        stopper: Stopper | None = None,
    ) -> None:
        self.tree, self.stage, self.fingerprint = tree, stage, fingerprint
        self.device = device
        self.memory_bytes = memory_bytes or default_memory_bytes()
        self.checkpoints: Checkpoints = NpzCheckpoints(tree.checkpoints(stage), fingerprint)
        self.ranks: Ranks = ALONE
        self.log = logging.getLogger(f"covaria.run.{stage}")
        self.images = 0
        """The largest number of images that a step went through."""
        self._console = console or Console(stderr=True)
        self._stopper = stopper
        self._steps: dict[str, tuple[TaskID, float]] = {}
        self._checked = 0.0
        self._logged = time.monotonic()
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn(),
            console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._handlers: list[logging.Handler] = []
        self._passes: _Passes | None = None

    def __enter__(self) -> Self:
        log = self.tree.stage_log(self.stage)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._handlers = [logging.FileHandler(log, encoding="utf-8"), _ConsoleHandler(self._console)]
        for handler in self._handlers:
            handler.setFormatter(LineFormatter(self.stage))
            self.log.addHandler(handler)
        self.log.setLevel(logging.INFO)
        self.log.propagate = False
        self.log.addFilter(self._before_line)
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._log_passes()
        self.log.removeFilter(self._before_line)
        self._bars.stop()
        for handler in self._handlers:
            self.log.removeHandler(handler)
            handler.close()
        self._handlers.clear()

    def progress(self, step: str, done: int, total: int, unit: str = "images") -> None:
        """Show a step's progress, log its end, and notice a cancel file or a signal."""
        now = time.monotonic()
        if step not in self._steps:
            self._steps[step] = (self._bars.add_task(f"{self.stage}: {step}", total=total, unit=unit), now)
        task, started = self._steps[step]
        self._bars.update(task, completed=done, total=total)
        if unit == "images":
            self.images = max(self.images, total)
        if done >= total:
            if self._passes is not None and self._passes.step != step:
                self._log_passes()
            passes = self._passes or _Passes(step, unit)
            self._passes = replace(passes, count=passes.count + 1, units=passes.units + total,
                                   seconds=passes.seconds + now - started)  # fmt: skip
            self._bars.remove_task(task)
            del self._steps[step]
            if now - self._logged >= LOG_REFRESH_S:
                self._logged = now
                record.refresh_log(self.tree)
        self._check(now)

    def _log_passes(self) -> None:
        """One line for a finished step, or for several passes of the same step in a row."""
        passes, self._passes = self._passes, None
        if passes is None:
            return
        times = f" in {passes.count} passes" if passes.count > 1 else ""
        per_second = passes.units / max(passes.seconds, 1e-9)
        rate = f" ({per_second:,.0f}/s)" if passes.seconds > 0.05 and per_second >= 1 else ""
        self.log.info(
            "%s: %s %s%s in %.1f s%s", passes.step, f"{passes.units:,}", passes.unit, times, passes.seconds, rate
        )

    def _before_line(self, record: logging.LogRecord) -> bool:
        self._log_passes()
        return True

    def _check(self, now: float) -> None:
        if self._stopper is not None and self._stopper.asked:
            raise Interrupted(
                f"stopped by {self._stopper.asked} in {self.stage}", hint="run the same command again to resume"
            )
        if now - self._checked >= CANCEL_POLL_S:
            self._checked = now
            if self.tree.cancel.exists():
                raise Cancelled(f"cancelled in {self.stage}", hint=f"remove {self.tree.cancel} to run it again")


class LineFormatter(logging.Formatter):
    """timestamp level stage message; a traceback follows on its own lines."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {stage} %(message)s")

    @override
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class _ConsoleHandler(logging.Handler):
    """The same lines above the progress bars, without tracebacks (those are in the log file)."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).split("\nTraceback", 1)[0]
        self._console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
