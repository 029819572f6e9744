"""How noise smears a latent density: particles of like precision share one Gaussian kernel, applied by FFT.

Every class of particles has its own padded grid, fine enough for its own kernel and no finer, so the cost does not
depend on the number of particles, nor on how much wider than the density the noise is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.cluster.vq import kmeans2

SAMPLES_PER_SIGMA = {1: 3.0, 2: 2.5, 3: 2.0, 4: 1.6}
PADDING_SIGMAS = {1: 5.0, 2: 4.5, 3: 3.5, 4: 3.0}
CLASSES = {1: 24, 2: 32, 3: 12, 4: 6}
FEWEST_CLASSES, PARTICLES_PER_CLASS = 6, 80
BACKGROUND = 1e-3
"""Share of particles that no density inside the bounds explains (junk, failed poses), spread evenly."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LatentGrid:
    """`points` positions on each axis, from bounds[a, 0] to bounds[a, 1] inclusive."""

    bounds: Array
    points: int

    @property
    def dim(self) -> int:
        return len(self.bounds)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.points,) * self.dim

    @property
    def spacing(self) -> Array:
        return (self.bounds[:, 1] - self.bounds[:, 0]) / (self.points - 1)

    @property
    def cell(self) -> float:
        return float(self.spacing.prod())

    def axis(self, number: int) -> Array:
        return np.linspace(float(self.bounds[number, 0]), float(self.bounds[number, 1]), self.points)


@dataclass(frozen=True)
class Kernel:
    """One class of particles: its Gaussian blur on its own grid, and how a density on the latent grid reaches it."""

    start: Array
    step: Array
    binning: tuple[Array, ...]
    transfer: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(matrix) for matrix in self.binning)

    def expected(self, mass: Array) -> Array:
        """Probability of each bin of the class's grid, for probability masses on the latent grid."""
        return self._convolve(_along_axes(self.binning, mass))

    def transposed(self, values: Array) -> Array:
        """The transpose of `expected`."""
        return _along_axes(tuple(matrix.T for matrix in self.binning), self._convolve(values))

    def count(self, coordinates: Array, weights: Array) -> Array:
        """Particles (n, d) with weights (n,) spread linearly over the bins; those off the grid are left out."""
        positions = (coordinates - self.start) / self.step
        inside = ((positions >= 0) & (positions <= np.array(self.shape) - 1.001)).all(axis=1)
        low = np.floor(positions[inside]).astype(int)
        share = positions[inside] - low
        counts = np.zeros(self.shape)
        for corner in np.ndindex((2,) * len(self.shape)):
            part = np.where(np.array(corner) == 1, share, 1 - share).prod(axis=1)
            np.add.at(counts, tuple((low + corner).T), part * weights[inside])
        return counts

    def _convolve(self, values: Array) -> Array:
        blurred = fft.irfftn(fft.rfftn(values) * self.transfer, s=values.shape)
        return np.asarray(blurred, dtype=float)


def _along_axes(matrices: tuple[Array, ...], values: Array) -> Array:
    for axis, matrix in enumerate(matrices):
        values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
    return values


@dataclass(frozen=True)
class Observed:
    """Binned particles, one array of counts for each kernel: what a likelihood is made of."""

    kernels: tuple[Kernel, ...]
    counts: tuple[Array, ...]

    @property
    def particles(self) -> float:
        return float(sum(one.sum() for one in self.counts))

    def log_likelihood(self, mass: Array) -> tuple[float, Array]:
        """sum <counts, log((1 - b) K p + b / bins)> in nats (up to a constant), and its gradient by the masses."""
        total, gradient = 0.0, np.zeros_like(mass)
        for kernel, counts in zip(self.kernels, self.counts, strict=True):
            mixed = _mixed(kernel, mass)
            total += float(np.sum(counts * np.log(mixed)))
            gradient += (1 - BACKGROUND) * kernel.transposed(counts / mixed)
        return total, gradient

    def log_terms(self, mass: Array) -> tuple[Array, ...]:
        """The logarithm of each bin's probability, for each kernel."""
        return tuple(np.log(_mixed(kernel, mass)) for kernel in self.kernels)


