"""Motion where weights are small takes part in the components by its weight; weights of 1 change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covaria.maps import soft_edge, write_volume
from covaria.request.model import ReconstructionOptions
from covaria_reconstruction.fitting import find_components


@pytest.fixture(scope="module")
def lower(moving) -> np.ndarray:
    """(D, D, D) True for the side of a plane through the middle of the true motion's energy."""
    energy = (moving.components()[1] ** 2).sum(0)
    total = np.cumsum(energy.sum((1, 2)))
    inside = np.zeros(energy.shape, bool)
    inside[: int(np.searchsorted(total, total[-1] / 2)) + 1] = True
    return inside


def deviations(solved) -> np.ndarray:
    """(D, D, D) density, root mean square over the images, of the motion in the confirmed components."""
    found = find_components(solved.problem, 2, 0)
    count = int(found.confirmed)
    assert count
    return np.sqrt(np.tensordot(found.eigenvalues[:count], found.eigenvolumes[:count] ** 2, 1))


def test_the_motion_counts_by_its_weight(moving, moving_mean, lower, solve_set, tmp_path: Path) -> None:
    write_volume(tmp_path / "ones.mrc", np.ones(lower.shape, np.float32), 8.0)
    whole = deviations(moving_mean)
    same = deviations(solve_set(moving, ReconstructionOptions(motion_weights=tmp_path / "ones.mrc")))
    np.testing.assert_allclose(same, whole, atol=1e-4 * whole.max())
    for weight in (0.4, 0.7):
        weights = 1 - (1 - weight) * soft_edge(lower)
        write_volume(tmp_path / "less.mrc", weights, 8.0)
        less = deviations(solve_set(moving, ReconstructionOptions(motion_weights=tmp_path / "less.mrc")))
        kept = [np.sqrt((less[side] ** 2).sum() / (whole[side] ** 2).sum()) for side in (lower, weights == 1)]
        assert kept[0] == pytest.approx(weight, rel=0.2)
        assert kept[1] == pytest.approx(1, rel=0.1)
