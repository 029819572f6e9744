"""A figure that can be drawn: where it goes, and what draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Drawing:
    """target: the figure's PNG; draw: makes it there, and its other files beside it."""

    target: Path
    draw: Callable[[Path], object]

    def make(self) -> None:
        """Draw it."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.draw(self.target)


def draw_all(drawings: Iterable[Drawing]) -> None:
    """Draw every one of them."""
    for drawing in drawings:
        drawing.make()
