"""A stage's context that lives in memory and remembers what it was told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from covaria.opening import ANYWHERE, Roots
from covaria.running.checkpoints import NothingKept
from covaria.running.ranks import ALONE
from covaria.stage import Checkpoints, Ranks
from covaria.tree import FREE, Pen


@dataclass
class MemoryCheckpoints:
    """Checkpoints that the next run in this process finds: arrays are copied in and out, as a file would."""

    kept: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        arrays = self.kept.get(name)
        return None if arrays is None else {key: value.copy() for key, value in arrays.items()}

    def save(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        self.kept[name] = {key: np.array(value) for key, value in arrays.items()}

    def forget_parts(self, name: str) -> None:
        for part in [other for other in self.kept if other.startswith(f"{name}.")]:
            del self.kept[part]


def heard_in_silence(step: str, done: int, total: int) -> None:
    """A listener that lets the stage go on."""


@dataclass
class MemoryContext:
    """`covaria.stage.Context` without a folder, a console or a broker.

    steps   every (step, done, total) that progress was told
    listen  hears them too; what it raises (Interrupted, Cancelled) stops the stage
    """

    device: str = "cpu"
    memory_bytes: int = 2 << 30
    checkpoints: Checkpoints = field(default_factory=NothingKept)
    ranks: Ranks = ALONE
    roots: Roots = ANYWHERE
    pen: Pen = FREE
    listen: Callable[[str, int, int], None] = heard_in_silence
    steps: list[tuple[str, int, int]] = field(default_factory=list)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("covaria.testing"))

    def progress(self, step: str, done: int, total: int, unit: str = "images") -> None:
        """Remember, and let `listen` hear."""
        self.steps.append((step, done, total))
        self.listen(step, done, total)
