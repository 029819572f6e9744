"""Time as a worker sees it: handed in, so that a test's clock runs as fast as the test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """A steady clock and a way to let it go on."""

    monotonic: Callable[[], float] = time.monotonic
    """Seconds since some moment."""
    sleep: Callable[[float], None] = time.sleep
