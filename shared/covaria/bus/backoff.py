"""When to try again: exponential waits with full jitter, so that a hundred workers do not return in one instant."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Waits of up to first, 2 first, 4 first ... cap seconds; `reset` after a success."""

    first_s: float = 0.5
    cap_s: float = 30.0
    uniform: Callable[[float, float], float] = random.uniform
    _failures: int = field(default=0, init=False)

    def next_wait_s(self) -> float:
        """Seconds to wait after one more failure: uniform between half the bound and the bound."""
        bound = min(self.cap_s, self.first_s * 2 ** min(self._failures, 16))
        self._failures += 1
        return self.uniform(bound / 2, bound)

    def reset(self) -> None:
        """Forget the failures."""
        self._failures = 0
