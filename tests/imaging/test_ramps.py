"""Ramps of grey: found and taken off where all images have them, nothing touched where they have none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from covaria.imaging.ramps import Ramps, find_ramps
from covaria.simulation.backgrounds import gradients

COUNT, BOX = 256, 32


def noise(seed: int = 0) -> torch.Tensor:
    return torch.randn((COUNT, BOX, BOX), generator=torch.Generator().manual_seed(seed))


def ramps(height: float) -> torch.Tensor:
    angles = np.random.default_rng(1).uniform(0, 360, COUNT)
    return torch.as_tensor(gradients(angles, height, BOX))


@pytest.mark.parametrize("height", [1.0, 2.0, 8.0])
def test_what_is_left_is_the_error_of_the_fit(height: float) -> None:
    images = noise() + ramps(height)
    found = find_ramps(images)
    assert found.height(BOX) == pytest.approx(height, rel=0.4)
    left = found.taken_from(images) - noise()
    assert float(left.std()) < 0.08 < 0.28 * height < float(ramps(height).std()), "0.07 is the slopes' own error"


def test_a_ramp_scales_with_the_grey_levels() -> None:
    images = noise() + ramps(2)
    whole, part = find_ramps(images).taken_from(images), find_ramps(-3 * images).taken_from(-3 * images)
    torch.testing.assert_close(part, -3 * whole, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_images_without_ramps_are_not_touched(seed: int) -> None:
    images = noise(seed)
    found = find_ramps(images)
    assert found == Ramps() and found.taken_from(images) is images


def test_a_few_spoiled_images_say_nothing_of_the_others() -> None:
    images = noise()
    images[:20] += 20 * ramps(3)[:20]
    images[20:25] = 7.0
    assert find_ramps(images) == Ramps()


def test_constant_images_have_none() -> None:
    assert find_ramps(torch.ones((3, BOX, BOX))) == Ramps()
    images = noise() + ramps(2)
    images[0] = 5.0
    assert torch.equal(find_ramps(images).taken_from(images)[0], images[0])
