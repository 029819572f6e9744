"""Symmetric sets for all tests of this folder, simulated once."""

from __future__ import annotations

from pathlib import Path

import pytest

from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN

BOX, PIXEL = 32, 8.0


@pytest.fixture(scope="session")
def make_set(tmp_path_factory):
    """Simulates `n_images` images whose units are in one of three states each: options -> folder."""

    def make(states: str = "curved", count: int = 3, **options) -> Path:
        folder = tmp_path_factory.mktemp("set")
        given = {"box": BOX, "pixel_size_angstrom": PIXEL, "atom_sigma_angstrom": 5.0, "seed": 1} | options
        simulate(folder, BUILT_IN[states](count), SimulationOptions(**given))
        return folder

    return make


@pytest.fixture(scope="session")
def c4(make_set) -> Path:
    """Of C4, 60 images, SNR 2."""
    return make_set(n_images=60, snr=2.0, symmetry="C4")


@pytest.fixture(scope="session")
def helix(make_set) -> Path:
    """30 A and 50 degrees for each unit, 60 segments, next to no noise."""
    return make_set(n_images=60, snr=50.0, helix=(30.0, 50.0))
