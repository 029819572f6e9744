"""A density over the leading latent coordinates, on a regular grid: read from a file or estimated from particles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.pickles import load_pickle
from covaria.request.model import MOST_DIMENSIONS
from covaria.tree.atomic import write_pickle

Array = NDArray[np.float64]
POINTS = {1: 400, 2: 128, 3: 48, 4: 24}


@dataclass(frozen=True)
class DensityGrid:
    """values (n_1, ..., n_d), not negative; bounds (d, 2): latent coordinates of each axis's first and last point."""

    values: Array
    bounds: Array

    @property
    def dim(self) -> int:
        return self.values.ndim

    @property
    def spacing(self) -> Array:
        """Latent distance between neighbours on each axis."""
        result: Array = (self.bounds[:, 1] - self.bounds[:, 0]) / (np.array(self.values.shape) - 1)
        return result

    def positions(self, points: ArrayLike) -> Array:
        """Latent points (m, d) as fractional grid indices."""
        return (np.asarray(points, dtype=float) - self.bounds[:, 0]) / self.spacing

    def at(self, points: ArrayLike) -> Array:
        """The density at latent points (m, d), linear between grid points, the edge's value outside."""
        result: Array = ndimage.map_coordinates(self.values, self.positions(points).T, order=1, mode="nearest")
        return result


def read_density(path: Path, roots: Roots = ANYWHERE) -> DensityGrid:
    """A density file, as Covaria and RECOVAR write: {"density": (n,) * d, "latent_space_bounds": (d, 2), ...}.

    Loads builtins and numpy arrays only. Raises MissingFile, InvalidInput.
    """
    content = load_pickle(path, roots=roots, hint="run `covaria density` first, or give another --density")
    if not isinstance(content, dict) or not {"density", "latent_space_bounds"} <= content.keys():
        raise InvalidInput(
            "holds no dictionary with `density` and `latent_space_bounds`",
            file=path,
            hint="give a deconv_density_*.pkl",
        )
    return _checked(np.asarray(content["density"]), np.asarray(content["latent_space_bounds"]), path)


def marginal_density(density: DensityGrid, dim: int) -> DensityGrid:
    """The density of the first `dim` coordinates alone; as it is where it has no more."""
    if density.dim <= dim:
        return density
    beyond = tuple(range(dim, density.dim))
    cell = float(density.spacing[dim:].prod())
    return DensityGrid(density.values.sum(axis=beyond) * cell, density.bounds[:dim])


def write_density(path: Path, grid: DensityGrid, alpha: float, more: Mapping[str, int] | None = None) -> None:
    """As `read_density` reads it, with the regularisation that it was made with, and `more` about that."""
    values = {"density": grid.values, "latent_space_bounds": np.array(grid.bounds), "alpha": float(alpha)}
    write_pickle(path, values | dict(more or {}))


def _checked(values: NDArray[Any], bounds: NDArray[Any], path: Path) -> DensityGrid:
    found = f"density {values.shape}, bounds {bounds.shape}"
    right_kind = values.dtype.kind in "fiu" and bounds.dtype.kind in "fiu"
    if (
        not right_kind
        or not 1 <= values.ndim <= MOST_DIMENSIONS
        or bounds.shape != (values.ndim, 2)
        or min(values.shape) < 2
    ):
        raise InvalidInput(
            f"has {found}; expected 1 to {MOST_DIMENSIONS} axes of at least 2 points and bounds (dim, 2)", file=path
        )
    density, limits = values.astype(float), bounds.astype(float)
    if not (np.isfinite(density).all() and np.isfinite(limits).all() and density.max() > 0 and density.min() >= 0):
        raise InvalidInput("has negative, infinite or only zero density", file=path)
    if not (limits[:, 1] > limits[:, 0]).all():
        raise InvalidInput("has bounds that do not ascend", file=path)
    return DensityGrid(density, limits)


def estimate_density(latents: ArrayLike, dim: int | None = None) -> DensityGrid:
    """Kernel density of the first `dim` coordinates (default: up to 3) of particles (N, k), Silverman's bandwidth.

    For when no deconvolved density is at hand: it shows the estimates, blurred by their noise. NaN rows are left out.
    """
    points = np.asarray(latents, dtype=float)
    points = points[np.isfinite(points).all(axis=1)]
    dim = min(points.shape[1], 3) if dim is None else dim
    points = points[:, :dim]
    if len(points) < 2:
        raise InvalidInput(f"{len(points)} particles make no density", hint="check how many particles were excluded")
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    width = np.maximum(high - low, 1e-6 * max(float(np.abs(points).max()), 1e-12))
    bounds = np.stack([low - 0.15 * width, high + 0.15 * width], axis=1)
    edges = [np.linspace(*(_outer(limits, POINTS[dim])), POINTS[dim] + 1) for limits in bounds]
    counts, _ = np.histogramdd(points, bins=edges)
    spacing = (bounds[:, 1] - bounds[:, 0]) / (POINTS[dim] - 1)
    bandwidth = points.std(axis=0) * (len(points) * (dim + 2) / 4) ** (-1 / (dim + 4))
    smooth = ndimage.gaussian_filter(counts, np.maximum(bandwidth / spacing, 0.7), mode="constant")
    return DensityGrid(smooth / (smooth.sum() * spacing.prod()), bounds)


def _outer(limits: Array, points: int) -> tuple[float, float]:
    """Bin edges whose centres run from limits[0] to limits[1]."""
    half = 0.5 * float(limits[1] - limits[0]) / (points - 1)
    return float(limits[0]) - half, float(limits[1]) + half
