"""A small simulated set and all that is true of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from covaria.imaging.images import Images, read_images
from covaria.maps import read_volume
from covaria.particles import read_particles
from covaria.particles.model import Particles
from covaria.request.model import IngestOptions
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.ensemble import Ensemble
from covaria.testing.stack import MemoryStack


@dataclass(frozen=True, eq=False)
class TruthSet:
    """N images of S states, D voxels a side.

    volumes (S, D, D, D) densities; labels (N,) each image's state; contrasts (N,); noise (shells,) power of a DFT
    coefficient in grey levels
    """

    folder: Path
    particles: Particles
    volumes: np.ndarray
    labels: np.ndarray
    contrasts: np.ndarray
    noise: np.ndarray

    @staticmethod
    def simulated(folder: Path, states: Ensemble, options: SimulationOptions) -> TruthSet:
        """Make a set in `folder` and read it."""
        simulate(folder, states, options)
        truth = folder / "gt"
        return TruthSet(
            folder,
            read_particles(IngestOptions(particles=folder / "particles.star")),
            np.stack([read_volume(path)[0] for path in sorted(truth.glob("vol*.mrc"))]),
            np.loadtxt(truth / "labels.txt").astype(int),
            np.loadtxt(truth / "contrast.txt"),
            np.loadtxt(truth / "noise_variance.txt"),
        )

    def images(self) -> Images:
        """The images as an estimator holds them."""
        return read_images(self.particles)

    def with_pixels(self, pixels: np.ndarray) -> TruthSet:
        """The same set with other images (N, D, D)."""
        return replace(self, particles=replace(self.particles, images=MemoryStack(pixels)))

    @property
    def frequencies(self) -> np.ndarray:
        """(S,) share of the images in each state."""
        shares: np.ndarray = np.bincount(self.labels, minlength=len(self.volumes)) / len(self.labels)
        return shares

    @property
    def mean(self) -> np.ndarray:
        """(D, D, D) over the images."""
        mean: np.ndarray = np.tensordot(self.frequencies, self.volumes, 1)
        return mean

    def components(self) -> tuple[np.ndarray, np.ndarray]:
        """True eigenvalues (rank,) and eigenvolumes (rank, D, D, D)."""
        root = (self.volumes - self.mean).reshape(len(self.volumes), -1) * np.sqrt(self.frequencies)[:, None]
        values, vectors = np.linalg.eigh(root @ root.T)
        order = np.argsort(values)[::-1]
        rank = int((values > 1e-6 * max(values.max(), 1e-12)).sum())
        values, vectors = values[order][:rank], vectors[:, order][:, :rank]
        return values, ((vectors.T @ root) / np.sqrt(values)[:, None]).reshape(-1, *self.mean.shape)

    def coordinates(self) -> np.ndarray:
        """True latent coordinates of every image (N, rank), density x voxel^(1/2)."""
        eigenvolumes = self.components()[1].reshape(-1, self.mean.size)
        of_states = (self.volumes - self.mean).reshape(len(self.volumes), -1) @ eigenvolumes.T
        coordinates: np.ndarray = of_states[self.labels]
        return coordinates

    def captured(self, found: np.ndarray, count: int) -> float:
        """Variance of the true components captured by the first `count` found ones, over the best possible."""
        values, true = self.components()
        q = np.linalg.qr(found[:count].reshape(count, -1).T)[0]
        inside = ((true.reshape(len(true), -1) @ q) ** 2).sum(1)
        return float((values * inside).sum() / values[:count].sum())
