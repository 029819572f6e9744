"""How near a finished run of a simulated set came to the truth: `python -m covaria.simulation.truth DATASET OUT`.

FSC: Fourier shell correlation of the mean map with the states' weighted mean. Captured variance: what part of the true
covariance's trace the first k eigenvolumes span, over the largest that any k directions could. Latent and contrast:
correlation with what was drawn by lot, the latents' over the good images (nothing beside the particle, a pose meant for
it), the contrast's over all.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from covaria.errors import MissingFile
from covaria.simulation.image_truth import ImageTruth, read_image_truth
from covaria.tree import Tree

MASK_LEVEL = 0.05
MASK_MARGIN_VOXELS = 2


@dataclass(frozen=True)
class Truth:
    """volumes (S, D, D, D) of the states; for each image labels (N,), latents (N, L), contrast (N,), and what its files
    do not say of it. Empty images have contrast 0; their label and latents say only what was drawn."""

    volumes: NDArray[np.float64]
    labels: NDArray[np.int64]
    latents: NDArray[np.float64]
    contrast: NDArray[np.float64]
    pixel_size_angstrom: float
    images: ImageTruth

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return np.bincount(self.labels, minlength=len(self.volumes)) / len(self.labels)

    @property
    def mean(self) -> NDArray[np.float64]:
        return np.tensordot(self.probabilities, self.volumes, 1)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where the particle is in any of its states, (D, D, D): above MASK_LEVEL of the highest, and near it."""
        inside = self.volumes.max(0) > MASK_LEVEL * self.volumes.max()
        return np.asarray(binary_dilation(inside, iterations=MASK_MARGIN_VOXELS), np.bool_)


def read_truth(dataset: Path) -> Truth:
    """What `covaria simulate` wrote in `dataset`/gt. Raises MissingFile, InvalidInput."""
    folder = dataset / "gt"
    paths = sorted(path for path in folder.glob("vol*.mrc") if re.fullmatch(r"vol\d+\.mrc", path.name))
    if not paths:
        raise MissingFile("no true volumes", file=folder, hint="give a folder that `covaria simulate` made")
    with mrcfile.open(paths[0], header_only=True) as header:
        pixel_size = float(header.voxel_size.x)
    return Truth(
        np.stack([np.asarray(mrcfile.read(path), np.float64) for path in paths]),
        np.loadtxt(folder / "labels.txt", dtype=np.int64, ndmin=1),
        np.loadtxt(folder / "latent.txt", ndmin=2).reshape(-1, _columns(folder / "latent.txt")),
        np.loadtxt(folder / "contrast.txt", ndmin=1),
        pixel_size,
        read_image_truth(dataset),
    )


def score(truth: Truth, tree: Tree) -> dict[str, float]:
    """The figures, by name. A run without components (--only-mean) has those of the mean alone."""
    curve = shell_correlation(_volume(tree.mean), truth.mean)
    figures = {
        "mean map: mean FSC to the truth": float(curve[1:].mean()),
        "mean map: resolution at FSC 0.5, A": _resolution(curve, 0.5, truth),
    }
    eigenvolumes = sorted(tree.volumes.glob("eigen_pos*.mrc"))
    heterogeneous = np.count_nonzero(truth.probabilities) > 1
    if eigenvolumes and heterogeneous:
        for count in (k for k in (1, 2, 4) if k <= len(eigenvolumes)):
            name = f"components: variance captured by {count}, of the possible"
            figures[name] = captured_variance(truth, [_volume(path) for path in eigenvolumes[:count]])
    zdims = tree.zdims()
    if zdims and heterogeneous:
        zdim = max((k for k in zdims if k <= 10), default=zdims[0])
        coordinates = np.load(tree.latent_coords(zdim))
        for column, latent in enumerate(truth.latents.T):
            if np.ptp(latent) > 0:
                best = best_rank_correlation(coordinates[truth.images.good], latent[truth.images.good])
                figures[f"latent {column}: best rank correlation with zdim {zdim}"] = best
    if zdims and truth.contrast.std() > 0:
        contrasts = np.load(tree.contrasts(zdims[-1]))
        known = np.isfinite(contrasts)
        figures["contrast: correlation"] = float(np.corrcoef(contrasts[known], truth.contrast[known])[0, 1])
    return figures


