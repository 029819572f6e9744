"""Every figure shows what it is given: lines, labels, limits, and the numbers beside it; awkward data warn nobody."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest

from covaria import plots
from covaria.plots import style
from covaria.plots.density import energy_kt
from covaria.plots.latent import Ends, axis_label
from covaria.plots.spectra import pixel_deviation, resolution_words
from covaria.plots.style import robust_limits

RNG = np.random.default_rng(0)
LATENT = np.vstack([np.full((3, 5), np.nan), RNG.standard_normal((400, 5)) * [20, 10, 5, 2, 1]])
BALL = np.exp(-0.1 * ((np.indices((16, 16, 16)) - 7.5) ** 2).sum(0))
NOISE = RNG.standard_normal((16, 16, 16))
ALPHAS = [10.0**power for power in range(1, -10, -1)]
AT = np.linspace(-2, 2, 20)
GRID = np.exp(-(AT[:, None] ** 2) - AT**2)
PICTURE = np.full((8, 8, 4), 200, np.uint8)
EIGHTH = np.full(8, 1 / 8)


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn, not how finely."""
    monkeypatch.setattr(style, "DPI", 40)
    monkeypatch.setattr(style, "SVG_DPI", 40)


MOTIONS = np.array([(m, w, p, m, 9 * m * p, m + p / 2) for m in (0.1, 0.3) for w in (0.0, 4, 8) for p in (0.1, 0.5)])
CASES = {
    "eigenvalues": lambda p: plots.plot_eigenvalues(p, [9.0, 4, 0.1], 2, RNG.random((3, 15)), 3.0, 32, [9, 5, -1.0]),
    "eigenvalues_alone": lambda p: plots.plot_eigenvalues(p, [9.0], 0, None, 3.0, 32),
    "eigenvalues_zero": lambda p: plots.plot_eigenvalues(p, np.zeros(4), 0, np.zeros((4, 15)), 3.0, 32, np.zeros(4)),
    "fsc": lambda p: plots.plot_fsc(p, np.linspace(1, 0, 15), 3.0, 32, fsc_masked=np.linspace(1, 0.2, 15)),
    "fsc_zero": lambda p: plots.plot_fsc(p, np.zeros(15), 3.0, 32),
    "contrast": lambda p: plots.plot_contrast_histogram(p, np.r_[np.nan, 1 + 0.1 * RNG.standard_normal(500)]),
    "contrast_constant": lambda p: plots.plot_contrast_histogram(p, np.ones(50)),
    "contrast_none": lambda p: plots.plot_contrast_histogram(p, np.full(5, np.nan)),
    "noise": lambda p: plots.plot_noise_spectrum(p, np.linspace(9, 1, 15), 3.0, 32),
    "noise_groups": lambda p: plots.plot_noise_spectrum(p, np.linspace(9, 1, 15), 3.0, 32, group_factors=[1, 1.2]),
    "noise_many_groups": lambda p: plots.plot_noise_spectrum(
        p, np.linspace(9, 1, 15), 3.0, 32, group_factors=np.linspace(0.8, 1.2, 30)
    ),
    "volumes": lambda p: plots.plot_volumes_overview(p, BALL, NOISE**2, [NOISE] * 7, np.arange(7.0)[::-1], 3.0),
    "volumes_none": lambda p: plots.plot_volumes_overview(p, NOISE, np.zeros_like(NOISE), [], [], 3.0),
    "mask": lambda p: plots.plot_mask(p, BALL, {"mask": BALL, "all": np.ones_like(BALL)}, 3.0),
    "local_resolution": lambda p: plots.plot_local_resolution(p, BALL, 5 + BALL, BALL, 3.0),
    "local_resolution_none": lambda p: plots.plot_local_resolution(p, BALL, np.full_like(BALL, 9), 0 * BALL, 3.0),
    "angular_one": lambda p: plots.plot_angular_distribution(p, np.eye(3)[None]),
    "particles_unknown": lambda p: plots.plot_particles(p, np.full(20, 1e4), np.full(20, -1)),
    "pairs": lambda p: plots.plot_latent_pairs(p, LATENT, np.ones(5)),
    "pairs_one": lambda p: plots.plot_latent_pairs(p, LATENT[:, :1], np.ones(1)),
    "latent": lambda p: plots.plot_latent_histogram(p, LATENT[:, 0], np.array([-10.0, 10.0]), [0.4, 0.6]),
    "density_1": lambda p: plots.plot_density(p, GRID[10], [[-1, 1]], centers=np.array([[0.0], [4]])),
    "density_4": lambda p: plots.plot_density(p, np.multiply.outer(GRID, GRID), [[-1, 1]] * 4),
    "slices_2": lambda p: plots.plot_density_slices(p, GRID, [[-1, 1], [-2, 2]]),
    "slices_4": lambda p: plots.plot_density_slices(p, np.multiply.outer(GRID, GRID), [[-1, 1]] * 4),
    "all_1": lambda p: plots.plot_all_densities(p, [GRID[10]] * 11, [[-1, 1]], ALPHAS, 3),
    "all_2": lambda p: plots.plot_all_densities(p, [GRID] * 11, [[-1, 1]] * 2, ALPHAS, 3),
    "l_curve_flat": lambda p: plots.plot_l_curve(p, ALPHAS, np.zeros(11), np.zeros(11), 0, np.zeros(11), np.zeros(11)),
    "state_fsc": lambda p: plots.plot_state_fsc(p, [np.ones(15), np.zeros(15)], ["a", "b"], 3.0, 32),
    "state_resolution_none": lambda p: plots.plot_state_resolution(p, [np.zeros(0)], ["center000"]),
    "sensitivity": lambda p: plots.plot_sensitivity(p, MOTIONS),
    "populations": lambda p: plots.plot_populations(
        p, ["a", "b"], np.array([0.3, 0.7]), np.array([0.2, 0.7]), np.array([0.4, 0.9]), np.array([True, False])
    ),
    "one_state": lambda p: plots.plot_states(p, [PICTURE], ["center000"], [1], [None]),
}


