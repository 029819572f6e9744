"""The right to write in an output folder, as a value that is handed down with the tree.

Everything that its holder writes is made in a folder of the holder's own, OUT/.covaria/tmp/<number>, and renamed into
place. Who takes OUT over renames that folder away first. From then on, whatever the old holder does, at whatever
instant it was stopped and woken, finds no source to rename: it changes nothing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from covaria.tree import atomic

RESERVE, RESERVE_BYTES = "reserve", 1 << 18


def nobody_else() -> None:
    """No check: nobody takes the folder over."""


@dataclass(frozen=True)
class Pen:
    """folder: where things are made, None beside their place. check: raises where the right to write was lost."""

    folder: Path | None = None
    check: Callable[[], None] = nobody_else
    publishing: Callable[[], None] = nobody_else
    """Called after `check` before results are put in place: for who wants to know."""

    def reserve(self) -> None:
        """Put a little room aside, so that on a full disk the end can still be noted."""
        if self.folder is not None:
            with suppress(OSError):
                (self.folder / RESERVE).write_bytes(bytes(RESERVE_BYTES))

    def use_reserve(self) -> None:
        """Give that room back."""
        if self.folder is not None:
            (self.folder / RESERVE).unlink(missing_ok=True)

    def write(self, target: Path, write: Callable[[BinaryIO], object]) -> None:
        """What `write` puts into a file, at `target`, whole or not at all. Raises what `check` raises, OSError."""
        with self._checked():
            atomic.write_stream(target, write, self.folder)

    def write_together(self, contents: Mapping[Path, bytes]) -> None:
        """Several files, each as `write` does."""
        with self._checked():
            atomic.write_together(contents, self.folder)

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """The right to write is looked at first, and where our folder is gone."""
        self.check()
        try:
            yield
        except FileNotFoundError:
            self.check()
            raise

    def remove(self, path: Path) -> None:
        """Delete a file or folder: first renamed into our own folder, so that it is ours to delete."""
        self.check()
        if self.folder is None or not os.path.lexists(path):
            atomic.remove(path)
            return
        aside = self.folder / f"removed-{secrets.token_hex(4)}"
        try:
            path.rename(aside)
        except FileNotFoundError:
            self.check()
            return
        atomic.remove(aside)


FREE = Pen()
