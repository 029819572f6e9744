"""Where everything lies in an output directory. No other module builds these paths.

The classes take a root, so that a stage can write the same names in a staging folder:
`Tree(staged).volumes` is `staged/output/volumes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from covaria.tree import publish as publishing

HALVES = (1, 2)
"""File names count half-maps from 1; half-sets in arrays are 0 and 1."""


@dataclass(frozen=True)
class DensityTree:
    """The folder density/."""

    root: Path

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    @property
    def all_densities_plot(self) -> Path:
        return self.plots / "all_densities.png"

    @property
    def l_curve_plot(self) -> Path:
        return self.plots / "Lcurve.png"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def knee(self) -> Path:
        return self.data / "deconv_density_knee.pkl"

    def density(self, index: int) -> Path:
        """The density at alpha number `index`, largest alpha first."""
        return self.data / "all_densities" / f"deconv_density_{index}.pkl"


@dataclass(frozen=True)
class AnalysisTree:
    """The folder analysis_<zdim>/."""

    root: Path

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    @property
    def contrast_histogram(self) -> Path:
        return self.plots / "contrast_histogram.png"

    @property
    def pca_plots(self) -> Path:
        return self.plots / "PCA"

    def pca_plot(self, first: int) -> Path:
        """PC_01.png shows components 0 and 1, PC_12.png components 1 and 2."""
        return self.pca_plots / f"PC_{first}{first + 1}.png"

    @property
    def umap_plots(self) -> Path:
        return self.plots / "umap"

    @property
    def density_plots(self) -> Path:
        return self.plots / "density"

    @property
    def density_sliced_plots(self) -> Path:
        return self.plots / "density_sliced"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def kmeans_result(self) -> Path:
        return self.data / "kmeans_result.pkl"

    @property
    def trajectory_endpoints(self) -> Path:
        return self.data / "trajectory_endpoints.pkl"

    @property
    def kmeans(self) -> Path:
        return self.root / "kmeans"

    @property
    def centers_txt(self) -> Path:
        return self.kmeans / "centers.txt"

    def center(self, index: int) -> Path:
        return self.kmeans / f"center{index:03d}.mrc"

    def center_half(self, index: int, half: int) -> Path:
        """`half` is 1 or 2."""
        return self.kmeans / f"center{index:03d}_half{half}_unfil.mrc"

    def center_unfiltered(self, index: int) -> Path:
        return self.kmeans / f"center{index:03d}_unfil.mrc"

    def center_diagnostics(self, index: int) -> Path:
        return self.kmeans / "diagnostics" / f"center{index:03d}"

    def trajectory(self, index: int) -> Path:
        return self.root / f"traj{index:03d}"

    def state(self, trajectory: int, index: int) -> Path:
        return self.trajectory(trajectory) / f"state{index:03d}.mrc"

    def state_diagnostics(self, trajectory: int, index: int) -> Path:
        return self.trajectory(trajectory) / "diagnostics" / f"state{index:03d}"


@dataclass(frozen=True)
class Tree:
    """An output directory OUT: every documented path, and Covaria's own state beneath OUT/.covaria."""

    out: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))

    # ---- what a person reads first
    @property
    def job_json(self) -> Path:
        return self.out / "job.json"

    @property
    def command_txt(self) -> Path:
        return self.out / "command.txt"

    @property
    def run_log(self) -> Path:
        return self.out / "run.log"

    @property
    def readme(self) -> Path:
        return self.out / "README.txt"

    # ---- downsampled/
    @property
    def downsampled(self) -> Path:
        return self.out / "downsampled"

    def downsampled_stack(self, box: int) -> Path:
        return self.downsampled / f"particles.{box}.mrcs"

    def downsampled_star(self, box: int) -> Path:
        return self.downsampled / f"particles.{box}.star"

    # ---- model/
    @property
    def model(self) -> Path:
        return self.out / "model"

    @property
    def params(self) -> Path:
        return self.model / "params.pkl"

    @property
    def halfsets(self) -> Path:
        return self.model / "halfsets.pkl"

    @property
    def half_components(self) -> Path:
        return self.model / "half_components.npz"

    def zdim(self, zdim: int) -> Path:
        return self.model / f"zdim_{zdim}"

    def latent_coords(self, zdim: int) -> Path:
        return self.zdim(zdim) / "latent_coords.npy"

    def latent_coords_noreg(self, zdim: int) -> Path:
        return self.zdim(zdim) / "latent_coords_noreg.npy"

    def latent_precision(self, zdim: int) -> Path:
        return self.zdim(zdim) / "latent_precision.npy"

    def latent_precision_noreg(self, zdim: int) -> Path:
        return self.zdim(zdim) / "latent_precision_noreg.npy"

    def contrasts(self, zdim: int) -> Path:
        return self.zdim(zdim) / "contrasts.npy"

    def zdims(self) -> list[int]:
        """The latent dimensions that are there, ascending."""
        found = (re.fullmatch(r"zdim_(\d+)", path.name) for path in self.model.glob("zdim_*"))
        return sorted(int(match.group(1)) for match in found if match)

    # ---- output/
    @property
    def output(self) -> Path:
        return self.out / "output"

    @property
    def volumes(self) -> Path:
        return self.output / "volumes"

    @property
    def plots(self) -> Path:
        return self.output / "plots"

    @property
    def mean(self) -> Path:
        return self.volumes / "mean.mrc"

    @property
    def mean_filtered(self) -> Path:
        return self.volumes / "mean_filt.mrc"

    def mean_half(self, half: int) -> Path:
        """`half` is 1 or 2."""
        return self.volumes / f"mean_half{half}_unfil.mrc"

    @property
    def mask(self) -> Path:
        return self.volumes / "mask.mrc"

    @property
    def dilated_mask(self) -> Path:
        return self.volumes / "dilated_mask.mrc"

    @property
    def focus_mask(self) -> Path:
        return self.volumes / "focus_mask.mrc"

    def eigenvolume(self, index: int) -> Path:
        return self.volumes / f"eigen_pos{index:04d}.mrc"

    def variance(self, components: int) -> Path:
        return self.volumes / f"variance{components}.mrc"

    # ---- density/, analysis_<zdim>/
    @property
    def density(self) -> Path:
        return self.out / "density"

    @property
    def density_knee(self) -> Path:
        return DensityTree(self.density).knee

    def analysis(self, zdim: int) -> Path:
        return self.out / f"analysis_{zdim}"

    # ---- Covaria's own state
    @property
    def state(self) -> Path:
        return self.out / ".covaria"

    @property
    def request(self) -> Path:
        return self.state / "request.json"

    @property
    def cancel(self) -> Path:
        """Its presence cancels the job."""
        return self.state / "cancel"

    @property
    def particles(self) -> Path:
        return self.state / "particles.npz"

    @property
    def temporary(self) -> Path:
        return self.state / "tmp"

    def stage_dir(self, stage: str) -> Path:
        return self.state / "stages" / stage

    def stage_state(self, stage: str) -> Path:
        return self.stage_dir(stage) / "state.json"

    def stage_log(self, stage: str) -> Path:
        return self.stage_dir(stage) / "log"

    def stage_notes(self, stage: str) -> Path:
        """{"notes": [...]}: what a user should know of this stage's input or result; job.json repeats it."""
        return self.stage_dir(stage) / "notes.json"

    def checkpoints(self, stage: str) -> Path:
        return self.state / "checkpoints" / stage

    # ---- putting results in place
    def staging(self, stage: str) -> AbstractContextManager[Path]:
        """A fresh folder on this tree's filesystem for `stage`'s results; removed when the block ends."""
        return publishing.staging(self.temporary, stage)

    def publish(self, source: Path, target: Path) -> None:
        """Sync a finished file or folder and rename it to `target`; what was there is replaced."""
        publishing.publish(Path(source), Path(target), self.temporary)

    # ---- whose is it
    def owned(self) -> Iterator[Path]:
        """The entries of OUT that the tree code names and that exist. Nothing else is ever removed."""
        names = {"job.json", "command.txt", "run.log", "README.txt", "downsampled", "model", "output", "density"}
        if not self.out.is_dir():
            return
        for path in sorted(self.out.iterdir()):
            if path.name in names or path.name == ".covaria" or re.fullmatch(r"analysis_\d+", path.name):
                yield path

    @property
    def is_ours(self) -> bool:
        """Whether OUT carries Covaria's mark."""
        return self.state.is_dir()

    @property
    def is_empty(self) -> bool:
        """Whether OUT is absent or holds nothing."""
        return not self.out.exists() or (self.out.is_dir() and not any(self.out.iterdir()))

    def clear(self) -> None:
        """Remove every path of ours in OUT; the mark goes last, so that a killed clear is still recognised as ours."""
        for path in sorted(self.owned(), key=lambda path: path.name == ".covaria"):
            publishing.remove(path)
