"""What lies in an output directory, by kind, as job.json lists it and README.txt explains it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """A kind of output: its name in job.json, the patterns that find it, and one sentence for README.txt."""

    name: str
    patterns: tuple[str, ...]
    meaning: str


KINDS = (
    Kind("downsampled", ("downsampled/*",), "the images at the smaller box, with a STAR file for any other program"),
    Kind(
        "maps",
        ("output/volumes/mean*.mrc",),
        "the mean map; mean_filt is filtered to its local resolution, mean_half1/2_unfil are the half-maps",
    ),
    Kind("masks", ("output/volumes/*mask.mrc",), "the soft solvent mask and the dilated mask that was used"),
    Kind(
        "eigenvolumes",
        ("output/volumes/eigen_pos*.mrc",),
        "principal components of the motion, strongest first (the sum of squares over voxels is 1)",
    ),
    Kind(
        "variance_maps",
        ("output/volumes/variance*.mrc",),
        "where the density varies: variance from the first components",
    ),
    Kind(
        "model",
        ("model/*.pkl", "model/*.npz"),
        "eigenvalues, noise, half-sets and settings (plain pickles of numpy arrays)",
    ),
    Kind(
        "latent_coordinates",
        ("model/zdim_*/latent_coords*.npy",),
        "one row for each particle of the input file, in its order; NaN where a particle was left out; noreg: no prior",
    ),
    Kind(
        "latent_precision",
        ("model/zdim_*/latent_precision*.npy",),
        "how well each coordinate is known (inverse covariance)",
    ),
    Kind("contrasts", ("model/zdim_*/contrasts.npy",), "the contrast of each particle, mean 1"),
    Kind(
        "density",
        ("density/data/**/*.pkl", "data/deconv_density_knee.pkl", "data/all_densities/*.pkl"),
        "the conformational density: a grid of probabilities, its bounds, and the regularisation alpha",
    ),
    Kind(
        "clusters",
        ("analysis_*/kmeans/center*.mrc", "kmeans/center*.mrc"),
        "volumes at the k-means centres; centers.txt has their coordinates",
    ),
    Kind(
        "trajectories",
        ("analysis_*/traj*/state*.mrc", "traj*/state*.mrc"),
        "volumes along a path of least cost between two centres; path.json has the path",
    ),
    Kind(
        "analysis_data",
        ("analysis_*/data/*", "analysis_*/kmeans/centers.txt", "data/kmeans_*", "data/traj*", "kmeans/centers.txt"),
        "labels and centres of the clusters, end points of the trajectories",
    ),
    Kind(
        "plots",
        ("output/plots/**/*.png", "density/plots/**/*.png", "analysis_*/plots/**/*.png", "plots/**/*.png"),
        "figures: start with these",
    ),
)  # fmt: skip


def inventory(root: Path) -> dict[str, list[str]]:
    """Paths relative to `root` by kind, sorted; kinds that are not there are left out."""
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        paths = {
            str(path.relative_to(root)) for pattern in kind.patterns for path in root.glob(pattern) if path.is_file()
        }
        if paths:
            found[kind.name] = sorted(paths)
    return found
