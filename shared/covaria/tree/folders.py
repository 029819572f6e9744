"""The folders that one stage makes whole: volumes with their diagnostics, density/, analysis_<zdim>/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from covaria.tree.entry import Entry, Mount, Numbered, Part


@dataclass(frozen=True)
class Folder(Part):
    """A part that lies at `folder`."""

    folder: Path

    @property
    @override
    def root(self) -> Path:
        return self.folder


class Documents(Part):
    """What a person reads first in every folder of results."""

    job_json = Entry("job.json", "", "", "what ran: options, inputs, stages with their times, files by kind, errors")
    command_txt = Entry("command.txt", "", "", "the command lines")
    run_log = Entry("run.log", "", "", "one line an event: time, level, stage, message")
    readme = Entry("README.txt", "", "", "what ran, what each file is, how to open it, what to try next")


@dataclass(frozen=True)
class VolumeFiles(Part):
    """The files of one volume, center007 or state007, in `folder`."""

    folder: Path
    name: str

    @property
    @override
    def root(self) -> Path:
        return self.folder

    @override
    def named(self) -> Mapping[str, str]:
        return {"name": self.name}

    volume = Entry("{name}.mrc", "", "volumes", "the volume, filtered to its local resolution")
    half = Numbered("{name}_half{}_unfil.mrc", "", "volumes", "from half-set 1 or 2 alone, not filtered")
    unfiltered = Entry("{name}_unfil.mrc", "", "volumes", "the mean of the two halves, not filtered")
    local_resolution = Entry("diagnostics/{name}/local_resolution.mrc", "", "", "local resolution, angstrom")
    latent_coords = Entry("diagnostics/{name}/latent_coords.txt", "", "", "the latent point of the volume")
    distances = Entry(
        "diagnostics/{name}/heterogeneity_distances.txt", "", "", "each particle's distance from it; NaN where left out"
    )
    chosen_bandwidth = Entry(
        "diagnostics/{name}/chosen_bandwidth.npy", "", "", "which neighbourhood won, by band and place"
    )
    params = Entry("diagnostics/{name}/params.json", "", "", "neighbourhoods, their shares, resolution of the halves")
    params_pkl = Entry(
        "diagnostics/{name}/params.pkl", "", "",
        "{heterogeneity_bins, n_images_per_bin, fscs, ml_choice, voxel_size}: the same for RECOVAR's scripts",
    )  # fmt: skip
    split_choice = Entry(
        "diagnostics/{name}/split_choice.pkl", "", "", "{split_choice: (subvolume, shell) the heaviest candidate}"
    )
    sampling = Entry("diagnostics/{name}/sampling.mrc", "", "", "number of each voxel's subvolume; -1 outside the mask")

    @property
    def diagnostics(self) -> Path:
        return self.params.parent


@dataclass(frozen=True)
class SharpenedFiles(Part):
    """A volume that a person asked for, ready to be looked at and deposited: `VolumeFiles` has what it is made from."""

    folder: Path
    name: str

    @property
    @override
    def root(self) -> Path:
        return self.folder

    @override
    def named(self) -> Mapping[str, str]:
        return {"name": self.name}

    map = Entry(
        "{name}_postprocessed.mrc", "", "postprocessed",
        "of the half-maps: weighted by the corrected FSC, sharpened, low-passed at the resolution",
    )  # fmt: skip
    star = Entry(
        "diagnostics/{name}/postprocess.star", "", "postprocessed",
        "resolution, B-factor, FSC and Guinier tables as RELION writes them",
    )  # fmt: skip
    fsc_csv = Entry(
        "diagnostics/{name}/fsc.csv", "", "postprocessed", "FSC: unmasked, masked, of random phases, corrected"
    )
    fsc_plot = Entry("diagnostics/{name}/fsc_curves.{form}", "", "plots", "FSC unmasked and corrected")


class StatesTree(Folder):
    """A folder of state volumes, with or without the path that they lie on."""

    path_json = Entry("path.json", "", "", "the path: its points, its cost, where the volumes lie on it")
    latent_coords = Entry("latent_coords.txt", "", "", "the volumes' latent points, for numpy.loadtxt")
    _volumes = Mount("", VolumeFiles)

    def state(self, index: int) -> VolumeFiles:
        """The files of state `index`."""
        return VolumeFiles(self.root, f"state{index:03d}")


class ChosenStatesTree(StatesTree, Documents):
    """What `covaria state` and `covaria trajectory` write: volumes at points that a person chose."""

    points_txt = Entry("points.txt", "", "", "the latent points of `covaria state`, for numpy.loadtxt")
    mask = Entry("mask.mrc", "", "masks", "the soft mask that the FSC curves were taken in")
    _sharpened = Mount("", SharpenedFiles)

    def sharpened(self, index: int) -> SharpenedFiles:
        """The sharpened map of state `index`, and its curves."""
        return SharpenedFiles(self.root, f"state{index:03d}")


@dataclass(frozen=True)
class ParticleFiles(Part):
    """Some of a run's particles in the format of its source, in `folder`: of centre or state `name`, or `particles`."""

    folder: Path
    name: str = "particles"

    @property
    @override
    def root(self) -> Path:
        return self.folder

    @override
    def named(self) -> Mapping[str, str]:
        return {"group": self.name}

    star = Entry("{group}.star", "", "selected", "their rows of the source, all tables and columns as they were")
    cs = Entry("{group}.cs", "", "selected", "their rows of the source, all fields as they were")
    par = Entry("{group}.par", "", "selected", "their rows of the source, as they were")
    passthrough = Numbered("{group}_passthrough_{}.cs", "", "selected", "their rows of a passthrough file")
    csg = Entry("{group}.csg", "", "selected", "the result group that cryoSPARC imports")
    indices = Entry("{group}.pkl", "", "selected", "of a run from plain stacks: their row numbers, from 0")


