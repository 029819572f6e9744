"""A worker whose device does not compute takes no jobs: it is tried at the start and after a stage's device error.

Without this, one node with a broken driver fails every job in seconds and takes the next one.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from covaria.plain import printable
from covaria.worker.clock import Clock

log = logging.getLogger(__name__)

TRIAL_S = 180.0
AGAIN_AFTER_S = 60.0
"""A device that did not compute is tried again."""


def try_device(device: str) -> str:
    """What is wrong with `device`, asked in a process of its own; "" when it computes."""
    command = [sys.executable, "-m", "covaria.running.trial", device]
    try:
        # No shell; the device is the operator's setting.
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRIAL_S, check=False)  # nosec B603
    except subprocess.TimeoutExpired:
        return f"a small computation on {device} did not end within {TRIAL_S:.0f} s"
    if done.returncode == 0:
        return ""
    words = (done.stdout + done.stderr).strip().splitlines()
    return printable((words or ["no word"])[-1][:300])


@dataclass
class DeviceWatch:
    """Whether this worker's device computes."""

    device: str
    """"" where the stage needs none."""
    clock: Clock = field(default_factory=Clock)
    trial: Callable[[str], str] = try_device
    problem: str = ""
    """Why no job is to be taken; "" when all is well."""
    _due: float = float("-inf")

    def doubt(self) -> None:
        """A stage failed with a device error: try the device before the next job."""
        self._due = self.clock.monotonic()

    def look(self) -> None:
        """Try the device where that is due. Takes a while."""
        if not self.device.startswith("cuda") or self.clock.monotonic() < self._due:
            return
        self.problem = self.trial(self.device)
        self._due = self.clock.monotonic() + AGAIN_AFTER_S if self.problem else float("inf")
        if self.problem:
            log.error("no job is taken: device %s does not compute: %s", self.device, self.problem)
        else:
            log.info("device %s computes", self.device)
