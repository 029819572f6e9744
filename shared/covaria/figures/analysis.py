"""The figures of analysis_<zdim>/plots, from the analysis' own files and what the earlier stages left."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from covaria import plots
from covaria.errors import InvalidInput
from covaria.figures.density import in_deviations
from covaria.figures.drawing import Drawing
from covaria.figures.volumes import small_volume
from covaria.maps import fsc, read_volume
from covaria.plots.latent import Ends, axis_label
from covaria.plots.surface import Camera, look_at, render, render_all, surface_level
from covaria.results.analysis import ClusterTable, read_clusters, read_paths, read_state_resolution
from covaria.results.confirmed import ConfirmedLatents, load_latents, typical_error
from covaria.results.populations import read_populations
from covaria.trajectory import DensityGrid
from covaria.tree import AnalysisTree, Tree

MOST_COMPONENTS = 6
END_SD = 2.0
THUMBNAIL = 160
STATE_PIXELS = 240


class AnalysisFigures:
    """What an analysis' figures are drawn from; each file is read when it is first needed.

    tree: the output directory; source: the analysis' folder; density: the one that its paths were found in, or None.
    """

    def __init__(self, tree: Tree, source: AnalysisTree, zdim: int, density: DensityGrid | None) -> None:
        self.tree, self.source, self.zdim, self.density = tree, source, zdim, density

    def drawings(self, target: AnalysisTree) -> Iterator[Drawing]:
        """One for each figure that this analysis has."""
        yield Drawing(target.contrast_histogram, self.contrasts)
        confirmed = self.latents.confirmed
        if confirmed == 0:
            return
        if confirmed == 1:
            yield Drawing(target.pca_single_plot, self.histogram)
        for first in range(min(confirmed, MOST_COMPONENTS) - 1):
            yield Drawing(target.pca_plot(first), partial(self.pair, first))
        if self.source.umap_embedding.is_file():
            yield Drawing(target.umap_plot, partial(self.flat, by_cluster=False))
            yield Drawing(target.umap_centers_plot, partial(self.flat, by_cluster=True))
        if self.density is not None:
            yield Drawing(target.density_plot, partial(self.density_map, with_centers=True))
            yield Drawing(target.density_plain_plot, partial(self.density_map, with_centers=False))
            if self.density.dim > 1:
                yield Drawing(target.density_slices_plot, self.slices)
        yield Drawing(target.states_plot, self.states)
        if self.source.populations_csv.is_file():
            yield Drawing(target.populations_plot, self.populations)
        for number in range(len(self.clusters.centers)):
            yield Drawing(target.state_picture(number), partial(self.state, number))
        yield Drawing(target.state_fsc_plot, self.state_fsc)
        yield Drawing(target.state_resolution_plot, self.state_resolution)

    @cached_property
    def latents(self) -> ConfirmedLatents:
        return load_latents(self.tree, self.zdim)

    @cached_property
    def clusters(self) -> ClusterTable:
        found = read_clusters(self.source)
        if len(found.labels) != len(self.latents.used) or found.centers.shape[1] != self.zdim:
            raise InvalidInput(
                f"holds labels {found.labels.shape} and centres {found.centers.shape} "
                f"for {len(self.latents.used)} particles at zdim {self.zdim}",
                file=self.source.kmeans_result,
                hint="run `covaria analyze` again",
            )
        return found

    @cached_property
    def centers(self) -> NDArray[np.float64]:
        """(K, confirmed) in standard deviations."""
        return self.latents.in_deviations(self.clusters.centers)

    @cached_property
    def paths(self) -> list[NDArray[np.float64]]:
        """Each (m, confirmed) in standard deviations."""
        return [self.latents.in_deviations(points) for points in read_paths(self.source)]

    @cached_property
    def shares(self) -> list[float]:
        """Of the confirmed variance, by component."""
        variance = self.latents.deviations[: self.latents.confirmed] ** 2
        return [float(value) for value in variance / variance.sum()]

    @cached_property
    def mean(self) -> NDArray[np.float32]:
        return small_volume(self.tree.mean_filtered)

    @cached_property
    def level(self) -> float:
        return surface_level(self.mean)

    @cached_property
    def camera(self) -> Camera:
        return look_at(self.mean, self.level)

    def contrasts(self, path: Path) -> object:
        return plots.plot_contrast_histogram(path, self.latents.contrasts)

    def histogram(self, path: Path) -> object:
        points = self.latents.in_deviations(self.latents.coordinates)[:, 0]
        return plots.plot_latent_histogram(path, points, self.centers[:, 0], self.clusters.shares, self.shares)

    def pair(self, first: int, path: Path) -> object:
        both = [first, first + 1]
        return plots.plot_scatter_with_centers(
            path,
            self.latents.in_deviations(self.latents.coordinates)[:, both],
            self.centers[:, both],
            title=f"Principal components {first + 1} and {first + 2}, k-means centres",
            x_label=axis_label(first, self.shares),
            y_label=axis_label(first + 1, self.shares),
            populations=self.clusters.shares,
            paths=tuple(line[:, both] for line in self.paths),
            error=self.error[np.ix_(both, both)],
            ends=(self.ends(first), self.ends(first + 1)),
        )

    @cached_property
    def error(self) -> NDArray[np.float64]:
        return typical_error(self.tree, self.latents)

    def ends(self, component: int) -> Ends:
        """The mean moved to both ends of a component."""
        step = END_SD * self.latents.deviations[component] * small_volume(self.tree.eigenvolume(component))
        low, high = (render(self.mean + side * step, self.level, self.camera, THUMBNAIL) for side in (-1, 1))
        return Ends(low, high, END_SD)

    def flat(self, path: Path, *, by_cluster: bool) -> object:
        """UMAP as counts or coloured by cluster; a centre is drawn at the particle nearest to it."""
        flat = np.asarray(np.load(self.source.umap_embedding, allow_pickle=False), dtype=float)
        rows, points = self.latents.rows, self.latents.in_deviations(self.latents.coordinates[self.latents.rows])
        nearest = [rows[((points - center) ** 2).sum(axis=1).argmin()] for center in self.centers]
        title = "UMAP, coloured by k-means cluster" if by_cluster else f"UMAP of {len(rows):,} particles"
        return plots.plot_scatter_with_centers(
            path,
            flat,
            flat[nearest],
            title=title,
            x_label="UMAP 1 (no unit)",
            y_label="UMAP 2 (no unit)",
            populations=self.clusters.shares,
            labels=self.clusters.labels if by_cluster else None,
        )

    def density_map(self, path: Path, *, with_centers: bool) -> object:
        shown = self.shown_density
        if not with_centers:
            return plots.plot_density(path, shown.values, shown.bounds, shares=self.shares)
        return plots.plot_density(
            path,
            shown.values,
            shown.bounds,
            title="Conformational density, its energy, k-means centres with their shares",
            centers=self.centers,
            populations=self.clusters.shares,
            paths=self.paths,
            shares=self.shares,
        )

    def slices(self, path: Path) -> object:
        return plots.plot_density_slices(path, self.shown_density.values, self.shown_density.bounds)

    @cached_property
    def shown_density(self) -> DensityGrid:
        """In standard deviations of the motion."""
        if self.density is None:
            raise ValueError("no density")
        return in_deviations(self.density, self.tree)

    @cached_property
    def names(self) -> list[str]:
        return [self.source.center(number).stem for number in range(len(self.clusters.centers))]

    @cached_property
    def pictures(self) -> list[NDArray[np.uint8]]:
        maps = [small_volume(self.source.center(number)) for number in range(len(self.names))]
        return render_all([partial(render, map_, self.level, self.camera, STATE_PIXELS) for map_ in maps])

    def states(self, path: Path) -> object:
        resolutions = [read_state_resolution(self.source.center_files(k).params) for k in range(len(self.names))]
        return plots.plot_states(path, self.pictures, self.names, self.clusters.counts.tolist(), resolutions)

    def populations(self, path: Path) -> object:
        found = read_populations(self.source)
        return plots.plot_populations(path, self.names, found.share, found.low, found.high, found.resolved)

    def state(self, number: int, path: Path) -> None:
        imsave(path, self.pictures[number])

    def state_fsc(self, path: Path) -> object:
        mask, pixel = read_volume(self.tree.dilated_mask)
        curves = []
        for number in range(len(self.names)):
            first, second = (read_volume(self.source.center_files(number).half(half))[0] for half in (1, 2))
            curves.append(fsc(first, second, mask))
        return plots.plot_state_fsc(path, curves, self.names, pixel, len(mask))

    def state_resolution(self, path: Path) -> object:
        inside = read_volume(self.tree.mask)[0] > 0.5
        values = [read_volume(self.source.center_files(k).local_resolution)[0][inside] for k in range(len(self.names))]
        known = [one[np.isfinite(one) & (one > 0)] for one in values]
        return plots.plot_state_resolution(path, known, self.names)
