"""Small sets with known truth, simulated once for all tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.mean.model import MeanModel, estimate_mean_model
from covaria.imaging.images import Images
from covaria.request.model import ReconstructionOptions
from covaria.running.passes import Pass
from covaria.simulation import ensemble
from covaria.simulation.dataset import SimulationOptions
from covaria.testing import MemoryContext, TruthSet
from covaria_reconstruction.fitting import problem_of

BOX = 32


def make(folder: Path, states: ensemble.Ensemble, **options) -> TruthSet:
    return TruthSet.simulated(
        folder, states, SimulationOptions(box=BOX, pixel_size_angstrom=8.0, atom_sigma_angstrom=5.0, **options)
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


def solve(truth: TruthSet, options: ReconstructionOptions | None = None) -> Solved:
    asked = ReconstructionOptions() if options is None else options
    images = replace(truth.images(), defocus_errors=asked.defocus_errors)
    mean = estimate_mean_model(images, asked, Pass(MemoryContext()))
    return Solved(truth, images.signed(float(mean.data_sign)), mean)


@pytest.fixture(scope="session")
def solve_set():
    """Settles the mean model of a set."""
    return solve


@pytest.fixture(scope="session")
def solved_set(tmp_path_factory):
    """Simulates a set and settles its mean model: states, options and how it is made -> Solved."""

    def make_and_solve(
        states: ensemble.Ensemble, *, options: ReconstructionOptions | None = None, **simulated
    ) -> Solved:
        return solve(make(tmp_path_factory.mktemp("set"), states, **simulated), options)

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
