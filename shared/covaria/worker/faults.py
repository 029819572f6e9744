"""Fault injection for tests: a process that kills itself at a named point, as a power cut would."""

from __future__ import annotations

import os
import signal

from covaria.worker.effects import EFFECTS

PARENT_POINTS = ("received", *(effect.point for effect in EFFECTS))
"""Where a worker's parent process can be made to die: on a message's arrival and after every effect."""

CHILD_POINTS = ("child_started", "child_progress", "child_publish", "child_done")
"""Where the stage's process can be made to die."""

POINTS = PARENT_POINTS + CHILD_POINTS


class Faults:
    """Kills this process when the point named in COVARIA_CRASH_AT is passed."""

    def __init__(self, crash_at: str = "") -> None:
        if crash_at and crash_at not in POINTS:
            raise ValueError(f"no crash point {crash_at!r}; there are {', '.join(POINTS)}")
        self.crash_at = crash_at

    def passing(self, point: str) -> None:
        """The process is at `point`."""
        if point == self.crash_at:
            os.kill(os.getpid(), signal.SIGKILL)