def shell_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """FSC of two volumes in shells round(|k|) = 0 .. D//2 - 1."""
    box = first.shape[0]
    k = np.fft.fftfreq(box, 1 / box)
    kx = np.arange(box // 2 + 1)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + kx**2)).astype(int).ravel()
    weight = np.broadcast_to(np.where((kx == 0) | (kx == box // 2), 1.0, 2.0), (box, box, box // 2 + 1)).ravel()
    a, b = (np.fft.rfftn(volume).ravel() for volume in (first, second))

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(shell, weight * values)[: box // 2].astype(np.float64)

    return sums((a * b.conj()).real) / np.maximum(np.sqrt(sums(np.abs(a) ** 2) * sums(np.abs(b) ** 2)), 1e-30)


def captured_variance(
    truth: Truth, eigenvolumes: list[NDArray[np.float64]], mask: NDArray[np.bool_] | None = None
) -> float:
    """Part of the true covariance within the span of `eigenvolumes`, over what as many of its own components hold; with
    a mask (D, D, D) of what lies inside it alone."""
    where = slice(None) if mask is None else mask.ravel()
    root = (truth.volumes - truth.mean).reshape(len(truth.volumes), -1) * np.sqrt(truth.probabilities)[:, None]
    root = root[:, where]
    basis, _ = np.linalg.qr(np.stack([volume.ravel()[where] for volume in eigenvolumes], axis=1))
    possible = np.sort(np.linalg.eigvalsh(root @ root.T))[::-1][: len(eigenvolumes)].sum()
    return float(((root @ basis) ** 2).sum() / possible)


def precision_recall(
    flagged: NDArray[np.bool_], planted: NDArray[np.bool_], good: NDArray[np.bool_]
) -> tuple[float, float]:
    """Of flagged images (N,) that are planted or good, how many are planted; of the planted, how many are flagged.

    Images spoiled in another way count for neither. NaN where nothing is flagged, or nothing planted.
    """
    hits, false = int((flagged & planted).sum()), int((flagged & good & ~planted).sum())
    total = int(planted.sum())
    return hits / (hits + false) if hits + false else np.nan, hits / total if total else np.nan


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's, ties averaged, over the rows where both are known."""
    known = np.isfinite(first) & np.isfinite(second)
    return float(np.corrcoef(_ranks(first[known]), _ranks(second[known]))[0, 1])


def best_rank_correlation(coordinates: NDArray[np.float64], latent: NDArray[np.float64]) -> float:
    """The largest magnitude that one of the coordinates (N, q) reaches with the latent (N,)."""
    return max(abs(rank_correlation(axis, latent)) for axis in coordinates.T)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _resolution(curve: NDArray[np.float64], threshold: float, truth: Truth) -> float:
    """Where the curve first falls below `threshold`, by linear interpolation; the last shell if it never does."""
    below = np.flatnonzero(curve[1:] < threshold) + 1
    length = truth.volumes.shape[1] * truth.pixel_size_angstrom
    if not len(below):
        return float(length / (len(curve) - 1))
    shell = below[0]
    step = (curve[shell - 1] - threshold) / (curve[shell - 1] - curve[shell])
    return float(length / (shell - 1 + step))


def _volume(path: Path) -> NDArray[np.float64]:
    if not path.is_file():
        raise MissingFile("not there", file=path, hint="give the output directory of a finished run")
    return np.asarray(mrcfile.read(path), np.float64)


def _columns(path: Path) -> int:
    with path.open() as file:
        return len(file.readline().split())


def main(arguments: Iterable[str] | None = None) -> None:
    """Print the scores of OUT against the truth of DATASET."""
    parser = argparse.ArgumentParser(
        prog="python -m covaria.simulation.truth", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("dataset", type=Path, help="what `covaria simulate` made")
    parser.add_argument("out", type=Path, help="what `covaria run` made of it")
    given = parser.parse_args(None if arguments is None else list(arguments))
    for name, figure in score(read_truth(given.dataset), Tree(given.out)).items():
        print(f"{name:<60}{figure:8.3f}")


if __name__ == "__main__":
    main()
