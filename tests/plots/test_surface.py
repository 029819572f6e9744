"""Surfaces against solids whose outline and light are known."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.plots.surface import Camera, look_at, render, surface_level

AT = np.indices((40, 40, 40)) - 19.5
FRONT = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
"""Right is x, up is y, towards the viewer is z."""


def ball(radius: float, centre: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """A soft ball whose surface at 0.5 has the radius given."""
    away = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(AT, centre, strict=True)))
    return 1 / (1 + np.exp(2 * (away - radius)))


def test_a_ball_is_a_disk_of_its_radius_lit_from_above() -> None:
    picture = render(ball(8.0), 0.5, Camera(FRONT, 16.0), 200)
    covered = picture[..., 3] > 127
    assert covered.sum() == pytest.approx(np.pi * (8 / 32 * 200) ** 2, rel=0.03)
    assert (picture[~covered][:, 3] < 128).all()
    brightness = picture[..., :3].sum(-1).astype(float)
    assert brightness[70, 75] > 1.3 * brightness[130, 130], "the light comes from the upper left"


@pytest.mark.parametrize(
    ("centre", "row", "column"),
    [((0, 0, 10), 100, 162), ((0, 10, 0), 38, 100), ((0, -10, 0), 162, 100), ((10, 0, 0), 100, 100)],
)
def test_where_things_lie(centre: tuple[float, float, float], row: int, column: int) -> None:
    """x is to the right, y up, z towards the viewer."""
    covered = render(ball(3.0, centre), 0.5, Camera(FRONT, 16.0), 200)[..., 3] > 127
    assert np.argwhere(covered).mean(0) == pytest.approx((row, column), abs=1.5)


def test_what_is_nearer_hides_what_is_behind() -> None:
    shades = (AT[0], "gray", (-20.0, 20.0))
    both = np.maximum(ball(6.0, (-8, 0, 0)), ball(4.0, (8, 0, 0)))
    picture = render(both, 0.5, Camera(FRONT, 16.0), 100, shades=shades)
    assert picture[50, 50, 0] > 1.5 * picture[50, 34, 0], "the ball in front is the bright one (z = 12 against -5)"


def test_the_camera_lays_the_longest_axis_to_the_right() -> None:
    long = sum(ball(4.0, (x, 0.3 * x, 0)) for x in range(-12, 13, 3))
    camera = look_at(long, 0.5)
    covered = np.argwhere(render(long, 0.5, camera, 100)[..., 3] > 127)
    height, width = np.ptp(covered, axis=0)
    assert width > 2.5 * height
    assert covered.min() > 0 and covered.max() < 99, "all of it is seen"
    assert np.linalg.det(camera.axes[:, ::-1]) == pytest.approx(1), "nothing is mirrored"
    assert np.allclose(camera.turned(360).axes, camera.axes)
    assert camera.turned(90).axes[0] == pytest.approx(camera.axes[2])


def test_the_level_parts_the_particle_from_the_rest() -> None:
    noisy = ball(8.0) + 0.05 * np.random.default_rng(0).standard_normal(AT[0].shape)
    inside = noisy > surface_level(noisy)
    assert inside.sum() == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.15)


def test_nothing_to_see() -> None:
    empty = np.zeros((16, 16, 16))
    assert surface_level(empty) == 0
    assert not render(empty, 0.5, look_at(empty, 0.5), 20)[..., 3].any()
