"""Point groups: closed, of the right order, with the axes where RELION has them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from covaria.errors import InvalidInput
from covaria.particles.symmetry import point_group

GOLDEN = (1 + 5**0.5) / 2


@pytest.mark.parametrize(
    ("name", "order"),
    [("C1", 1), ("c7", 7), ("D1", 2), ("D4", 8), ("T", 12), ("O", 24), ("I1", 60), ("I2", 60), ("I3", 60), ("I4", 60)],
)
def test_groups_are_groups(name, order):
    group = point_group(name)
    assert group.shape == (order, 3, 3)
    np.testing.assert_array_equal(group[0], np.eye(3))
    np.testing.assert_allclose(np.linalg.det(group), 1.0)
    products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 9)
    distance = np.abs(products[:, None] - group.reshape(1, -1, 9)).max(axis=2)
    assert distance.min(axis=1).max() < 1e-9  # closed
    assert (distance[:: order + 1] < 1e-9).sum(axis=1).max() == 1  # without repeats


@pytest.mark.parametrize("name", ["T", "O", "I1"])
def test_the_same_group_as_scipys_in_another_setting(name):
    """Rotation angles, how often each: the same whatever the setting."""
    ours = Rotation.from_matrix(point_group(name)).magnitude()
    theirs = Rotation.create_group(name[0]).magnitude()
    np.testing.assert_allclose(np.sort(ours), np.sort(theirs), atol=1e-7)


@pytest.mark.parametrize(
    ("name", "fold", "axis"),
    [
        ("C4", 4, (0, 0, 1)), ("D3", 3, (0, 0, 1)), ("D3", 2, (1, 0, 0)),
        ("T", 3, (0, 0, 1)), ("T", 2, (0, 0.816496, 0.577350)),
        ("O", 4, (1, 0, 0)), ("O", 4, (0, 0, 1)), ("O", 3, (1, 1, 1)),
        ("I1", 2, (1, 0, 0)), ("I1", 2, (0, 0, 1)), ("I1", 5, (0, 1, GOLDEN)), ("I1", 5, (GOLDEN, 0, -1)),
        ("I2", 2, (0, 1, 0)), ("I2", 2, (0, 0, 1)), ("I2", 5, (1, 0, GOLDEN)), ("I2", 3, (0, 0.356822, 0.934172)),
        ("I3", 5, (0, 0, 1)), ("I3", 2, (-1, 0, GOLDEN)), ("I3", 3, (-0.4911235, 0.3568221, 0.7946545)),
        ("I4", 5, (0, 0, 1)), ("I4", 2, (1, 0, GOLDEN)), ("I4", 5, (0.8944272, 0, 0.4472136)),
    ],
)  # fmt: skip
def test_axes_lie_where_relion_has_them(name, fold, axis):
    direction = np.array(axis, dtype=float) / np.linalg.norm(axis)
    turn = Rotation.from_rotvec(direction * 2 * np.pi / fold).as_matrix()
    assert np.abs(point_group(name) - turn).max(axis=(1, 2)).min() < 1e-5


@pytest.mark.parametrize("name", ["", "I", "C0", "C", "D101", "C1000000000", "Q3", "C4v", "../x", "C-1", "C4 D2"])
def test_unknown_names_are_refused(name):
    with pytest.raises(InvalidInput, match="not known"):
        point_group(name)
