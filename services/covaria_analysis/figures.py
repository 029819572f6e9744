"""The figures of an analysis folder."""

from __future__ import annotations

from collections.abc import Sequence

from covaria.plots import (
    plot_contrast_histogram,
    plot_density,
    plot_density_slices,
    plot_latent_histogram,
    plot_scatter_with_centers,
)
from covaria.plots.latent import LATENT_UNIT
from covaria.trajectory import DensityGrid, Trajectory
from covaria.tree import AnalysisTree
from covaria_analysis.clusters import Clusters
from covaria_analysis.latents import Array, ConfirmedLatents

MOST_COMPONENTS = 6


def draw_components(
    tree: AnalysisTree, latents: ConfirmedLatents, clusters: Clusters, trajectories: Sequence[Trajectory]
) -> None:
    """Contrast histogram; neighbouring pairs of the confirmed components with the centres and paths."""
    plot_contrast_histogram(tree.contrast_histogram, latents.contrasts)
    points, centers = latents.in_deviations(latents.coordinates), latents.in_deviations(clusters.centers)
    paths = [latents.in_deviations(trajectory.points) for trajectory in trajectories]
    if latents.confirmed == 1:
        plot_latent_histogram(tree.pca_single_plot, points[:, 0], centers[:, 0])
        return
    for first in range(min(latents.confirmed, MOST_COMPONENTS) - 1):
        pair = [first, first + 1]
        plot_scatter_with_centers(
            tree.pca_plot(first),
            points[:, pair],
            centers[:, pair],
            title=f"Principal components {first + 1} and {first + 2}, k-means centres",
            x_label=f"PC {first + 1} ({LATENT_UNIT})",
            y_label=f"PC {first + 2} ({LATENT_UNIT})",
            paths=tuple(path[:, pair] for path in paths),
        )


def draw_flat_map(tree: AnalysisTree, flat: Array, latents: ConfirmedLatents, clusters: Clusters) -> None:
    """UMAP as counts and coloured by cluster; a centre is drawn at the particle nearest to it."""
    centers = flat[clusters.nearest_rows(latents)]
    for path, title, labels in (
        (tree.umap_plot, f"UMAP of {len(latents.rows):,} particles", None),
        (tree.umap_centers_plot, "UMAP, coloured by k-means cluster", clusters.labels),
    ):
        plot_scatter_with_centers(
            path,
            flat,
            centers,
            title=title,
            x_label="UMAP 1 (no unit)",
            y_label="UMAP 2 (no unit)",
            labels=labels,
        )


def draw_density(
    tree: AnalysisTree,
    density: DensityGrid,
    latents: ConfirmedLatents,
    clusters: Clusters,
    trajectories: Sequence[Trajectory],
) -> None:
    """The density with centres and paths, and slices of it, in standard deviations of the motion."""
    scale = latents.deviations[: density.dim]
    values, bounds = density.values * scale.prod(), density.bounds / scale[:, None]
    plot_density(
        tree.density_plot,
        values,
        bounds,
        centers=latents.in_deviations(clusters.centers),
        paths=[latents.in_deviations(trajectory.points) for trajectory in trajectories],
    )
    plot_density(tree.density_plain_plot, values, bounds)
    if density.dim > 1:
        plot_density_slices(tree.density_slices_plot, values, bounds)
