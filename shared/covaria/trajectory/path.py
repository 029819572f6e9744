"""The path of least cost between two points of a density.

Cost of a path: integral of ds / (rho / max rho + FLOOR). With rho ~ exp(-energy) the path stays in low energy; the
floor makes empty space dear, not impassable. The grid's cheapest path (skimage.graph.MCP_Geometric) can only turn by
grid directions; it is then relaxed between grid points with the same cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, optimize

from covaria.trajectory.density import DensityGrid

Array = NDArray[np.float64]
FLOOR = 1e-3
NODES = 60
QUADRATURE = 2000
POINTS = 200


@dataclass(frozen=True)
class DensityPath:
    """points (POINTS, d) at equal arc length, ends included; density (POINTS,) on them; costs in latent length."""

    points: Array
    density: Array
    cost: float
    straight_cost: float


def find_path(grid: DensityGrid, start: ArrayLike, end: ArrayLike) -> DensityPath:
    """The cheapest path from start (d,) to end (d,), latent coordinates. It never costs more than the straight line."""
    first, last = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    straight = np.stack([first, last])
    on_grid = resample(_grid_path(grid, first, last), NODES)
    candidates = [straight, on_grid, _relax(grid, on_grid), _relax(grid, resample(straight, NODES))]
    costs = [path_cost(grid, candidate) for candidate in candidates]
    best = int(np.argmin(costs))
    points = resample(candidates[best], POINTS)
    return DensityPath(points, grid.at(points), costs[best], costs[0])


def path_cost(grid: DensityGrid, points: ArrayLike) -> float:
    """Cost of the polygon through points (m, d), by fine quadrature."""
    fine = resample(points, QUADRATURE)
    lengths = np.linalg.norm(np.diff(fine, axis=0), axis=1)
    middles = 0.5 * (fine[1:] + fine[:-1])
    return float(np.sum(lengths / (grid.at(middles) / grid.values.max() + FLOOR)))


def resample(points: ArrayLike, count: int) -> Array:
    """`count` points at equal arc length along the polygon through points (m, k), ends included."""
    line = np.asarray(points, dtype=float)
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    wanted = np.linspace(0, lengths[-1], count)
    return np.stack([np.interp(wanted, lengths, column) for column in line.T], axis=1)


def at_equal_shares(points: ArrayLike, weights: ArrayLike, count: int) -> Array:
    """`count` points along the polygon through points (m, k), ends included, with equal shares of the weight (m,) for
    each unit of length between them."""
    line, weight = np.asarray(points, dtype=float), np.asarray(weights, dtype=float)
    lengths = np.linalg.norm(np.diff(line, axis=0), axis=1)
    between = 0.5 * (weight[1:] + weight[:-1]) + FLOOR * float(weight.max())
    covered = np.concatenate([[0.0], np.cumsum(lengths * between)])
    wanted = np.linspace(0, covered[-1], count)
    return np.stack([np.interp(wanted, covered, column) for column in line.T], axis=1)


def _grid_path(grid: DensityGrid, start: Array, end: Array) -> Array:
    from skimage.graph import MCP_Geometric

    cost = 1 / (grid.values / grid.values.max() + FLOOR)
    last = np.array(grid.values.shape) - 1
    begin, stop = (tuple(int(i) for i in np.clip(np.rint(grid.positions(point)), 0, last)) for point in (start, end))
    search = MCP_Geometric(cost, sampling=tuple(float(step) for step in grid.spacing))
    search.find_costs([begin], [stop])
    inner = np.array(search.traceback(stop), dtype=float) * grid.spacing + grid.bounds[:, 0]
    return np.concatenate([start[None], inner[1:-1], end[None]])


def _relax(grid: DensityGrid, line: Array) -> Array:
    """Move the inner nodes of an equally spaced line (m, d) downhill in cost, nodes kept evenly spread."""
    # Scaled by the line's own length and typical cost, so that one tolerance fits every data set.
    length = float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
    if length == 0:
        return line
    field = np.log(1 / (grid.values / grid.values.max() + FLOOR))
    coefficients = ndimage.gaussian_filter(field, 0.7, mode="nearest")
    slopes = [np.gradient(coefficients, step, axis=axis) for axis, step in enumerate(grid.spacing)]
    unit = path_cost(grid, line)

    def objective(inner: Array) -> tuple[float, Array]:
        nodes = np.concatenate([line[:1], inner.reshape(-1, grid.dim), line[-1:]])
        value, gradient = _discrete_cost(grid, coefficients, slopes, nodes)
        steps = np.diff(nodes, axis=0)
        # For a curve of given length sum |step|^2 is least where the nodes are evenly spread.
        stiffness = len(steps) / length**2
        value = value / unit + 0.1 * stiffness * float(np.sum(steps**2))
        pull = np.zeros_like(nodes)
        pull[1:] += steps
        pull[:-1] -= steps
        return value, (gradient / unit + 0.2 * stiffness * pull)[1:-1].ravel()

    inside = np.clip(line[1:-1], grid.bounds[:, 0], grid.bounds[:, 1])
    limits = np.tile(grid.bounds, (len(inside), 1))
    result = optimize.minimize(
        objective, inside.ravel(), jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": 200}
    )
    return np.concatenate([line[:1], result.x.reshape(-1, grid.dim), line[-1:]])


def _discrete_cost(grid: DensityGrid, log_cost: Array, slopes: list[Array], nodes: Array) -> tuple[float, Array]:
    positions = grid.positions(nodes).T
    cost = np.exp(ndimage.map_coordinates(log_cost, positions, order=1, mode="nearest"))
    slope = np.stack([ndimage.map_coordinates(one, positions, order=1, mode="nearest") for one in slopes], axis=1)
    steps = np.diff(nodes, axis=0)
    lengths = np.maximum(np.linalg.norm(steps, axis=1), 1e-300)
    mean = 0.5 * (cost[1:] + cost[:-1])
    gradient = np.zeros_like(nodes)
    pull = steps * (mean / lengths)[:, None]
    gradient[1:] += pull
    gradient[:-1] -= pull
    share = np.zeros(len(nodes))
    share[1:] += 0.5 * lengths
    share[:-1] += 0.5 * lengths
    gradient += (share * cost)[:, None] * slope
    return float(np.sum(mean * lengths)), gradient
