"""What a person at the terminal sees of a run. That nobody looks any more never stops it."""

from __future__ import annotations

import io
import logging
import sys
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import ProgressColumn, Task
from rich.text import Text
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


class RateColumn(ProgressColumn):
    """Units for each second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed else "", style="cyan")


class LineFormatter(logging.Formatter):
    """timestamp level stage message; a traceback follows on its own lines."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {stage} %(message)s")

    @override
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class ConsoleHandler(logging.Handler):
    """The lines of run.log above the progress bars, without tracebacks (those are in the log file)."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).split("\nTraceback", 1)[0]
        self._console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
