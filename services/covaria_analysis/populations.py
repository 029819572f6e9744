"""How many particles belong to each centre: the estimate on what lies in OUT, and its table."""

from __future__ import annotations

import csv
import io

from covaria import particles as particle_files
from covaria.estimation.populations.intervals import Populations, populations, units_of
from covaria.results.confirmed import ConfirmedLatents, free_estimates
from covaria.results.model import read_half_sets
from covaria.stage import Context
from covaria.tree import AnalysisTree, Tree
from covaria.tree.atomic import write_text
from covaria_analysis.clusters import Clusters

COLUMNS = ("state", "particles", "share", "population", "low", "high", "resolved")


def populations_of(
    tree: Tree, latents: ConfirmedLatents, clusters: Clusters, seed: int, context: Context
) -> Populations:
    """Populations of the clusters' centres. Raises MissingFile and InvalidInput."""
    context.progress("populations", 0, 1, "estimates")
    halves = read_half_sets(tree, len(latents.used))[latents.rows].astype("int64")
    micrographs = particle_files.load(tree.particles, context.roots).micrograph[latents.rows]
    coordinates, precisions = free_estimates(tree, latents)
    units, centers = units_of(micrographs, halves), latents.in_deviations(clusters.centers)
    found = populations(coordinates, precisions, centers, units, halves, seed)
    context.progress("populations", 1, 1, "estimates")
    return found


def write_populations(out: AnalysisTree, clusters: Clusters, found: Populations) -> None:
    """kmeans/populations.csv: a line for each centre."""
    text, counts = io.StringIO(), clusters.counts
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for number, count in enumerate(counts):
        numbers = (count / counts.sum(), found.share[number], found.low[number], found.high[number])
        resolved = "yes" if found.resolved[number] else "no"
        table.writerow([out.center(number).stem, count, *(f"{value:.4f}" for value in numbers), resolved])
    write_text(out.populations_csv, text.getvalue())
