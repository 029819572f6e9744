"""Small sets with known truth, simulated once for all tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.mean.model import MeanModel, estimate_mean_model
from covaria.imaging.images import Images, read_images
from covaria.maps import read_volume
from covaria.particles import read_particles
from covaria.particles.model import Particles
from covaria.request.model import IngestOptions, ReconstructionOptions
from covaria.running.passes import Pass
from covaria.simulation import ensemble
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.testing import MemoryContext, MemoryStack
from covaria_reconstruction.stage import problem_of

BOX = 32


@dataclass
class TruthSet:
    """A simulated set, its truth and the images as the reconstruction holds them."""

    folder: Path
    particles: Particles
    volumes: np.ndarray
    labels: np.ndarray
    contrasts: np.ndarray
    noise: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        return np.tensordot(self.frequencies, self.volumes, 1)

    @property
    def frequencies(self) -> np.ndarray:
        return np.bincount(self.labels, minlength=len(self.volumes)) / len(self.labels)

    def images(self) -> Images:
        return read_images(self.particles)

    def components(self) -> tuple[np.ndarray, np.ndarray]:
        """True eigenvalues and eigenvolumes (rank, D, D, D)."""
        root = (self.volumes - self.mean).reshape(len(self.volumes), -1) * np.sqrt(self.frequencies)[:, None]
        values, vectors = np.linalg.eigh(root @ root.T)
        order = np.argsort(values)[::-1]
        rank = int((values > 1e-6 * max(values.max(), 1e-12)).sum())
        values, vectors = values[order][:rank], vectors[:, order][:, :rank]
        return values, ((vectors.T @ root) / np.sqrt(values)[:, None]).reshape(-1, *self.mean.shape)

    def captured(self, found: np.ndarray, count: int) -> float:
        """Variance of the true components captured by the first `count` found ones, over the best possible."""
        values, true = self.components()
        q = np.linalg.qr(found[:count].reshape(count, -1).T)[0]
        inside = ((true.reshape(len(true), -1) @ q) ** 2).sum(1)
        return float((values * inside).sum() / values[:count].sum())

    def with_pixels(self, pixels: np.ndarray) -> TruthSet:
        """The same set with other images."""
        return replace(self, particles=replace(self.particles, images=MemoryStack(pixels)))

    def coordinates(self) -> np.ndarray:
        """True latent coordinates of every image (N, rank), density units."""
        eigenvolumes = self.components()[1].reshape(-1, self.mean.size)
        return ((self.volumes - self.mean).reshape(len(self.volumes), -1) @ eigenvolumes.T)[self.labels]


def make(folder: Path, states: ensemble.Ensemble, **options) -> TruthSet:
    simulate(folder, states, SimulationOptions(box=BOX, pixel_size_angstrom=8.0, atom_sigma_angstrom=5.0, **options))
    particles = read_particles(IngestOptions(particles=folder / "particles.star"))
    truth = folder / "gt"
    return TruthSet(
        folder,
        particles,
        np.stack([read_volume(path)[0] for path in sorted(truth.glob("vol*.mrc"))]),
        np.loadtxt(truth / "labels.txt").astype(int),
        np.loadtxt(truth / "contrast.txt"),
        np.loadtxt(truth / "noise_variance.txt"),
    )


@pytest.fixture(scope="session")
def moving(tmp_path_factory) -> TruthSet:
    """1,000 images, SNR 0.3, three states."""
    return make(tmp_path_factory.mktemp("moving"), ensemble.discrete(3), n_images=1000, snr=0.3)


@pytest.fixture(scope="session")
def rigid(tmp_path_factory) -> TruthSet:
    """1,000 images, SNR 0.1, nothing moves."""
    return make(tmp_path_factory.mktemp("rigid"), ensemble.homogeneous(1), n_images=1000, snr=0.1)


@dataclass
class Solved:
    truth: TruthSet
    images: Images
    mean: MeanModel

    @property
    def problem(self) -> Problem:
        return problem_of(self.images, self.mean, Pass(MemoryContext()))


def solve(truth: TruthSet) -> Solved:
    images = truth.images()
    mean = estimate_mean_model(images, ReconstructionOptions(), Pass(MemoryContext()))
    return Solved(truth, images.signed(float(mean.data_sign)), mean)


@pytest.fixture(scope="session")
def solve_set():
    """Settles the mean model of a set."""
    return solve


@pytest.fixture(scope="session")
def solved_set(tmp_path_factory):
    """Simulates a set and settles its mean model: states and options -> Solved."""

    def make_and_solve(states: ensemble.Ensemble, **options) -> Solved:
        return solve(make(tmp_path_factory.mktemp("set"), states, **options))

    return make_and_solve


@pytest.fixture(scope="session")
def moving_mean(moving) -> Solved:
    return solve(moving)


@pytest.fixture(scope="session")
def plenty_mean(tmp_path_factory) -> Solved:
    """4,000 images of three states: enough for a shell's noise to be known to a percent."""
    return solve(make(tmp_path_factory.mktemp("plenty"), ensemble.discrete(3), n_images=4000, snr=0.1))


@pytest.fixture(scope="session")
def rigid_mean(rigid) -> Solved:
    return solve(rigid)