class PostprocessTree(Folder, Documents):
    """What `covaria postprocess` makes of two half-maps."""

    map = Entry("postprocess.mrc", "", "postprocessed", "weighted by its FSC, sharpened, low-passed at the resolution")
    masked_map = Entry("postprocess_masked.mrc", "", "postprocessed", "the same inside the mask")
    mask = Entry("mask.mrc", "", "postprocessed", "the soft mask that was used")
    local_resolution = Entry("local_resolution.mrc", "", "postprocessed", "local resolution, angstrom")
    star = Entry(
        "postprocess.star", "", "postprocessed", "resolution, B-factor, FSC and Guinier tables as RELION writes them"
    )
    fsc_csv = Entry("fsc.csv", "", "postprocessed", "the FSC curves: unmasked, masked, of random phases, corrected")
    fsc_plot = Entry("fsc_curves.{form}", "", "plots", "FSC unmasked and corrected")


class DensityTree(Folder, Documents):
    """The folder density/."""

    all_densities_plot = Entry("plots/all_densities.{form}", "density", "plots", "the density at every alpha")
    l_curve_plot = Entry("plots/Lcurve.{form}", "density", "plots", "fit against roughness, the chosen alpha marked")
    basins_plot = Entry(
        "plots/basins.{form}", "density", "plots", "the density and its energy, with the stable states' populations"
    )
    knee = Entry(
        "data/deconv_density_knee.pkl", "density", "density",
        "the density at the chosen alpha: {density, latent_space_bounds, alpha, alpha_index, l_curve_knee_index}",
    )  # fmt: skip
    density = Numbered(
        "data/all_densities/deconv_density_{}.pkl", "density", "density", "the same at every alpha, largest first"
    )
    l_curve = Entry("data/l_curve.json", "density", "", "the curve as numbers, and how alpha was chosen")
    basins = Entry(
        "data/basins.json", "density", "density",
        "stable states: peaks, populations, the particle nearest to each peak, barriers between them in kT",
    )  # fmt: skip

    basin_labels = Entry(
        "data/basins.npy", "density", "density", "the basin of each point of the density's grid, -1: none"
    )

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    @property
    def data(self) -> Path:
        return self.root / "data"