def _mixed(kernel: Kernel, mass: Array) -> Array:
    expected = kernel.expected(mass)
    return (1 - BACKGROUND) * np.maximum(expected, 0) + BACKGROUND / expected.size


@dataclass(frozen=True)
class Blur:
    """Particles sorted into classes of like noise."""

    grid: LatentGrid
    coordinates: Array
    labels: NDArray[np.int64]
    kernels: tuple[Kernel, ...]

    def observe(self, weights: Array | None = None) -> Observed:
        """The particles binned, each counted `weights[i]` times (once where None)."""
        counted = np.ones(len(self.coordinates)) if weights is None else weights
        members = [self.labels == label for label in range(len(self.kernels))]
        counts = tuple(
            kernel.count(self.coordinates[rows], counted[rows])
            for kernel, rows in zip(self.kernels, members, strict=True)
        )
        return Observed(self.kernels, counts)


def build_blur(grid: LatentGrid, coordinates: Array, covariances: Array, seed: int) -> Blur:
    """Sort particles into classes of like covariance and give each class its kernel.

    coordinates  (N, d)     noisy estimates, in latent units
    covariances  (N, d, d)  of each estimate's error
    """
    classes = min(CLASSES[grid.dim], max(FEWEST_CLASSES, len(covariances) // PARTICLES_PER_CLASS))
    labels = classify(covariances, classes, seed)
    kernels = tuple(_build_kernel(grid, covariances[labels == label].mean(axis=0)) for label in range(labels.max() + 1))
    return Blur(grid, coordinates, labels, kernels)


def classify(covariances: Array, classes: int, seed: int) -> NDArray[np.int64]:
    """k-means of the matrix logarithms: classes alike in scale and in orientation. (N,) labels from 0."""
    values, vectors = np.linalg.eigh(covariances)
    logs = np.einsum("nij,nj,nkj->nik", vectors, np.log(values), vectors)
    upper = np.triu_indices(covariances.shape[1])
    features = logs[:, upper[0], upper[1]]
    distinct = len(np.unique(features, axis=0))
    if distinct <= 1:
        return np.zeros(len(features), dtype=np.int64)
    _, labels = kmeans2(features, min(classes, distinct), minit="++", seed=seed, missing="warn", iter=25)
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _build_kernel(grid: LatentGrid, covariance: Array) -> Kernel:
    # A kernel narrower than the grid cannot be told from one as wide as half a cell.
    covariance = covariance + np.diag((0.5 * grid.spacing) ** 2)
    narrowest = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))
    step = np.maximum(narrowest / SAMPLES_PER_SIGMA[grid.dim], 0.4 * grid.spacing)
    padding = PADDING_SIGMAS[grid.dim] * np.sqrt(np.diag(covariance))
    start = grid.bounds[:, 0] - padding
    spans = (np.ptp(grid.bounds, axis=1) + 2 * padding) / step
    lengths = tuple(fft.next_fast_len(ceil(span) + 2, real=True) for span in spans)
    binning = tuple(
        _binning_matrix((grid.axis(axis) - start[axis]) / step[axis], lengths[axis]) for axis in range(grid.dim)
    )
    # Counts are spread by the same triangle as the masses, so the two agree with the kernel as it is.
    return Kernel(start, step, binning, _transfer(covariance, lengths, step))


def _binning_matrix(positions: Array, length: int) -> Array:
    low = np.floor(positions).astype(int)
    share = positions - low
    matrix = np.zeros((length, len(positions)))
    matrix[low, np.arange(len(positions))] += 1 - share
    matrix[np.minimum(low + 1, length - 1), np.arange(len(positions))] += share
    return matrix


def _transfer(covariance: Array, lengths: tuple[int, ...], step: Array) -> Array:
    axes = [2 * np.pi * fft.fftfreq(n, d=float(h)) for n, h in zip(lengths[:-1], step[:-1], strict=True)]
    axes.append(2 * np.pi * fft.rfftfreq(lengths[-1], d=float(step[-1])))
    waves = np.stack(np.meshgrid(*axes, indexing="ij"))
    result: Array = np.exp(-0.5 * np.einsum("i...,ij,j...->...", waves, covariance, waves))
    return result
