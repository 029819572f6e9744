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

Array = NDArray[np.float64]


def choose_dimensions(options: DensityOptions, stored: list[int], folder: Path) -> tuple[int, int]:
    """(density's dimension, zdim read): as asked, else min(2, largest) and the smallest stored that holds it.

    Raises MissingFile where nothing is stored, InvalidInput where what was asked is not.
    """
    if not stored:
        raise MissingFile("holds no latent coordinates", file=folder, hint="run `covaria reconstruct` first")
    dim = options.dim if options.dim is not None else min(2, options.zdim or stored[-1])
    words = ", ".join(map(str, stored))
    if options.zdim is not None and options.zdim not in stored:
        raise InvalidInput(
            f"zdim {options.zdim} was not computed; stored: {words}", file=folder, hint="choose one of them"
        )
    zdim = options.zdim if options.zdim is not None else next((z for z in stored if z >= dim), 0)
    if zdim < dim:
        raise InvalidInput(
            f"a density in {dim} dimensions needs a zdim of at least {dim}; stored: {words}",
            file=folder,
            hint="lower --density-dim, or reconstruct with a larger --zdim",
        )
    return dim, zdim


def load_latents(tree: Tree, zdim: int, dim: int) -> Latents:
    """Read zdim's unregularised estimates and keep the first `dim` coordinates of the better-known particles."""
    coordinates = _load(tree.latent_coords_noreg(zdim), (None, zdim))
    precisions = _load(tree.latent_precision_noreg(zdim), (len(coordinates), zdim, zdim))
    finite = np.isfinite(coordinates).all(axis=1) & np.isfinite(precisions).all(axis=(1, 2))
    rows = np.flatnonzero(finite)
    covariances = marginal_covariances(precisions[rows], dim)
    kept = keep_precise(covariances)
    if kept.sum() < FEWEST_PARTICLES:
        raise InvalidInput(
            f"{int(kept.sum())} usable particles are too few for a density (needed: {FEWEST_PARTICLES})",
            file=tree.latent_coords_noreg(zdim),
            hint="leave the density out with --no-density",
        )
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
