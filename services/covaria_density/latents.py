"""What the density is made from: unregularised latent coordinates and how precisely each is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.estimation.density.latents import UncertainPoints, keep_precise, marginal_covariances
from covaria.request.model import MOST_DIMENSIONS, DensityOptions
from covaria.results.latents import read_unregularised
from covaria.results.particle_table import counting
from covaria.tree import Tree

FEWEST_PARTICLES = 40

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


def load_points(tree: Tree, zdim: int, dim: int) -> UncertainPoints:
    """Read zdim's unregularised estimates and keep the first `dim` coordinates of the better-known particles.

    Images that hold no particle have no place in it.
    """
    found = read_unregularised(tree, zdim)
    coordinates, precisions = found.coordinates.astype(float), found.precision.astype(float)
    rows = np.flatnonzero(found.used & np.isfinite(precisions).all(axis=(1, 2)) & counting(tree, len(found)))
    covariances = marginal_covariances(precisions[rows], dim)
    kept = keep_precise(covariances)
    return UncertainPoints(zdim, coordinates[rows[kept], :dim], covariances[kept], int(np.count_nonzero(~kept)))
