"""Every figure is drawn, with sane sizes, from ordinary and from awkward data, without a warning."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.image import imread

from covaria import plots
from covaria.plots.spectra import pixel_deviation, resolution_words
from covaria.plots.style import robust_limits

RNG = np.random.default_rng(0)
LATENT = np.vstack([np.full((3, 5), np.nan), RNG.standard_normal((400, 5)) * [20, 10, 5, 2, 1]])
VOLUME = RNG.standard_normal((16, 16, 16))
ALPHAS = [10.0**power for power in range(1, -10, -1)]
GRID = np.exp(-(np.linspace(-2, 2, 20)[:, None] ** 2) - np.linspace(-2, 2, 20) ** 2)


def _flat(path):
    plots.plot_fsc(path, np.zeros(15), 3.0, 32)


CASES = {
    "eigenvalues": lambda p: plots.plot_eigenvalues(p, [9.0, 4, 0.1], 2, RNG.random((3, 15)), 3.0, 32),
    "eigenvalues_alone": lambda p: plots.plot_eigenvalues(p, [9.0], 0, None, 3.0, 32),
    "eigenvalues_zero": lambda p: plots.plot_eigenvalues(p, np.zeros(4), 0, np.zeros((4, 15)), 3.0, 32),
    "fsc": lambda p: plots.plot_fsc(p, np.linspace(1, 0, 15), 3.0, 32, fsc_masked=np.linspace(1, 0.2, 15)),
    "fsc_zero": _flat,
    "contrast": lambda p: plots.plot_contrast_histogram(p, np.r_[np.nan, 1 + 0.1 * RNG.standard_normal(500)]),
    "contrast_constant": lambda p: plots.plot_contrast_histogram(p, np.ones(50)),
    "contrast_none": lambda p: plots.plot_contrast_histogram(p, np.full(5, np.nan)),
    "noise": lambda p: plots.plot_noise_spectrum(p, np.linspace(9, 1, 15), 3.0, 32),
    "noise_groups": lambda p: plots.plot_noise_spectrum(p, np.linspace(9, 1, 15), 3.0, 32, group_factors=[1, 1.2]),
    "noise_many_groups": lambda p: plots.plot_noise_spectrum(
        p, np.linspace(9, 1, 15), 3.0, 32, group_factors=np.linspace(0.8, 1.2, 30)
    ),
    "volumes": lambda p: plots.plot_volumes_overview(p, VOLUME, VOLUME**2, [VOLUME] * 7, np.arange(7.0)[::-1], 3.0),
    "volumes_none": lambda p: plots.plot_volumes_overview(p, VOLUME, np.zeros_like(VOLUME), [], [], 3.0),
    "pairs": lambda p: plots.plot_latent_pairs(p, LATENT, np.ones(5)),
    "pairs_one": lambda p: plots.plot_latent_pairs(p, LATENT[:, :1], np.ones(1)),
    "pairs_many": lambda p: plots.plot_latent_pairs(p, RNG.standard_normal((5000, 2)), np.ones(2)),
    "latent": lambda p: plots.plot_latent_histogram(p, LATENT[:, 0], np.array([-10.0, 10.0])),
    "scatter": lambda p: plots.plot_scatter_with_centers(
        p, LATENT[:, :2], LATENT[5:9, :2], title="t", x_label="x", y_label="y", paths=(LATENT[5:9, :2],)
    ),
    "scatter_labels": lambda p: plots.plot_scatter_with_centers(
        p, LATENT[:, :2], title="t", x_label="x", y_label="y", labels=np.arange(403) % 7
    ),
    "density_1": lambda p: plots.plot_density(p, GRID[10], [[-1, 1]], centers=np.array([[0.0]])),
    "density_2": lambda p: plots.plot_density(
        p, GRID, [[-1, 1], [-2, 2]], centers=np.array([[0.0, 0.0], [5, 5]]), paths=[np.eye(2)]
    ),
    "density_4": lambda p: plots.plot_density(p, np.multiply.outer(GRID, GRID), [[-1, 1]] * 4),
    "slices_2": lambda p: plots.plot_density_slices(p, GRID, [[-1, 1], [-2, 2]]),
    "slices_4": lambda p: plots.plot_density_slices(p, np.multiply.outer(GRID, GRID), [[-1, 1]] * 4),
    "all_1": lambda p: plots.plot_all_densities(p, [GRID[10]] * 11, [[-1, 1]], ALPHAS, 3),
    "all_2": lambda p: plots.plot_all_densities(p, [GRID] * 11, [[-1, 1]] * 2, ALPHAS, 3),
    "l_curve": lambda p: plots.plot_l_curve(
        p, ALPHAS, np.geomspace(1e-5, 1e4, 11), np.geomspace(1e3, 1e-3, 11), 5, np.abs(np.arange(11.0) - 6), np.ones(11)
    ),
    "l_curve_flat": lambda p: plots.plot_l_curve(p, ALPHAS, np.zeros(11), np.zeros(11), 0, np.zeros(11), np.zeros(11)),
}


@pytest.mark.parametrize("name", CASES)
def test_drawn_without_a_warning(name, tmp_path):
    path = tmp_path / "deep" / f"{name}.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CASES[name](path)
    image = imread(path)[..., :3]
    height, width = image.shape[:2]
    assert 500 <= width <= 3600 and 500 <= height <= 3600
    assert np.std(image) > 0.02, "nothing was drawn"


def test_importing_the_plots_leaves_pyplot_alone():
    import subprocess
    import sys

    code = "import sys, covaria.plots; sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_resolution_is_where_the_curve_crosses():
    falling = np.array([1.0, 1.0, 0.643, 0.143 - 0.357, 0.0])
    assert resolution_words(falling, 2.0, 10) == f"{20 / (2 + 0.5 / 0.857):.1f} Å at 0.143"
    assert resolution_words(np.ones(5), 2.0, 10) == "better than 4.0 Å (Nyquist)"
    assert resolution_words(np.zeros(5), 2.0, 10) == "worse than 20 Å"


def test_pixel_deviation_of_white_noise():
    assert pixel_deviation(np.full(15, 32.0**2 * 4), 32) == pytest.approx(2.0)


def test_limits_ignore_outliers_and_nan():
    low, high = robust_limits(np.r_[np.nan, 1e9, np.linspace(0, 1, 2000)])
    assert -0.1 < low < 0.01 and 0.99 < high < 1.1
    assert robust_limits([]) == (0.0, 1.0)
    assert robust_limits([3.0, 3.0])[0] < 3 < robust_limits([3.0, 3.0])[1]
