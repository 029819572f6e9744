"""Basins of densities whose wells, shares and passes are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.estimation.density.basins import find_basins, resample
from covaria.estimation.density.blur import LatentGrid, build_blur
from covaria.estimation.density.solver import solve_path
from covaria.findings import Findings
from covaria.results.basins import basin_table, load_basins, read_basins, write_basins
from covaria.trajectory import DensityGrid, write_density
from covaria.tree import DensityTree


def mixture(centers, weights, sigma, bounds, points) -> DensityGrid:
    """Gaussians of one width on a grid."""
    axes = [np.linspace(low, high, points) for low, high in bounds]
    where = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = sum(
        weight * np.exp(-0.5 * ((where - center) ** 2).sum(-1) / sigma**2)
        for center, weight in zip(np.asarray(centers), weights, strict=True)
    )
    return DensityGrid(values / (values.sum() * DensityGrid(values, np.array(bounds)).spacing.prod()), np.array(bounds))


def test_two_wells_on_a_line_against_the_closed_form() -> None:
    grid = mixture([[-1.0], [1.0]], [0.3, 0.7], 0.35, [(-3, 3)], 601)
    found = find_basins(grid)
    assert len(found) == 2
    assert found.peaks[:, 0] == pytest.approx([1.0, -1.0], abs=0.02)
    assert found.populations == pytest.approx([0.7, 0.3], abs=0.01)
    line = np.linspace(-1, 1, 2001)
    rho = 0.3 * np.exp(-0.5 * ((line + 1) / 0.35) ** 2) + 0.7 * np.exp(-0.5 * ((line - 1) / 0.35) ** 2)
    barriers = found.barriers_kt
    assert barriers[0, 1] == pytest.approx(np.log(rho.max() / rho.min()), abs=0.02)
    assert barriers[1, 0] == pytest.approx(np.log(rho[line < 0].max() / rho.min()), abs=0.02)
    assert barriers[0, 0] == 0
    assert found.of([[0.9], [-1.2], [7.0], [np.nan]]).tolist() == [0, 1, -1, -1]


def test_the_table_names_who_lies_at_each_peak(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    basins = find_basins(mixture([[-1.0], [1.0]], [0.3, 0.7], 0.35, [(-3, 3)], 601))
    coordinates = np.where(rng.uniform(size=1000) < 0.3, -1, 1) + 0.35 * rng.normal(size=1000)
    coordinates[::10] = np.nan
    tree = DensityTree(tmp_path)
    write_density(tree.knee, basins.grid, 1.0)
    write_basins(tree, basin_table(basins, coordinates[:, None], np.array([2.0])), basins)
    table, again = read_basins(tree), load_basins(tree)
    assert np.array_equal(again.labels, basins.labels) and again.barriers_kt == pytest.approx(basins.barriers_kt)
    np.save(tree.basin_labels, np.zeros(3, np.int16))
    with pytest.raises(InvalidInput, match="does not hold 2 basins"):
        load_basins(tree)
    deep, shallow = table.basins
    assert deep.peak_sd[0] == pytest.approx(deep.peak[0] / 2)
    for basin, peak in ((deep, 1.0), (shallow, -1.0)):
        assert basin.particle == np.nanargmin(np.abs(coordinates - basin.peak[0])) and basin.peak[0] == pytest.approx(
            peak, abs=0.02
        )
    assert deep.particles + shallow.particles == pytest.approx(900, abs=5)
    assert deep.particles / 900 == pytest.approx(0.7, abs=0.04)
    words = Findings(tested=1, basins=table.findings()).lines()
    told = f"2 stable states: 70 %, {basins.barriers_kt[0, 1]:.1f} kT to leave; 30 %, "
    assert any(line.startswith(told) for line in words)
    assert table.barriers_kt[0][0] == 0 and table.barriers_kt[0][1] == pytest.approx(basins.barriers_kt[0, 1])
    tree.basins.write_text('{"basins": 3}')
    with pytest.raises(InvalidInput, match="does not hold basins"):
        read_basins(tree)


def test_a_shallow_dip_is_no_basin_and_its_depth_decides() -> None:
    grid = mixture([[-1.0], [1.0]], [0.5, 0.5], 0.85, [(-4, 4)], 801)
    values = grid.values
    dip = np.log(values.max() / values[400])
    assert 0.05 < dip < 0.5
    assert len(find_basins(grid)) == 1
    assert len(find_basins(grid, least_depth_kt=0.8 * dip)) == 2


def test_a_long_even_valley_is_one_basin() -> None:
    """A bent ridge whose top wavers by the grid alone: many summits, no depth."""
    x, y = np.meshgrid(np.linspace(-25, 25, 60), np.linspace(-10, 15, 50), indexing="ij")
    density = np.exp(-((y - 15 * (x / 20) ** 2 + 5) ** 2) / 8) * (np.abs(x) < 22)
    assert len(find_basins(DensityGrid(density, np.array([[-25.0, 25], [-10, 15]])))) == 1


@pytest.mark.parametrize(("dim", "points"), [(2, 64), (3, 28), (4, 16)])
def test_three_states_in_more_dimensions(dim: int, points: int) -> None:
    centers = np.zeros((3, dim))
    centers[:, :2] = [[-1, 0], [1, 0], [0, 1.6]]
    found = find_basins(mixture(centers, [0.2, 0.3, 0.5], 0.35, [(-2.5, 2.5)] * dim, points))
    assert len(found) == 3
    step = 5 / (points - 1)
    assert np.abs(found.peaks - centers[[2, 1, 0]]).max() <= step
    assert found.populations == pytest.approx([0.5, 0.3, 0.2], abs=0.02)
    assert found.of(centers).tolist() == [2, 1, 0]
    assert np.array_equal(found.passes_kt, found.passes_kt.T)


def test_what_resampled_particles_do_not_confirm_is_no_basin() -> None:
    """Evenly spread particles: their density wavers by more than half a kT, and its summits are no states. Two wells
    keep theirs, with intervals that hold the truth."""
    rng, answers = np.random.default_rng(3), {}
    even, wells = rng.uniform(-1, 1, 300), np.where(rng.uniform(size=600) < 0.3, -1, 1) + 0.2 * rng.normal(size=600)
    for name, places in (("even", even), ("wells", wells)):
        noisy = places + 0.2 * rng.normal(size=len(places))
        grid = LatentGrid(np.array([[-2.0, 2.0]]), 120)
        blur = build_blur(grid, noisy[:, None], np.full((len(places), 1, 1), 0.04), seed=0)
        found = solve_path(grid, blur.observe(), (1e-2, 1e-4, 1e-6))[-1]
        density = DensityGrid(found.mass / grid.cell, grid.bounds)
        answers[name] = find_basins(density), find_basins(density, resampled=resample(blur, found, seed=1))
    assert len(answers["even"][0]) > 1 and np.isnan(answers["even"][0].low).all()
    assert len(answers["even"][1]) == 1
    tested = answers["wells"][1]
    assert len(tested) == 2
    assert tested.low[0] < 0.7 < tested.high[0] and tested.low[1] < 0.3 < tested.high[1]
    assert 0.02 < tested.high[1] - tested.low[1] < 0.15


def test_the_pass_leads_over_the_basin_between() -> None:
    grid = mixture([[-2.0], [0.0], [2.0]], [0.4, 0.2, 0.4], 0.4, [(-4, 4)], 801)
    found = find_basins(grid)
    ends = [int(place) for place in np.argsort(found.peaks[:, 0])]
    direct = found.passes_kt
    assert direct[ends[0], ends[2]] == pytest.approx(max(direct[ends[0], ends[1]], direct[ends[1], ends[2]]))


def test_nothing_is_known_where_the_density_is_thin() -> None:
    """Two wells with emptiness between: no pass is known."""
    found = find_basins(mixture([[-2.0], [2.0]], [0.5, 0.5], 0.2, [(-4, 4)], 401))
    assert len(found) == 2 and np.isinf(found.barriers_kt[0, 1])
    assert found.of([[0.0]]).tolist() == [-1]
