"""The same steps once more, on other images: a context whose checkpoints bear other names."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from covaria.opening import Roots
from covaria.stage import Checkpoints, Context, Ranks
from covaria.tree import Pen


@dataclass(frozen=True)
class Renamed:
    """Other checkpoints, under names that begin with `prefix`."""

    prefix: str
    of: Checkpoints

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """As theirs."""
        return self.of.load(self.prefix + name)

    def save(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """As theirs."""
        self.of.save(self.prefix + name, arrays)

    def forget_parts(self, name: str) -> None:
        """As theirs."""
        self.of.forget_parts(self.prefix + name)


@dataclass(frozen=True)
class Again:
    """`context`, but for its checkpoints."""

    context: Context
    prefix: str

    @property
    def checkpoints(self) -> Checkpoints:
        return Renamed(self.prefix, self.context.checkpoints)

    @property
    def log(self) -> logging.Logger:
        return self.context.log

    @property
    def device(self) -> str:
        return self.context.device

    @property
    def memory_bytes(self) -> int:
        return self.context.memory_bytes

    @property
    def ranks(self) -> Ranks:
        return self.context.ranks

    @property
    def roots(self) -> Roots:
        return self.context.roots

    @property
    def pen(self) -> Pen:
        return self.context.pen

    def progress(self, step: str, done: int, total: int, unit: str = "images") -> None:
        """As the context's."""
        self.context.progress(step, done, total, unit)
