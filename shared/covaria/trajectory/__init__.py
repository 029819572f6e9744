"""From one conformation to another: a density on a grid, the cheapest path through it, that path in every coordinate.

density = read_density(path)  or  estimate_density(latents)
trajectory = find_trajectory(density, start, end, latents)
trajectory.targets(6)      # (6, k) latent points at equal arc length, the ends included
"""

from covaria.trajectory.density import DensityGrid, estimate_density, marginal_density, read_density, write_density
from covaria.trajectory.lift import Trajectory, find_trajectory, lift_path, lift_point
from covaria.trajectory.passage import Passage, passage_along
from covaria.trajectory.path import DensityPath, find_path, path_cost, resample

__all__ = [
    "DensityGrid",
    "DensityPath",
    "Passage",
    "Trajectory",
    "estimate_density",
    "find_path",
    "find_trajectory",
    "lift_path",
    "lift_point",
    "marginal_density",
    "passage_along",
    "path_cost",
    "read_density",
    "resample",
    "write_density",
]
