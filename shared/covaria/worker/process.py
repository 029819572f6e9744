"""The parent's view of the stage's process: start it, hear it, stop it. Nothing here blocks."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Protocol

from covaria.plain import printable
from covaria.worker.child import Order
from covaria.worker.failures import Breakdown

log = logging.getLogger(__name__)

KEPT_LINES = 40


class RunningStage(Protocol):
    """A stage at work, as its supervisor sees it. Nothing here blocks but `finish`, which is called after the end."""

    @property
    def pid(self) -> int: ...

    @property
    def running(self) -> bool: ...

    def reports(self) -> list[dict[str, Any]]:
        """Progress reports since the last call, oldest first."""

    def stop(self) -> None:
        """Ask the stage to stop at its next step."""

    def kill(self) -> None:
        """End it now, with all it started."""

    def finish(self) -> Breakdown | None:
        """After the end: None when the stage is done, else what went wrong."""


class StartStage(Protocol):
    """Starts a stage; StageProcess does it as a process of its own."""

    def __call__(self, order: Order, scratch: Path | None) -> RunningStage: ...


class StageProcess:
    """A running stage. Its own process group, so that what it starts goes with it."""

    def __init__(self, order: Order, scratch: Path | None) -> None:
        reading, writing = os.pipe()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVARIA_BROKER")}
        if scratch is not None:
            environment["TMPDIR"] = str(scratch)
        try:
            # No shell, and none of the words comes from a message.
            self._process = subprocess.Popen(  # nosec B603
                [sys.executable, "-m", "covaria.worker.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._extra = {"job_id": order.job_id, "stage": order.stage}
        self._reports: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._final: dict[str, Any] | None = None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._threads = [
            threading.Thread(
                target=self._hear, args=(os.fdopen(reading, encoding="utf-8", errors="replace"),), daemon=True
            ),
            threading.Thread(target=self._relay, args=(self._process.stdout,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        line = json.dumps({**asdict(order), "report_fd": writing}) + "\n"
        # Beside: a process that hangs before it reads, with an order longer than the pipe, must not hold us up.
        threading.Thread(target=self._order, args=(self._process.stdin, line.encode()), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def reports(self) -> list[dict[str, Any]]:
        """Progress reports since the last call, oldest first."""
        found = []
        while not self._reports.empty():
            found.append(self._reports.get())
        return found

    def stop(self) -> None:
        """Ask the stage to stop at its next step."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now, with all it started."""
        self._signal(signal.SIGKILL)

    def finish(self) -> Breakdown | None:
        """After the end: None when the stage is done, else what went wrong. Ends what the stage left running."""
        code = self._process.wait()
        self.kill()
        for thread in self._threads:
            thread.join(5)
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        final = self._final or {}
        if code == 0 and final.get("kind") == "done":
            return None
        if final.get("kind") == "error":
            return Breakdown.reported(final, code)
        tail = printable(" | ".join(list(self._last_lines)[-3:]))
        if code < 0:
            return Breakdown(signal=-code, message=tail)
        return Breakdown(exit_code=code, message=f"exit code {code} and no report; last words: {tail}")

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def _order(self, stream: IO[bytes], line: bytes) -> None:
        try:
            stream.write(line)
            stream.flush()
        except (BrokenPipeError, ValueError):
            log.warning("the stage's process ended before it was told what to do", extra=self._extra)

    def _hear(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                try:
                    report = json.loads(line)
                    kind = report["kind"]
                except (ValueError, TypeError, KeyError, RecursionError):
                    log.warning("not a report: %.200r", line, extra=self._extra)
                    continue
                if kind == "progress":
                    self._reports.put(report)
                else:
                    self._final = report

    def _relay(self, stream: IO[bytes]) -> None:
        with stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip()
                if line:
                    self._last_lines.append(line)
                    log.info("%s", line, extra=self._extra)
