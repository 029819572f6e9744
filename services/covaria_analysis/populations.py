"""How many particles belong to each centre, from what lies in OUT."""

from __future__ import annotations

from covaria import particles as particle_files
from covaria.estimation.populations.intervals import Populations, populations, units_of
from covaria.results.confirmed import ConfirmedLatents, free_estimates
from covaria.results.model import read_half_sets
from covaria.stage import Context
from covaria.tree import Tree
from covaria_analysis.clusters import Clusters


def populations_of(
    tree: Tree, latents: ConfirmedLatents, clusters: Clusters, seed: int, context: Context
) -> Populations:
    """Populations of the clusters' centres. Raises MissingFile and InvalidInput."""
    context.progress("populations", 0, 1, "estimates")
    halves = read_half_sets(tree, len(latents.used))[latents.rows].astype("int64")
    particles = particle_files.load(tree.particles, context.roots)
    together = None if particles.together is None else particles.together[latents.rows]
    coordinates, precisions = free_estimates(tree, latents)
    units = units_of(particles.micrograph[latents.rows], halves, together)
    centers = latents.in_deviations(clusters.centers)
    found = populations(coordinates, precisions, centers, units, halves, seed)
    context.progress("populations", 1, 1, "estimates")
    return found
