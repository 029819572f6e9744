"""Latent points by name, of an OUT whose coordinates are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covaria.cli.named_points import NamedPoints
from covaria.cli.points import read_end
from covaria.errors import InvalidInput
from covaria.estimation.density.basins import find_basins
from covaria.estimation.latents.model import Latents
from covaria.results.basins import basin_table, write_basins
from covaria.results.latents import write_latents
from covaria.trajectory import DensityGrid, write_density
from covaria.tree import AnalysisTree, DensityTree, Tree
from covaria.tree.artifacts import KMeansResult, write_kmeans
from covaria.tree.atomic import write_pickle

COUNT = 2000


@pytest.fixture(scope="module", name="tree")
def tree_fixture(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """z2 = z1^2; two wells at -1 and 1 in z1; particle 7 was left out; the third component is not confirmed."""
    tree = Tree(tmp_path_factory.mktemp("named"))
    z1 = np.random.default_rng(0).normal(size=COUNT)
    latent = np.stack([z1, z1**2, z1], 1)
    latent[7] = np.nan
    found = Latents(latent, np.tile(np.eye(3), (COUNT, 1, 1)), np.ones(COUNT)).in_input_order(np.arange(COUNT), COUNT)
    write_latents(tree, found, found)
    write_pickle(tree.params, {"s": np.ones(3), "significant_components": 2})
    line = np.linspace(-3, 3, 301)
    rho = 0.7 * np.exp(-((line + 1) ** 2) / 0.1) + 0.3 * np.exp(-((line - 1) ** 2) / 0.1)
    density, grid = DensityTree(tree.density), DensityGrid(rho, np.array([[-3.0, 3.0]]))
    density.data.mkdir(parents=True)
    write_density(density.knee, grid, 1.0)
    basins = find_basins(grid)
    write_basins(density, basin_table(basins, latent, np.ones(3)), basins)
    analysis = AnalysisTree(tree.analysis(3))
    analysis.data.mkdir(parents=True)
    write_kmeans(analysis, KMeansResult(np.arange(6.0).reshape(2, 3), np.zeros(COUNT, np.int64)))
    return tree


def test_each_name_stands_for_its_point(tree: Tree) -> None:
    known = NamedPoints(tree, 3)
    latent = np.load(tree.latent_coords(3)).astype(float)
    assert known.named("center:1").tolist() == [3, 4, 5]
    assert known.named("particle:12") == pytest.approx([*latent[12, :2], 0]), "what is not confirmed is zero"
    assert known.named("basin:0") == pytest.approx([-1, 1, 0], abs=0.1)
    assert known.named("basin:1") == pytest.approx([1, 1, 0], abs=0.1)
    median = known.named("percentile:1:95")
    assert median[0] == pytest.approx(np.nanpercentile(latent[:, 0], 95))
    assert median[1] == pytest.approx(median[0] ** 2, rel=0.1), "the others follow the particles there"
    assert np.array_equal(read_end(tree, 3, "basin:1"), known.named("basin:1"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("center:2", "no centre '2'.*from 0 to 1"),
        ("particle:7", "particle 7 was left out"),
        ("particle:5000", "from 0 to 1999"),
        ("basin:2", "no basin '2'"),
        ("percentile:3:50", "no component '3'.*from 1 to 2"),
        ("percentile:1:500", "'500' is no percentile"),
        ("cluster:1", "no named point"),
    ],
)
def test_what_is_not_there_is_said(tree: Tree, name: str, words: str) -> None:
    import re

    with pytest.raises(InvalidInput) as refusal:
        NamedPoints(tree, 3).named(name)
    assert re.search(words, str(refusal.value), re.DOTALL)


def test_a_basin_needs_a_density(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there are no stable states"):
        NamedPoints(Tree(tmp_path), 3).named("basin:0")
