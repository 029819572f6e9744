"""Where the density lives.

The noise can be many times wider than the molecule's motion, so the estimates' own range would leave a few grid points
for the motion; each axis is therefore deconvolved alone, coarsely, and its mass bounds it.
"""

from __future__ import annotations

import numpy as np

from covaria.errors import InvalidInput
from covaria.estimation.density.blur import LatentGrid, build_blur
from covaria.estimation.density.latents import UncertainPoints
from covaria.estimation.density.solver import Array, solve_path

POINTS = {1: 400, 2: 128, 3: 48, 4: 20}
COARSE_POINTS = 400
COARSE_ALPHAS = tuple(10.0**power for power in range(1, -8, -1))
TAIL = 0.005
MARGIN = 0.2


def find_grid(latents: UncertainPoints, seed: int) -> LatentGrid:
    """The grid for the density of `latents`: bounds that hold 99 % of each axis's deconvolved mass, and a margin."""
    dim = latents.coordinates.shape[1]
    bounds = np.stack([axis_bounds(latents, axis, seed) for axis in range(dim)])
    return LatentGrid(bounds, POINTS[dim])


def axis_bounds(latents: UncertainPoints, axis: int, seed: int) -> Array:
    """[low, high] for one axis. Raises InvalidInput where the coordinates do not vary."""
    values = latents.coordinates[:, axis]
    variances = latents.covariances[:, axis, axis]
    low, high = np.quantile(values, [TAIL, 1 - TAIL])
    if not high > low:
        raise InvalidInput(
            f"latent coordinate {axis + 1} of zdim {latents.zdim} is the same in every particle",
            hint="leave the density out with --no-density",
        )
    grid = LatentGrid(np.array([[low, high]]), COARSE_POINTS)
    blur = build_blur(grid, values[:, None], variances[:, None, None], seed)
    mass = solve_path(grid, blur.observe(), COARSE_ALPHAS)[-1].mass
    reached = np.interp([TAIL, 1 - TAIL], np.cumsum(mass) - 0.5 * mass, grid.axis(0))
    # No deconvolution sees much finer than the noise: a narrower window would show one featureless spot.
    least = min(2 * float(np.sqrt(np.median(variances))), float(high - low))
    middle, width = reached.mean(), max(float(np.ptp(reached)), least)
    return np.array([middle - (0.5 + MARGIN) * width, middle + (0.5 + MARGIN) * width])
