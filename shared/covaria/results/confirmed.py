"""The particles' latent coordinates as the analysis uses them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.estimation.latents.model import Latents
from covaria.results.latents import RECONSTRUCT_AGAIN, read_latents, read_unregularised, stored_zdim
from covaria.results.particle_table import counting
from covaria.trajectory import Passage, Trajectory, passage_along
from covaria.tree import Tree
from covaria.tree.components import read_component_sizes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ConfirmedLatents:
    """Rows in the input file's order, NaN where excluded.

    coordinates  (N, k)  with prior, in density x voxel^(1/2); zero along components that are not confirmed
    deviations   (k,)    standard deviation of the motion along each component
    confirmed            how many leading components the half-sets confirm, at most k
    contrasts    (N,);   used (N,) of images that hold a particle
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


def load_latents(tree: Tree, zdim: int) -> ConfirmedLatents:
    """Raises MissingFile or InvalidInput where OUT holds no such latent coordinates."""
    found = read_latents(tree, stored_zdim(tree, zdim))
    sizes = read_component_sizes(tree)
    if len(sizes.eigenvalues) < zdim:
        raise InvalidInput(
            f"has {len(sizes.eigenvalues)} eigenvalues for zdim {zdim}", file=tree.params, hint=RECONSTRUCT_AGAIN
        )
    coordinates, confirmed = found.coordinates.astype(float), min(sizes.confirmed, zdim)
    coordinates[np.ix_(found.used, np.arange(zdim) >= confirmed)] = 0
    contrasts = found.contrasts.astype(float)
    used = found.used & counting(tree, len(found))
    return ConfirmedLatents(coordinates, sizes.deviations[:zdim], confirmed, contrasts, used)


def free_estimates(tree: Tree, latents: ConfirmedLatents) -> tuple[Array, Array]:
    """Of the rows in use, coordinates without a prior (n, confirmed) and the inverse covariances of their errors
    (n, confirmed, confirmed), in standard deviations of the motion; nothing moves along what is not confirmed."""
    return free_in_deviations(read_unregularised(tree, latents.zdim), latents.rows, latents)


def free_in_deviations(found: Latents, rows: NDArray[np.int64], scale: ConfirmedLatents) -> tuple[Array, Array]:
    """The same of the `rows` of any coordinates without a prior, in the standard deviations of a run's motion."""
    kept = slice(0, scale.confirmed)
    precisions = np.asarray(found.precision[rows], dtype=float)
    data = np.einsum("nij,nj->ni", precisions, np.asarray(found.coordinates[rows], dtype=float))[:, kept]
    precisions, deviations = precisions[:, kept, kept], scale.deviations[kept]
    coordinates = np.einsum("nij,nj->ni", np.linalg.pinv(precisions, hermitian=True), data)
    return coordinates / deviations, precisions * (deviations[:, None] * deviations)


def typical_error(tree: Tree, latents: ConfirmedLatents, most: int = 2000) -> Array:
    """(confirmed, confirmed) covariance of a typical particle's error, in standard deviations: the entries' medians."""
    known = read_latents(tree, latents.zdim)
    rows = latents.rows[:: max(1, len(latents.rows) // most)]
    covariances = np.linalg.pinv(np.asarray(known.precision[rows], dtype=float), hermitian=True)
    kept = latents.deviations[: latents.confirmed]
    cut = covariances[:, : latents.confirmed, : latents.confirmed] / (kept[:, None] * kept)
    middle: Array = np.median(cut, axis=0)
    return middle


def passage_of(tree: Tree, zdim: int, path: Trajectory) -> Passage:
    """What stands in the way along a path, seen with the typical error of OUT's particles."""
    latents, dim = load_latents(tree, zdim), path.density.dim
    error = np.eye(dim)
    known = min(dim, latents.confirmed)
    error[:known, :known] = typical_error(tree, latents)[:known, :known]
    scale = latents.deviations[:dim]
    return passage_along(path.points, path.density, len(latents.rows), error * scale[:, None] * scale)
