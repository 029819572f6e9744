"""A tilt series for all tests of this folder."""

from __future__ import annotations

import pytest
from tilting import ANGLES, Series, simulate


@pytest.fixture(scope="session")
def series(tmp_path_factory) -> Series:
    return simulate(tmp_path_factory.mktemp("tilts"), 120, ANGLES, 2.0)


@pytest.fixture(scope="session")
def simulate_series():
    """`simulate`"""
    return simulate
