"""The particles' latent coordinates as the analysis uses them: on the confirmed components, in standard deviations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput, MissingFile
from covaria.tree import Tree
from covaria.tree.components import read_component_sizes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Latents:
    """Rows in the input file's order, NaN where excluded.

    coordinates  (N, k)  with prior, in density x voxel^(1/2); zero along components that are not confirmed
    deviations   (k,)    standard deviation of the motion along each component
    confirmed            how many leading components the half-sets confirm, at most k
    contrasts    (N,);   used (N,)
    """

    coordinates: Array
    deviations: Array
    confirmed: int
    contrasts: Array
    used: NDArray[np.bool_]

    @property
    def zdim(self) -> int:
        return len(self.deviations)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows in use, ascending."""
        return np.flatnonzero(self.used)

    def in_deviations(self, points: Array) -> Array:
        """Points (n, >= confirmed) in latent units -> (n, confirmed) in standard deviations."""
        return points[:, : self.confirmed] / self.deviations[: self.confirmed]

    def from_deviations(self, points: Array) -> Array:
        """Points (n, confirmed) in standard deviations -> (n, k) in latent units, zero where nothing is confirmed."""
        whole = np.zeros((len(points), self.zdim))
        whole[:, : self.confirmed] = points * self.deviations[: self.confirmed]
        return whole


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
    sizes = read_component_sizes(tree)
    if len(sizes.eigenvalues) < zdim:
        raise InvalidInput(
            f"has {len(sizes.eigenvalues)} eigenvalues for zdim {zdim}",
            file=tree.params,
            hint="run `covaria reconstruct` again",
        )
    used = np.asarray(np.isfinite(coordinates).all(axis=1))
    confirmed = min(sizes.confirmed, zdim)
    coordinates[np.ix_(used, np.arange(zdim) >= confirmed)] = 0
    return Latents(coordinates, sizes.deviations[:zdim], confirmed, contrasts, used)


def _load(path: Path) -> Array:
    if not path.is_file():
        raise MissingFile("is not there", file=path, hint="run `covaria reconstruct` first")
    result: Array = np.load(path, allow_pickle=False).astype(float)
    return result
