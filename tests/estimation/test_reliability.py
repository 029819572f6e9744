"""Outlying bands, noise levels and empty images, from numbers drawn with known truth."""

import numpy as np
import pytest

from covaria.estimation.reliability.bands import DEAD, band_noise
from covaria.estimation.reliability.empties import contrast_mixture
from covaria.imaging.bands import band_freedom, band_limits

BOX = 64
FREEDOM = band_freedom(BOX)
ONE_GROUP = np.zeros(2000, np.int64)


def powers(rng: np.random.Generator, count: int = 2000) -> np.ndarray:
    return rng.chisquare(FREEDOM, (count, len(FREEDOM))) / FREEDOM


def test_bands_cover_the_plane():
    assert band_limits(64) == (1, 2, 3, 5, 8, 12, 18, 27, 31)
    assert band_limits(256)[-3:] == (60, 90, 127)
    assert band_limits(48) == (1, 2, 3, 5, 8, 12, 18, 23)
    for box in (16, 32, 36, 64, 128, 256):
        total = sum(1 for x in range(-box, box) for y in range(-box, box) if np.hypot(x, y) <= box // 2 - 1)
        assert band_freedom(box).sum() == total


def test_ordinary_images_are_left_alone():
    found = band_noise(powers(np.random.default_rng(0)), FREEDOM, ONE_GROUP)
    assert (found.outlier > 0.5).mean() <= 0.001
    assert np.abs(np.log(found.level)).max() < 0.02
    assert np.median(np.abs(found.noise - 1)) < 0.01


def test_outlying_bands_are_found_and_others_are_not():
    rng = np.random.default_rng(1)
    power = powers(rng)
    bad = rng.permutation(2000)[:80]
    power[bad[:, None], [1, 2]] *= rng.uniform(8, 200, (80, 1))
    found = band_noise(power, FREEDOM, ONE_GROUP)
    flagged = found.probability > 0.5
    assert set(np.flatnonzero(flagged.any(1))) >= set(bad)
    assert flagged.any(1).sum() <= 82
    assert flagged[:, 3:].sum() <= 2
    assert (found.noise[bad][:, [1, 2]] > 30).mean() > 0.9


def test_levels_follow_the_noise_not_the_signal():
    rng = np.random.default_rng(2)
    level = np.exp(rng.normal(0, 0.5, 2000))
    power = powers(rng) * level[:, None]
    power[:, :3] *= rng.uniform(1, 5, (2000, 3))  # what the particle adds, as strong as its view
    found = band_noise(power, FREEDOM, ONE_GROUP)
    assert np.std(np.log(found.level / level)) < 0.08
    assert (found.outlier > 0.5).mean() < 0.005


def test_groups_are_compared_among_themselves():
    rng = np.random.default_rng(3)
    group = np.repeat([0, 1], 1000)
    power = powers(rng) * np.where(group, 16.0, 1.0)[:, None]
    found = band_noise(power, FREEDOM, group)
    assert np.abs(np.log(found.level)).max() < 0.02
    together = band_noise(power, FREEDOM, ONE_GROUP)  # half of the images scaled by 4, in one group
    assert np.median(together.level[group == 1] / 16) == pytest.approx(np.median(together.level[group == 0]), rel=0.02)
    assert (together.outlier > 0.5).mean() < 0.005


def test_images_without_any_power_are_outliers():
    power = powers(np.random.default_rng(4))
    power[:7] = 0
    found = band_noise(power, FREEDOM, ONE_GROUP)
    assert (found.probability[:7] == 1).all()
    assert (found.noise[:7] == DEAD).all()
    assert np.isfinite(found.noise).all()
    assert (found.outlier[7:] > 0.5).mean() <= 0.001


@pytest.mark.parametrize("pull", [0.0, 2.0])
@pytest.mark.parametrize("share", [0.12, 0.5])
def test_empty_images_are_found(share, pull):
    rng = np.random.default_rng(5)
    error = rng.uniform(0.08, 0.14, 4000)
    empty = rng.uniform(size=4000) < share
    contrast = np.where(empty, pull * error, rng.normal(1, 0.15, 4000)) + error * rng.normal(size=4000)
    found = contrast_mixture(contrast, error, np.ones(4000))
    flagged = found.probability > 0.5
    assert (flagged & empty).sum() / flagged.sum() > 0.95
    assert (flagged & empty).sum() / empty.sum() > 0.95
    assert found.mean == pytest.approx(1, abs=0.02)
    assert found.pull == pytest.approx(pull, abs=0.2)
    assert np.sqrt(found.variance) == pytest.approx(0.15, abs=0.02)


@pytest.mark.parametrize("spread", [0.15, 0.25, 0.5])
@pytest.mark.parametrize("error", [0.05, 0.15, 0.4])
def test_nothing_is_empty_where_every_image_holds_a_particle(error, spread):
    rng = np.random.default_rng(6)
    contrast = np.exp(rng.normal(0, spread, 3000)) + error * rng.normal(size=3000)
    found = contrast_mixture(contrast, np.full(3000, error), np.ones(3000))
    assert (found.probability > 0.5).sum() == 0


def test_half_of_the_images_with_a_quarter_of_the_contrast():
    rng = np.random.default_rng(8)
    grey = np.where(np.arange(2000) % 2, 1.6, 0.4)
    error = 0.1 * grey
    contrast = grey * (1 + 0.15 * rng.normal(size=2000)) + error * rng.normal(size=2000)
    found = contrast_mixture(contrast, error, np.ones(2000))
    assert (found.probability > 0.5).sum() == 0


def test_outliers_do_not_decide_what_is_empty():
    rng = np.random.default_rng(7)
    contrast = rng.normal(1, 0.2, 3000)
    contrast[:60] = rng.normal(0, 8, 60)
    weight = np.ones(3000)
    weight[:60] = 0
    found = contrast_mixture(contrast, np.full(3000, 0.1), weight)
    assert (found.probability[60:] > 0.5).sum() == 0
    assert found.mean == pytest.approx(1, abs=0.02)
