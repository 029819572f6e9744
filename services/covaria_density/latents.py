"""What the density is made from: unregularised latent coordinates and how precisely each is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput, MissingFile
from covaria.estimation.density.latents import Latents, keep_precise, marginal_covariances
from covaria.request.model import DensityOptions
from covaria.tree import Tree

FEWEST_PARTICLES = 40
MOST_DIMENSIONS = 4

Array = NDArray[np.float64]


def choose_dimensions(options: DensityOptions, confirmed: int, tree: Tree) -> tuple[int, int]:
    """(density's dimension, zdim read): as asked, but no more than the confirmed components, of which up to four.

    The zdim is the smallest stored that holds them. Raises InvalidInput where what was asked is not stored.
    """
    stored = tree.zdims()
    words = ", ".join(map(str, stored))
    if options.zdim is not None and options.zdim not in stored:
        raise InvalidInput(
            f"zdim {options.zdim} was not computed; stored: {words}", file=tree.model, hint="choose one of them"
        )
    most = options.zdim or stored[-1]
    if options.dim is not None and options.dim > most:
        raise InvalidInput(
            f"a density in {options.dim} dimensions needs a zdim of at least {options.dim}; stored: {words}",
            file=tree.model,
            hint="lower --density-dim, or reconstruct with a larger --zdim",
        )
    dim = min(options.dim or MOST_DIMENSIONS, confirmed, most)
    return dim, options.zdim or next(zdim for zdim in stored if zdim >= dim)


def load_latents(tree: Tree, zdim: int, dim: int) -> Latents:
    """Read zdim's unregularised estimates and keep the first `dim` coordinates of the better-known particles."""
    coordinates = _load(tree.latent_coords_noreg(zdim), (None, zdim))
    precisions = _load(tree.latent_precision_noreg(zdim), (len(coordinates), zdim, zdim))
    finite = np.isfinite(coordinates).all(axis=1) & np.isfinite(precisions).all(axis=(1, 2))
    rows = np.flatnonzero(finite)
    covariances = marginal_covariances(precisions[rows], dim)
    kept = keep_precise(covariances)
    return Latents(zdim, coordinates[rows[kept], :dim], covariances[kept], int(np.count_nonzero(~kept)))


def _load(path: Path, shape: tuple[int | None, ...]) -> Array:
    if not path.is_file():
        raise MissingFile("is not there", file=path, hint="run `covaria reconstruct` first")
    array = np.load(path, allow_pickle=False).astype(float)
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        wanted = " x ".join("N" if length is None else str(length) for length in shape)
        found = " x ".join(map(str, array.shape))
        raise InvalidInput(f"has shape {found}, expected {wanted}", file=path, hint="run `covaria reconstruct` again")
    result: Array = array
    return result
