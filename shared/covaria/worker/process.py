"""The parent's view of the stage's process: start it, hear it, stop it. Nothing here blocks."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import socket
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
    """Starts a stage; Nursery does it as a process of its own."""

    def __call__(self, order: Order, scratch: Path | None) -> RunningStage: ...


class Nursery:
    """The worker's hold on the process that stages are forked from (`covaria.worker.nursery`).

    It is started ahead, so that its imports are done when the first message comes; one that died is started again.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._process: subprocess.Popen[bytes] | None = None
        self._asking: socket.socket | None = None

    def __call__(self, order: Order, scratch: Path | None) -> RunningStage:
        """A stage at work."""
        stage = StageProcess(order)
        where = "-" if scratch is None else str(scratch)
        try:
            self._ask(stage, where)
        except BrokenPipeError:  # it has just died
            self.close()
            self._ask(stage, where)
        finally:
            stage.handed_over()
        return stage

    def start(self) -> None:
        """Start it where it does not run."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVARIA_BROKER")}
        with theirs:
            # No shell, and none of the words comes from a message.
            self._process = subprocess.Popen(  # nosec B603
                [sys.executable, "-m", "covaria.worker.nursery", self._stage],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )

    def close(self) -> None:
        """End it. It would end by itself, when nobody can ask any more."""
        if self._asking is not None:
            self._asking.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._asking = self._process = None

    def _ask(self, stage: StageProcess, scratch: str) -> None:
        self.start()
        assert self._asking is not None
        socket.send_fds(self._asking, [scratch.encode()], stage.theirs)


class StageProcess:
    """A running stage. Its own process group, so that what it starts goes with it.

    `theirs` are its ends of four pipes: stdin, output, reports, and what the nursery says of it.
    """

    def __init__(self, order: Order) -> None:
        pipes = [os.pipe() for _ in range(4)]
        self.theirs = [pipes[0][0], *(writing for _, writing in pipes[1:])]
        self._stdin = os.fdopen(pipes[0][1], "wb")
        output, reports, status = (os.fdopen(reading, "rb") for reading, _ in pipes[1:])
        self._extra = {"job_id": order.job_id, "stage": order.stage}
        self._reports: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._final: dict[str, Any] | None = None
        self._pid: int | None = None
        self._code: int | None = None
        self._ended = threading.Event()
        self._asked: list[int] = []
        self._birth = threading.Lock()
        self._threads = [
            threading.Thread(target=self._hear, args=(reports,), daemon=True),
            threading.Thread(target=self._relay, args=(output,), daemon=True),
            threading.Thread(target=self._follow, args=(status,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        # Beside: a process that hangs before it reads, with an order longer than the pipe, must not hold us up.
        line = json.dumps(asdict(order)) + "\n"
        threading.Thread(target=self._order, args=(self._stdin, line.encode()), daemon=True).start()

    def handed_over(self) -> None:
        """Its ends of the pipes are the nursery's now, or nobody's."""
        for descriptor in self.theirs:
            os.close(descriptor)

    @property
    def running(self) -> bool:
        """Whether the process still runs."""
        return not self._ended.is_set()

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
        self._ended.wait()
        self.kill()
        for thread in self._threads:
            thread.join(5)
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        final, code = self._final or {}, self._code
        if code == 0 and final.get("kind") == "done":
            return None
        tail = printable(" | ".join(list(self._last_lines)[-3:]))
        if code is None:  # the process that forked it was killed, and whatever became of it with it
            return Breakdown(signal=int(signal.SIGKILL), message=tail)
        if final.get("kind") == "error":
            return Breakdown.reported(final, code)
        if code < 0:
            return Breakdown(signal=-code, message=tail)
        return Breakdown(exit_code=code, message=f"exit code {code} and no report; last words: {tail}")

    def _signal(self, number: int) -> None:
        """Now, or as soon as it is born."""
        with self._birth:
            if self._pid is None:
                self._asked.append(number)
                return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, number)

    def _follow(self, stream: IO[bytes]) -> None:
        """Its number, then its exit code; an end before that: the nursery died."""
        with stream:
            born = stream.readline()
            if born:
                with self._birth:
                    self._pid = int(born)
                log.info("the stage's process is %d", self._pid, extra=self._extra)
                for number in self._asked:
                    self._signal(number)
                code = stream.readline()
                self._code = int(code) if code else None
                if not code:
                    self._signal(signal.SIGKILL)
        self._ended.set()

    def _order(self, stream: IO[bytes], line: bytes) -> None:
        try:
            stream.write(line)
            stream.flush()
        except (BrokenPipeError, ValueError):
            log.warning("the stage's process ended before it was told what to do", extra=self._extra)

    def _hear(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                try:
                    report = json.loads(line.decode("utf-8", "replace"))
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