@pytest.mark.parametrize("name", CASES)
def test_drawn_three_times_without_a_warning(name: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / f"{name}.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sheet = CASES[name](path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in path.with_suffix(".svg").read_text()
    assert "<script" not in path.with_suffix(".svg").read_text()
    agree(path, sheet)
    assert {file.name for file in path.parent.iterdir()} == {f"{name}.{form}" for form in ("png", "svg", "csv")}


def read_numbers(path: Path) -> dict[str, list[str]]:
    """The columns of a figure's .csv, blanks left out."""
    with path.with_suffix(".csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    return {name: [row[k] for row in rows if row[k] != ""] for k, name in enumerate(header)}


def agree(path: Path, sheet: style.Sheet) -> dict[str, np.ndarray]:
    """What the .csv holds is what the figure was drawn from; the columns of numbers."""
    stored, numbers = read_numbers(path), {}
    assert set(stored) == set(sheet.numbers)
    for name, column in sheet.numbers.items():
        values = np.asarray(column).ravel()
        if values.dtype.kind in "fiu":
            numbers[name] = np.array([float(text) for text in stored[name]])
            assert np.allclose(numbers[name], values, rtol=1e-8, equal_nan=True), name
        else:
            assert stored[name] == [str(value) for value in values if str(value)]
    return numbers


def test_the_z_score_decides_and_its_threshold_is_drawn(tmp_path: Path) -> None:
    scores = [9.0, 5.0, 3.9, -1.0]
    curves = np.linspace(1, 0, 15) * np.ones((4, 1))
    sheet = plots.plot_eigenvalues(tmp_path / "e.png", [9.0, 4, 0.1, 0.1], 2, curves, 3.0, 32, scores)
    deciding, scree, found_again = sheet.axes[:3]
    assert [bar.get_height() for bars in deciding.containers for bar in bars] == scores
    threshold = next(line for line in deciding.lines if line.get_label() == "threshold 4")
    assert list(threshold.get_ydata()) == [4, 4]
    assert deciding.get_ylim()[1] > 9 and deciding.get_ylim()[0] < -1
    assert [text.get_text() for text in scree.texts] == ["69 %", "100 %"], "cumulative, of the confirmed"
    assert [line.get_label() for line in found_again.lines[:2]] == ["1", "2"]
    assert found_again.collections[0].get_label() == "not confirmed"
    numbers = agree(tmp_path / "e.png", sheet)
    assert list(numbers["held_out_z_score"]) == scores and list(numbers["confirmed"]) == [1, 1, 0, 0]


def test_components_share_one_scale_and_are_cut_where_the_variance_is_largest(tmp_path: Path) -> None:
    variance, strong, weak = np.zeros((3, 16, 16, 16))
    variance[3, 9, 12] = strong[3, 9, 12] = 1.0
    weak[5, 5, 5] = 1.0
    sheet = plots.plot_volumes_overview(
        tmp_path / "o.png", BALL, variance, [strong, weak], [4.0, 1e-4], 3.0, confirmed=1
    )
    numbers = agree(tmp_path / "o.png", sheet)
    assert [numbers[f"slice_{axis}_voxel"][0] for axis in "zyx"] == [3, 9, 12]
    images = [axes.images[0] for axes in sheet.axes if len(axes.images) == 1 and axes.images[0].get_array().ndim == 2]
    scales = {image.get_cmap().name: image.get_clim() for image in images}
    assert scales["RdBu_r"] == scales["gray"] or (-2.0, 2.0) in [image.get_clim() for image in images]
    drawn = [image for image in images if image.get_clim() == (-2.0, 2.0)]
    assert len(drawn) == 6 and {image.get_cmap().name for image in drawn} == {"RdBu_r", "gray"}
    assert max(float(np.abs(image.get_array()).max()) for image in drawn) == 2.0, "a component is drawn times its sd"
    titles = [axes.get_title() for axes in sheet.axes]
    assert "component 2\nnot confirmed" in titles and "-2 sd" in titles and "+2 sd" in titles


def test_noise_is_drawn_on_the_scale_of_the_mean(tmp_path: Path) -> None:
    sheet = plots.plot_volumes_overview(
        tmp_path / "o.png", BALL, (0.01 * NOISE) ** 2, [0.01 * NOISE], [1.0], 3.0, confirmed=0
    )
    limits = {axes.get_title(): axes.images[0].get_clim() for axes in sheet.axes if axes.images}
    top = float(BALL.max())
    assert limits["component 1\nnot confirmed"] == (-top, top) and limits["standard\ndeviation"] == (0, top)
    assert "-2 sd" not in limits


def test_few_points_are_points_and_many_are_hexagons_with_contours(tmp_path: Path) -> None:
    few, many = RNG.standard_normal((500, 2)), RNG.standard_normal((20_001, 2))
    for points, kind in ((few, "PathCollection"), (many, "PolyCollection")):
        sheet = plots.plot_scatter_with_centers(tmp_path / "s.png", points, title="t", x_label="x", y_label="y")
        kinds = [type(artist).__name__ for artist in sheet.axes[0].collections]
        assert kinds[0] == kind
        assert kinds.count("QuadContourSet") == 2
    assert agree(tmp_path / "s.png", sheet)["particles"].sum() > 19_900


def test_half_and_nine_tenths_lie_inside_the_contours() -> None:
    x, y = np.meshgrid(np.linspace(-6, 6, 401), np.linspace(-6, 6, 401), indexing="ij")
    half, most = style.share_levels(np.exp(-0.5 * (x**2 + y**2)))
    # A two-dimensional Gaussian holds 1 - exp(-r^2 / 2) inside r, where its density is exp(-r^2 / 2).
    assert half == pytest.approx(0.5, abs=0.01) and most == pytest.approx(0.1, abs=0.005)


def test_paths_differ_in_colour_and_stay_in_the_frame(tmp_path: Path) -> None:
    lines = (np.array([[0.0, 0], [90, 5]]), np.array([[0.0, 0], [5, -80]]))
    sheet = plots.plot_scatter_with_centers(
        tmp_path / "p.png", LATENT[:, :2], LATENT[5:13, :2], title="t", x_label="PC 1", y_label="PC 2", paths=lines,
        populations=EIGHTH, error=np.diag([4.0, 1.0]), ends=(Ends(PICTURE, PICTURE, 2.0),) * 2,
    )  # fmt: skip
    axes = sheet.axes[0]
    named = {line.get_label(): line for line in axes.lines if line.get_label().startswith("path")}
    assert len({line.get_color() for line in named.values()}) == 2
    assert np.array_equal(named["path 1"].get_xydata(), lines[1])
    assert axes.get_xlim()[1] > 90 and axes.get_ylim()[0] < -80
    assert [text.get_text() for text in axes.texts] == [f"{number}: 12 %" for number in range(8)]
    ellipse = axes.patches[-1]
    assert sorted((ellipse.width, ellipse.height)) == [2.0, 4.0], "one standard deviation"
    assert [inset.get_title() for inset in axes.child_axes] == ["-2 sd", "+2 sd"] * 2
    assert axes.get_xlabel() == "PC 1"


def test_clusters_have_colours_of_their_own_and_shares(tmp_path: Path) -> None:
    sheet = plots.plot_scatter_with_centers(
        tmp_path / "c.png", LATENT[:, :2], title="t", x_label="x", y_label="y", labels=np.arange(403) % 4
    )
    clouds = sheet.axes[0].collections
    assert len({tuple(cloud.get_facecolor()[0][:3]) for cloud in clouds}) == 4
    assert [cloud.get_label() for cloud in clouds] == [f"{number}: 25 %" for number in range(4)]


def test_the_energy_is_minus_the_logarithm_of_the_density(tmp_path: Path) -> None:
    sheet = plots.plot_density(
        tmp_path / "d.png", GRID[10], [[-2, 2]], centers=np.array([[0.0], [1]]), populations=[0.3, 0.7]
    )
    numbers = agree(tmp_path / "d.png", sheet)
    assert np.allclose(numbers["energy_kt"], AT**2 - AT[10] ** 2)
    density, energy = sheet.axes
    assert np.allclose(energy.lines[0].get_ydata(), energy_kt(GRID[10]))
    assert energy.get_ylabel().endswith("(kT)")
    assert [text.get_text() for text in density.texts] == ["0: 30 %", "1: 70 %"]


def test_a_map_of_the_density_shows_populations_paths_and_both_contours(tmp_path: Path) -> None:
    lines = [np.array([[0.0, 0.0], [5, 1]]), np.array([[0.0, 0.0], [-1, 1]])]
    sheet = plots.plot_density(
        tmp_path / "d.png", GRID, [[-2, 2], [-2, 2]], centers=np.array([[0.0, 0], [1, 1]]), populations=[0.25, 0.75],
        paths=lines, shares=[0.8, 0.2],
    )  # fmt: skip
    density, energy = sheet.axes[:2]
    assert sum(type(artist).__name__ == "QuadContourSet" for artist in density.collections) == 2
    for axes in (density, energy):
        assert axes.get_xlabel() == "PC 1, 80 % of the variance (sd)" == axis_label(0, [0.8])
        assert [text.get_text() for text in axes.texts] == ["0: 25 %", "1: 75 %"]
        assert axes.get_xlim()[1] >= 5
        assert len({line.get_color() for line in axes.lines if line.get_label().startswith("path")}) == 2
    shown = np.ma.filled(energy.images[0].get_array(), np.nan)
    assert np.nanmax(shown) <= 6 and np.nanmin(shown) == 0


def test_directions_of_view(tmp_path: Path) -> None:
    """Half the particles seen along z, half along x: the third row of each matrix."""
    along_x = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    sheet = plots.plot_angular_distribution(tmp_path / "a.png", np.array([np.eye(3)] * 40 + [along_x] * 40))
    numbers = agree(tmp_path / "a.png", sheet)
    full = numbers["particles"] > 0
    assert numbers["particles"].sum() == 80 and full.sum() == 2
    tilts = sorted(numbers["tilt_degrees"][full])
    assert tilts[0] < 40 and 75 < tilts[1] < 105
    assert sheet.axes[0].get_ylabel() == "tilt (degrees)" and "80 particles" in sheet.axes[0].get_title()


def test_particles_by_defocus_and_by_micrograph(tmp_path: Path) -> None:
    defocus = np.linspace(8e3, 22e3, 300)
    micrograph = np.repeat([0, 1, 2], [150, 100, 50])
    sheet = plots.plot_particles(tmp_path / "p.png", defocus, micrograph, 1 + defocus * 1e-5)
    numbers = agree(tmp_path / "p.png", sheet)
    assert numbers["particles"].sum() == 300
    assert list(numbers["particles_of_micrograph"]) == [150, 100, 50]
    assert np.allclose(numbers["median_contrast_of_tenth"], 1 + 0.1 * numbers["defocus_um_of_tenth"])
    assert [axes.get_xlabel() for axes in sheet.axes] == ["defocus (µm)", "micrograph, fullest first", "defocus (µm)"]


def test_states_carry_their_share_and_resolution(tmp_path: Path) -> None:
    sheet = plots.plot_states(tmp_path / "s.png", [PICTURE] * 2, ["center000", "center001"], [30, 10], [8.25, None])
    assert [axes.get_title() for axes in sheet.axes] == ["center000\n75.0 %, 8.2 Å", "center001\n25.0 %"]
    curve = np.linspace(1, 0, 15)
    sheet = plots.plot_state_fsc(tmp_path / "f.png", [curve], ["center000"], 3.0, 32)
    assert np.array_equal(sheet.axes[0].lines[0].get_ydata(), curve)
    assert sheet.axes[0].get_xlim() == (0, 0.5 / 3.0)
    sheet = plots.plot_state_resolution(tmp_path / "r.png", [np.arange(1.0, 102)], ["center000"])
    numbers = agree(tmp_path / "r.png", sheet)
    assert [numbers[f"{name}_angstrom"][0] for name in ("p5", "p25", "median", "p75", "p95")] == [6, 26, 51, 76, 96]


def test_masks_and_local_resolution(tmp_path: Path) -> None:
    mask = (BALL > 0.5).astype(float)
    numbers = agree(tmp_path / "m.png", plots.plot_mask(tmp_path / "m.png", BALL, {"solvent": mask}, 2.0))
    assert numbers["volume_cubic_angstrom"][0] == 8 * mask.sum()
    sheet = plots.plot_local_resolution(tmp_path / "l.png", BALL, 9 - 4 * BALL, mask, 3.0)
    numbers = agree(tmp_path / "l.png", sheet)
    assert numbers["voxels"].sum() == mask.sum()
    assert sheet.axes[3].get_xlabel() == "local resolution (Å)"


def test_importing_the_plots_leaves_pyplot_alone() -> None:
    import subprocess
    import sys

    code = "import sys, covaria.plots; sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_resolution_is_where_the_curve_crosses() -> None:
    falling = np.array([1.0, 1.0, 0.643, 0.143 - 0.357, 0.0])
    assert resolution_words(falling, 2.0, 10) == f"{20 / (2 + 0.5 / 0.857):.1f} Å at 0.143"
    assert resolution_words(np.ones(5), 2.0, 10) == "better than 4.0 Å (Nyquist)"
    assert resolution_words(np.zeros(5), 2.0, 10) == "worse than 20 Å"


def test_pixel_deviation_of_white_noise() -> None:
    assert pixel_deviation(np.full(15, 32.0**2 * 4), 32) == pytest.approx(2.0)


def test_limits_ignore_outliers_and_nan() -> None:
    low, high = robust_limits(np.r_[np.nan, 1e9, np.linspace(0, 1, 2000)])
    assert -0.1 < low < 0.01 and 0.99 < high < 1.1
    assert robust_limits([]) == (0.0, 1.0)
    assert robust_limits([3.0, 3.0])[0] < 3 < robust_limits([3.0, 3.0])[1]
