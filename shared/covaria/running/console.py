"""What a person at the terminal sees of a run. That nobody looks any more never stops it."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console
from typing_extensions import override

from covaria.plain import printable


class PatientStream(io.TextIOBase):
    """stderr, as long as somebody reads it: a closed pipe or terminal, or a parent that was killed, is no error."""

    @override
    def write(self, text: str) -> int:
        try:
            return sys.stderr.write(text) if sys.stderr is not None else len(text)
        except (OSError, ValueError):
            return len(text)

    @override
    def flush(self) -> None:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except (OSError, ValueError):
            return

    @override
    def isatty(self) -> bool:
        try:
            return sys.stderr is not None and sys.stderr.isatty()
        except ValueError:
            return False


def patient_console() -> Console:
    """A console on stderr that a closed terminal does not stop."""
    return Console(file=PatientStream())  # type: ignore[arg-type]


class LineFormatter(logging.Formatter):
    """timestamp level stage message; a traceback follows on its own lines."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {stage} %(message)s")

    @override
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


TOLD = {"told": True}
"""Extra of a log line that people see also where they did not ask for all lines."""


class ScreenFormatter(logging.Formatter):
    """Local time, stage and message, the level only where it matters; no traceback (that is in run.log)."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"%(asctime)s %(shown)s{stage}: %(message)s", "%H:%M:%S")

    @override
    def format(self, record: logging.LogRecord) -> str:
        record.shown = "" if record.levelno <= logging.INFO else f"{record.levelname} "
        return super().format(record).split("\nTraceback", 1)[0]


class ConsoleHandler(logging.Handler):
    """Lines of run.log on the screen: warnings, and what is TOLD; with `verbose` all. `said` hears of each."""

    def __init__(self, console: Console, said: Callable[[], None], *, verbose: bool) -> None:
        super().__init__()
        self._console, self._said, self._verbose = console, said, verbose

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        return self._verbose or record.levelno > logging.INFO or getattr(record, "told", False)

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(printable(self.format(record)), markup=False, highlight=False, soft_wrap=True)
        self._said()
