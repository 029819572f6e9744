"""Results of finished steps, kept on disk until their stage is done."""

from __future__ import annotations

import re
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from covaria.tree import Tree

FINGERPRINT = "fingerprint"


class NothingKept:
    """Checkpoints of a run that nobody resumes."""

    def load(self, name: str) -> None:
        """Nothing was kept."""

    def save(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Nothing is kept."""

    def forget_parts(self, name: str) -> None:
        """There are none."""


class NpzCheckpoints:
    """One .npz for each step of a stage, each written whole, with the tree's pen.

    They belong to one `fingerprint` (see covaria.request.identity): opened with another, the old ones are removed.
    One that a power cut tore counts as not finished.
    """

    def __init__(self, tree: Tree, stage: str, fingerprint: str) -> None:
        self.tree, self.folder = tree, tree.checkpoints(stage)
        mark = self.folder / FINGERPRINT
        if self.folder.exists() and not (mark.is_file() and mark.read_bytes() == fingerprint.encode()):
            tree.pen.remove(self.folder)
        if not self.folder.exists():
            tree.write_text(mark, fingerprint)

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of step `name`, or None where it was not finished."""
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (ValueError, EOFError, BadZipFile):
            return None

    def save(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Keep the arrays of step `name`, replacing earlier ones."""
        self.tree.pen.write(self._path(name), lambda file: np.savez(file, allow_pickle=False, **arrays))

    def forget_parts(self, name: str) -> None:
        """Step `name` is kept whole: what was kept beneath it, as `name`.part, is not needed any more."""
        for path in self.folder.glob(f"{self._path(name).stem}.*.npz"):
            self.tree.pen.remove(path)

    def clear(self) -> None:
        """The stage is done: nothing to resume."""
        self.tree.pen.remove(self.folder)

    def _path(self, name: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise ValueError(f"a checkpoint's name is letters, digits, '_', '.', '-': {name!r}")
        return self.folder / f"{name}.npz"
