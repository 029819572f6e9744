"""Where everything lies in an output directory: the table. No other module builds these paths.

Its lines are the accessors. The inventory of job.json, README.txt, what may be removed, what may be published and
docs/outputs.md are read from it. The classes take a root, so that a stage can write the same names in a staging folder:
`Tree(staged).volumes` is `staged/output/volumes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from covaria.opening import is_own_folder
from covaria.tree import publish as publishing
from covaria.tree.atomic import json_bytes
from covaria.tree.entry import Entry, Mount, Numbered, Part, owned
from covaria.tree.folders import AnalysisTree, DensityTree, Documents
from covaria.tree.own_state import STATE, OwnState
from covaria.tree.pen import FREE, Pen
from covaria.tree.refined import RefinedFiles

_MAP, _MASK = "maps", "masks"
_LATENT = "latent_coordinates"


@dataclass(frozen=True)
class Tree(OwnState, Documents):
    """An output directory OUT: every documented path, and Covaria's own state beneath OUT/.covaria."""

    out: Path
    pen: Pen = FREE
    """With which right everything beneath OUT is written."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))

    @property
    @override
    def root(self) -> Path:
        return self.out

    crate = Entry(
        "ro-crate-metadata.json", "", "", "the run as an RO-Crate: inputs, options, versions and files with their sums"
    )
    report = Entry("report.html", "", "report", "what was found, on one page: figures, states, the command, warnings")

    # ---- downsampled/
    downsampled_stack = Numbered(
        "downsampled/particles.{}.mrcs", "ingest", "downsampled", "the images at the smaller box, all rows in order"
    )
    downsampled_part = Numbered(
        "downsampled/particles.{}.{:04d}.mrcs", "ingest", "downsampled",
        "of a growing set: the images that came with a later version",
    )  # fmt: skip
    downsampled_star = Numbered(
        "downsampled/particles.{}.star", "ingest", "downsampled", "their metadata, for any other program"
    )

    # ---- early/
    early_mean = Entry("early/mean.mrc", "reconstruction", "", "while the run goes on: the mean map")
    early_mean_plot = Entry(
        "early/mean.{form}", "reconstruction", "", "while the run goes on: its slices, with the mask"
    )

    # ---- model/
    params = Entry(
        "model/params.pkl", "reconstruction", "model",
        "eigenvalues `s`, noise, data sign, FSC curves, scale, options: a dict of numpy arrays and numbers",
    )  # fmt: skip
    particle_table = Entry(
        "model/particles.parquet", "reconstruction", "model",
        "a row for each particle: contrast, noise, probabilities of being empty or an outlier, pose error, weight",
    )  # fmt: skip
    sensitivity = Entry("model/sensitivity.csv", "reconstruction", "model", "which motions would have been confirmed")
    halfsets = Entry("model/halfsets.pkl", "reconstruction", "model", "two arrays of rows: the half-sets")
    particle_halfsets = Entry(
        "model/particles_halfsets.pkl", "reconstruction", "model", "the same by particle: each has one image"
    )
    metadata = Entry(
        "model/metadata.json", "reconstruction", "model", "box, voxel size, zdims, source, files of model/"
    )
    external = Entry("model/external.json", "reconstruction", "model", "latents from elsewhere: their file and columns")
    half_components = Entry(
        "model/half_components.npz", "reconstruction", "model", "mean and components of each half-set"
    )
    latent_coords = Numbered(
        "model/zdim_{}/latent_coords.npy", "reconstruction", _LATENT, "(N, zdim) float32, with the prior"
    )
    latent_coords_noreg = Numbered(
        "model/zdim_{}/latent_coords_noreg.npy", "reconstruction", _LATENT, "(N, zdim) float32, without a prior"
    )
    latent_precision = Numbered(
        "model/zdim_{}/latent_precision.npy", "reconstruction", "latent_precision",
        "(N, zdim, zdim) inverse covariance, with the prior",
    )  # fmt: skip
    latent_precision_noreg = Numbered(
        "model/zdim_{}/latent_precision_noreg.npy", "reconstruction", "latent_precision", "the same without a prior"
    )
    contrasts = Numbered("model/zdim_{}/contrasts.npy", "reconstruction", "contrasts", "(N,), mean 1")
    contrasts_noreg = Numbered(
        "model/zdim_{}/contrasts_noreg.npy", "reconstruction", "contrasts", "the same: they do not depend on the prior"
    )

    # ---- output/volumes/
    mean = Entry("output/volumes/mean.mrc", "reconstruction", _MAP, "the mean map")
    mean_filtered = Entry("output/volumes/mean_filt.mrc", "reconstruction", _MAP, "filtered to its local resolution")
    mean_local_resolution = Entry(
        "output/volumes/mean_local_resolution.mrc", "reconstruction", _MAP, "local resolution of the mean map, angstrom"
    )
    mean_half = Numbered(
        "output/volumes/mean_half{}_unfil.mrc", "reconstruction", _MAP, "half-map 1 or 2, not filtered"
    )
    mask = Entry("output/volumes/mask.mrc", "reconstruction", _MASK, "the soft solvent mask")
    dilated_mask = Entry("output/volumes/dilated_mask.mrc", "reconstruction", _MASK, "the mask that was used")
    focus_mask = Entry(
        "output/volumes/focus_mask.mrc",
        "reconstruction",
        _MASK,
        "where the components were looked for: without --focus-mask the mask that was used",
    )
    focus_part = Numbered("output/volumes/focus_part{:03d}.mrc", "reconstruction", _MASK, "one of several focus masks")
    motion_by_part = Entry(
        "output/motion_by_part.csv", "reconstruction", "model", "of several focus masks: each component's share in each"
    )
    eigenvolume = Numbered(
        "output/volumes/eigen_pos{:04d}.mrc", "reconstruction", "eigenvolumes", "a principal component, strongest first"
    )
    variance = Numbered(
        "output/volumes/variance{}.mrc",
        "reconstruction",
        "variance_maps",
        "variance from the first n components, from all where there are fewer",
    )

    # ---- output/refined_particles...
    _refined = Mount("output", RefinedFiles, "reconstruction")

    # ---- output/plots/
    mean_fsc_plot = Entry("output/plots/mean_fsc.{form}", "reconstruction", "plots", "FSC of the half-maps")
    noise_plot = Entry("output/plots/noise_spectrum.{form}", "reconstruction", "plots", "noise power by shell")
    eigenvalues_plot = Entry(
        "output/plots/eigenvalues.{form}", "reconstruction", "plots",
        "the held-out z-score that decides about each component, the eigenvalues, the components' FSC",
    )  # fmt: skip
    sensitivity_plot = Entry(
        "output/plots/sensitivity.{form}", "reconstruction", "plots", "which motions these images would have shown"
    )
    overview_plot = Entry(
        "output/plots/mean_variance_eigenvolumes.{form}", "reconstruction", "plots",
        "mean, deviation and components: slices through the largest variance, surfaces at -2 and +2 sd",
    )  # fmt: skip
    latent_pairs_plot = Entry(
        "output/plots/latent_pairs.{form}",
        "reconstruction",
        "plots",
        "latent coordinates in pairs, confirmed ones only",
    )
    contrast_histogram = Entry("output/plots/contrast_histogram.{form}", "reconstruction", "plots", "the contrasts")
    mask_plot = Entry("output/plots/mask.{form}", "reconstruction", "plots", "the masks over the mean map")
    local_resolution_plot = Entry(
        "output/plots/local_resolution.{form}", "reconstruction", "plots", "local resolution of the mean map"
    )
    angular_plot = Entry(
        "output/plots/angular_distribution.{form}", "reconstruction", "plots", "from where the particles are seen"
    )
    particles_plot = Entry(
        "output/plots/particles.{form}", "reconstruction", "plots", "particles by defocus and by micrograph"
    )

    # ---- folders of one stage
    _density = Mount("density", DensityTree, "density")
    _analysis = Mount("analysis_{}{label}", AnalysisTree, "analysis")

    # ---- folders
    @property
    def early(self) -> Path:
        return self.early_mean.parent

    @property
    def downsampled(self) -> Path:
        return self.out / "downsampled"

    @property
    def model(self) -> Path:
        return self.out / "model"

    def zdim(self, zdim: int) -> Path:
        return self.latent_coords(zdim).parent

    def zdims(self) -> list[int]:
        """The latent dimensions that are there, ascending."""
        found = (re.fullmatch(r"zdim_(\d+)", path.name) for path in self.model.glob("zdim_*"))
        return sorted(int(match.group(1)) for match in found if match)

    @property
    def output(self) -> Path:
        return self.out / "output"

    @property
    def refined(self) -> RefinedFiles:
        return RefinedFiles(self.output)

    @property
    def volumes(self) -> Path:
        return self.mean.parent

    @property
    def plots(self) -> Path:
        return self.mean_fsc_plot.parent

    @property
    def density(self) -> Path:
        return self.out / "density"

    @property
    def density_knee(self) -> Path:
        return DensityTree(self.density).knee

    def analysis(self, zdim: int, name: str | None = None) -> Path:
        """The folder of an analysis, of several the one of this name."""
        return self.out / (f"analysis_{zdim}" if name is None else f"analysis_{zdim}_{name}")

    @property
    def state(self) -> Path:
        return self.out / STATE

    @property
    def temporary(self) -> Path:
        return self.state / "tmp"

    def stage_dir(self, stage: str) -> Path:
        return self.stage_state(stage).parent

    def checkpoints(self, stage: str) -> Path:
        return self.state / "checkpoints" / stage

    # ---- putting results in place
    def staging(self, stage: str) -> AbstractContextManager[Path]:
        """A fresh folder on this tree's filesystem for `stage`'s results; removed when the block ends."""
        if self.pen.folder is not None:
            return publishing.staging(self.pen.folder, stage)
        self.temporary.mkdir(parents=True, exist_ok=True)
        return publishing.staging(self.temporary, stage)

    def publish(self, source: Path, target: Path, part: type[Part] | None = None) -> None:
        """Sync a finished file or folder and rename it to `target`; what was there is replaced.

        Raises UnlistedOutput for a file that the table does not name: that of `part` where `target` is a folder that
        the user named, else the place in OUT.
        """
        source, target = Path(source), Path(target)
        if part is None:
            publishing.refuse_unlisted(source, Tree, target.relative_to(self.out).as_posix() + "/")
        else:
            publishing.refuse_unlisted(source, part, "")
        if self.pen.folder is None:
            self.temporary.mkdir(parents=True, exist_ok=True)
        publishing.publish(source, target, self.pen.folder or self.temporary, self._may_publish)

    def _may_publish(self) -> None:
        self.pen.check()
        self.pen.publishing()

    def write_bytes(self, path: Path, data: bytes) -> None:
        """`data` at `path`: a reader sees the old file or the new one, never part of either."""
        self.pen.write(path, lambda file: file.write(data))

    def write_text(self, path: Path, text: str) -> None:
        """UTF-8 text, as `write_bytes`."""
        self.write_bytes(path, text.encode())

    def write_json(self, path: Path, value: object) -> None:
        """`covaria.tree.atomic.json_bytes`, as `write_bytes`."""
        self.write_bytes(path, json_bytes(value))

    # ---- whose is it
    def owned(self) -> Iterator[Path]:
        """The entries of OUT that the table names and that exist. Nothing else is ever removed."""
        return owned(Tree, self.out)

    @property
    def is_ours(self) -> bool:
        """Whether OUT carries Covaria's mark: a folder, no link, of somebody who may write in OUT."""
        return is_own_folder(self.state)

    @property
    def is_empty(self) -> bool:
        """Whether OUT is absent or holds nothing."""
        return not self.out.exists() or (self.out.is_dir() and not any(self.out.iterdir()))

    def clear(self) -> None:
        """Remove every path of ours in OUT; the mark goes last, so that a killed clear is still recognised as ours."""
        for path in sorted(self.owned(), key=lambda path: path.name == STATE):
            self.pen.remove(path)
