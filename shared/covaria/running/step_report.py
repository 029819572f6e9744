"""One line of the log for each finished step."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class _Passes:
    """Finished passes of one step, not yet logged."""

    step: str
    unit: str
    count: int = 0
    units: int = 0
    seconds: float = 0.0


class StepReport:
    """Hears the progress of one stage."""

    def __init__(self, log: logging.Logger) -> None:
        self.images = 0
        """The largest number of images that a step went through."""
        self._log = log
        self._steps: dict[str, float] = {}
        """When each began."""
        self._passes: _Passes | None = None

    def __call__(self, step: str, done: int, total: int, unit: str) -> None:
        """A step's end is logged before the next line."""
        now = time.monotonic()
        started = self._steps.setdefault(step, now)
        if unit == "images":
            self.images = max(self.images, total)
        if done >= total:
            if self._passes is not None and self._passes.step != step:
                self.log_passes()
            passes = self._passes or _Passes(step, unit)
            self._passes = replace(passes, count=passes.count + 1, units=passes.units + total,
                                   seconds=passes.seconds + now - started)  # fmt: skip
            del self._steps[step]

    def log_passes(self) -> None:
        """One line for a finished step, or for several passes of the same step in a row."""
        passes, self._passes = self._passes, None
        if passes is None:
            return
        times = f" in {passes.count} passes" if passes.count > 1 else ""
        per_second = passes.units / max(passes.seconds, 1e-9)
        rate = f" ({per_second:,.0f}/s)" if passes.seconds > 0.05 and per_second >= 1 else ""
        self._log.info(
            "%s: %s %s%s in %.1f s%s", passes.step, f"{passes.units:,}", passes.unit, times, passes.seconds, rate
        )

    def before_line(self, record: logging.LogRecord) -> bool:
        """A filter of the log: what is finished is said before what comes next."""
        self.log_passes()
        return True
