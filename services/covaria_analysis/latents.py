"""The particles' latent coordinates as the analysis uses them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput, MissingFile
from covaria.tree import Tree

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Latents:
    """coordinates (N, k) with prior, contrasts (N,), in the input file's row order, NaN where excluded; used (N,)."""

    coordinates: Array
    contrasts: Array
    used: NDArray[np.bool_]

    @property
    def zdim(self) -> int:
        result: int = self.coordinates.shape[1]
        return result

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows in use, ascending."""
        return np.flatnonzero(self.used)


def load_latents(tree: Tree, zdim: int) -> Latents:
    """Raises MissingFile or InvalidInput where OUT holds no such latent coordinates."""
    stored = tree.zdims()
    if zdim not in stored:
        words = ", ".join(map(str, stored)) or "none"
        raise InvalidInput(
            f"zdim {zdim} was not computed; stored: {words}", file=tree.model, hint="choose one of them with --zdim"
        )
    coordinates = _load(tree.latent_coords(zdim))
    contrasts = _load(tree.contrasts(zdim))
    if coordinates.ndim != 2 or coordinates.shape[1] != zdim or contrasts.shape != (len(coordinates),):
        raise InvalidInput(
            f"has shape {coordinates.shape} beside contrasts {contrasts.shape}, expected (N, {zdim}) and (N,)",
            file=tree.latent_coords(zdim),
            hint="run `covaria reconstruct` again",
        )
    return Latents(coordinates, contrasts, np.asarray(np.isfinite(coordinates).all(axis=1)))


def _load(path: Path) -> Array:
    if not path.is_file():
        raise MissingFile("is not there", file=path, hint="run `covaria reconstruct` first")
    result: Array = np.load(path, allow_pickle=False).astype(float)
    return result
