"""Results of finished steps, kept on disk until their stage is done."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from covaria.tree import atomic
from covaria.tree.publish import remove

FINGERPRINT = "fingerprint"


class NpzCheckpoints:
    """One .npz for each step beneath `folder`, each written whole.

    They belong to one `fingerprint` (see covaria.request.identity): opened with another, the old ones are removed.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        mark = folder / FINGERPRINT
        if folder.exists() and not (mark.is_file() and mark.read_text() == fingerprint):
            remove(folder)
        if not folder.exists():
            atomic.write_text(mark, fingerprint)

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of step `name`, or None where it was not finished."""
        path = self._path(name)
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def save(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Keep the arrays of step `name`, replacing earlier ones."""
        atomic.save_npz(self._path(name), arrays)

    def forget_parts(self, name: str) -> None:
        """Step `name` is kept whole: what was kept beneath it, as `name`.part, is not needed any more."""
        for path in self.folder.glob(f"{self._path(name).stem}.*.npz"):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """The stage is done: nothing to resume."""
        remove(self.folder)

    def _path(self, name: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise ValueError(f"a checkpoint's name is letters, digits, '_', '.', '-': {name!r}")
        return self.folder / f"{name}.npz"