class AnalysisTree(Folder, Documents):
    """The folder analysis_<zdim>/."""

    contrast_histogram = Entry("plots/contrast_histogram.{form}", "analysis", "plots", "the contrasts of all particles")
    pca_single_plot = Entry("plots/PCA/PC_0.{form}", "analysis", "plots", "the one latent coordinate, with centres")
    _pca_plot = Numbered("plots/PCA/PC_{}{}.{form}", "analysis", "plots", "two components, with centres and paths")
    umap_plot = Entry("plots/umap/umap.{form}", "analysis", "plots", "UMAP of the latent coordinates")
    umap_centers_plot = Entry("plots/umap/kmeans_centers.{form}", "analysis", "plots", "the same, coloured by cluster")
    umap_embedding = Entry("plots/umap/umap_embedding.npy", "analysis", "", "(N, 2); NaN where left out")
    umap_pickle = Entry("plots/umap/umap_embedding.pkl", "analysis", "", "the same as a pickle")
    density_plot = Entry(
        "plots/density/density.{form}", "analysis", "plots", "the density and its energy, with populations and paths"
    )
    density_plain_plot = Entry("plots/density/density_plain.{form}", "analysis", "plots", "the density alone")
    density_slices_plot = Entry(
        "plots/density_sliced/density_slices.{form}", "analysis", "plots", "slices of the density"
    )
    populations_plot = Entry(
        "plots/populations.{form}", "analysis", "plots", "population of each centre with its 90 % interval"
    )
    states_plot = Entry("plots/states.{form}", "analysis", "plots", "the map at every centre, one level, one camera")
    state_picture = Numbered("plots/states/center{:03d}.png", "analysis", "plots", "the map at one centre")
    state_fsc_plot = Entry("plots/state_fsc.{form}", "analysis", "plots", "FSC of the half-maps at each centre")
    state_resolution_plot = Entry(
        "plots/state_local_resolution.{form}", "analysis", "plots", "local resolution inside the mask at each centre"
    )
    explore = Entry("plots/explore.json", "analysis", "", "the cloud and the maps that report.html moves through")
    mean_movie = Entry("movies/mean.gif", "analysis", "movies", "the mean map turning, coloured by where it moves")
    component_movie = Numbered(
        "movies/component{:03d}.gif", "analysis", "movies", "the mean along a confirmed component, -2 to 2 sd"
    )
    trajectory_movie = Numbered("movies/traj{:03d}.gif", "analysis", "movies", "the volumes along a path")
    chimerax_script = Entry(
        "open.cxc", "analysis", "movies", "for ChimeraX: components, paths and centres as series, one level, one camera"
    )
    component_volume = Numbered(
        "components/component{:03d}/volume{:03d}.mrc", "analysis", "components",
        "the filtered mean moved along a confirmed component in ten steps, -2 to 2 sd; 128 voxels a side at most",
    )  # fmt: skip
    kmeans_result = Entry(
        "data/kmeans_result.pkl", "analysis", "analysis_data", "{centers: (K, zdim), labels: (N,), -1 where left out}"
    )
    trajectory_endpoints = Entry(
        "data/trajectory_endpoints.pkl", "analysis", "analysis_data", "{centers, pairs: [[i, j], ...]}"
    )
    centers_txt = Entry("kmeans/centers.txt", "analysis", "analysis_data", "(K, zdim), for numpy.loadtxt")
    populations_csv = Entry(
        "kmeans/populations.csv", "analysis", "analysis_data",
        "share of the particles that truly lie nearest to each centre, with a 90 % interval",
    )  # fmt: skip
    centers_again = Entry("kmeans/latent_coords.txt", "analysis", "", "the same under RECOVAR's second name")
    _centers = Mount("kmeans", VolumeFiles, "analysis")
    _basins = Mount("basins", VolumeFiles, "analysis")
    _of_basins = Mount("basins", ParticleFiles, "analysis")
    _particles = Mount("kmeans", ParticleFiles, "analysis")
    _trajectories = Mount("traj{:03d}", StatesTree, "analysis")

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    def pca_plot(self, first: int) -> Path:
        """PC_01.png shows components 0 and 1, PC_12.png components 1 and 2."""
        return self._pca_plot(first, first + 1)

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def kmeans(self) -> Path:
        return self.root / "kmeans"

    def center_files(self, index: int) -> VolumeFiles:
        """The files of centre `index`."""
        return VolumeFiles(self.kmeans, f"center{index:03d}")

    def center(self, index: int) -> Path:
        """The volume at centre `index`."""
        return self.center_files(index).volume

    @property
    def basins(self) -> Path:
        """The volumes at the peaks of the density's basins: state000.mrc ..."""
        return self.root / "basins"

    def basin_particles(self, index: int) -> ParticleFiles:
        """The files of the particles that lie in basin `index`."""
        return ParticleFiles(self.basins, f"state{index:03d}")

    def center_particles(self, index: int) -> ParticleFiles:
        """The files of the particles nearest to centre `index`."""
        return ParticleFiles(self.kmeans, f"center{index:03d}")

    def trajectory(self, index: int) -> StatesTree:
        """The folder of trajectory `index`."""
        return StatesTree(self.root / f"traj{index:03d}")
