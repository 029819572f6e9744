import numpy as np
import pytest
import torch

from covaria.maps import (
    apply_b_factor,
    fourier,
    fsc,
    guinier_b_factor,
    radial_filter,
    resample_volume,
    resolution_at,
    shell_average,
)
from covaria.maps.correlation import crossing, fsc_area
from covaria.maps.fourier import shell_sum


def brute_force_shells(box):
    k = np.rint(np.fft.fftfreq(box) * box)
    return np.rint(np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + k[None, None, :] ** 2)).astype(int)


def test_fsc_equals_the_definition_on_the_whole_transform():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 12, 12, 12))
    shells, fa, fb = brute_force_shells(12), np.fft.fftn(a), np.fft.fftn(b)
    expected = [
        np.real(np.sum((fa * fb.conj())[shells == r]))
        / np.sqrt(np.sum(np.abs(fa[shells == r]) ** 2) * np.sum(np.abs(fb[shells == r]) ** 2))
        for r in range(6)
    ]
    assert fsc(a, b) == pytest.approx(np.array(expected), abs=1e-5)
    assert fsc(a, a) == pytest.approx(1.0)
    assert fsc(a, np.zeros_like(a)) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="one size"):
        fsc(a, b[:8])


def test_shell_sums_count_every_coefficient_once():
    box = 10
    values = np.abs(np.fft.fftn(np.random.default_rng(1).normal(size=(box,) * 3))) ** 2
    shells = brute_force_shells(box)
    half = values[..., : box // 2 + 1]
    assert shell_sum(half, box) == pytest.approx([values[shells == r].sum() for r in range(5)])
    assert shell_average(half, box) == pytest.approx([values[shells == r].mean() for r in range(5)])


def test_crossing_interpolates_and_knows_its_ends():
    assert crossing(np.array([1, 1, 0.5, 0.0]), 0.25) == pytest.approx(2.5)
    assert crossing(np.array([1, 1, 0.9, 0.9])) == 3
    assert crossing(np.array([1, 0.1, 0.9, 0.9])) == 1
    assert resolution_at(np.array([1, 1, 0.5, 0.0]), 2.0, 0.25) == pytest.approx(8 * 2.0 / 2.5)
    assert fsc_area(np.ones(8)) == 1


@pytest.mark.parametrize("box", [16, 24, 48])
def test_resampling_samples_the_same_density(box):
    """A Gaussian of width 5 A on a 64 A extent, off centre, whatever the grid."""

    def gaussian(side):
        x = (np.arange(side) - side // 2) * 64 / side
        g = [np.exp(-((x - c) ** 2) / (2 * 5.0**2)) for c in (3.0, -5.0, 7.0)]
        return g[0][:, None, None] * g[1][None, :, None] * g[2][None, None, :]

    assert resample_volume(gaussian(32), box) == pytest.approx(gaussian(box), abs=4e-3)
    with pytest.raises(ValueError, match="even"):
        resample_volume(gaussian(32), 15)


def test_radial_filter_and_b_factor_scale_shells():
    volume = np.random.default_rng(2).normal(size=(16, 16, 16)).astype(np.float32)
    power = shell_average(np.abs(np.fft.rfftn(volume)) ** 2, 16)
    gain = np.linspace(1, 0.2, 8)
    filtered = shell_average(np.abs(np.fft.rfftn(radial_filter(volume, gain))) ** 2, 16)
    assert filtered == pytest.approx(power * gain**2, rel=1e-4)
    sharpened = shell_average(np.abs(np.fft.rfftn(apply_b_factor(volume, 90.0, 2.0))) ** 2, 16)
    s = np.arange(8) / 32
    assert sharpened == pytest.approx(power * np.exp(90 * s**2 / 2), rel=1e-4)
    assert np.array_equal(apply_b_factor(volume, 0.0, 2.0), volume)


def test_guinier_fit_finds_the_b_factor_of_a_falling_amplitude():
    s = np.arange(32) / (64 * 2.0)
    amplitude = 7 * np.exp(-120 * s**2 / 4)
    assert guinier_b_factor(amplitude, 2.0, 15, 5) == pytest.approx(120)
    with pytest.raises(ValueError, match="shells lie"):
        guinier_b_factor(amplitude, 2.0, 6.0, 5.9)


def test_shell_means_of_arrays_and_tensors_are_the_means_of_each_shell():
    rng = np.random.default_rng(5)
    values, shell = rng.normal(size=(4, 5, 6)).astype(np.float32), rng.integers(0, 6, (4, 5, 6))
    shell[shell == 2] = 3
    expected = [values[shell == r].mean(dtype=np.float64) if (shell == r).any() else 0 for r in range(5)]
    assert fourier.shell_means(values, shell, 5) == pytest.approx(expected)
    assert fourier.shell_means(torch.as_tensor(values), torch.as_tensor(shell), 5).numpy() == pytest.approx(expected)
