"""What an analysis shows of motion: maps along components, the script for ChimeraX."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from covaria.estimation.latents.model import Latents
from covaria.figures.analysis import AnalysisFigures
from covaria.figures.movies import chimerax_script, movies, write_component_maps
from covaria.maps import read_volume, write_volume
from covaria.results.latents import write_latents
from covaria.tree import AnalysisTree, Tree
from covaria.tree.atomic import write_pickle
from covaria.tree.entry import find

BALL = np.exp(-0.1 * ((np.indices((16, 16, 16)) - 7.5) ** 2).sum(0)).astype(np.float32)


@pytest.fixture
def figures(tmp_path: Path) -> AnalysisFigures:
    """Two of three components confirmed, of 2 and 1 standard deviations; two centres, no path."""
    tree = Tree(tmp_path / "out")
    rows = np.random.default_rng(0).standard_normal((50, 3))
    found = Latents(rows, np.tile(np.eye(3), (50, 1, 1)), np.ones(50))
    write_latents(tree, found, found)
    write_pickle(tree.params, {"s": np.array([4.0, 1.0, 0.1]), "significant_components": 2})
    tree.volumes.mkdir(parents=True)
    write_volume(tree.mean_filtered, BALL, 3.0)
    for k in range(3):
        write_volume(tree.eigenvolume(k), 0.1 * np.roll(BALL, 2 + k, axis=2), 3.0)
    analysis = AnalysisTree(tree.analysis(3))
    analysis.data.mkdir(parents=True)
    write_pickle(analysis.kmeans_result, {"centers": np.zeros((2, 3)), "labels": np.arange(50) % 2})
    return AnalysisFigures(tree, analysis, 3, None)


def test_maps_along_a_component_are_the_mean_and_its_multiples(figures: AnalysisFigures) -> None:
    write_component_maps(figures, figures.source)
    for component, deviation in ((0, 2.0), (1, 1.0)):
        for number, step in ((0, -2.0), (9, 2.0)):
            volume, pixel = read_volume(figures.source.component_volume(component, number))
            moved = 0.1 * np.roll(BALL, 2 + component, axis=2)
            assert np.allclose(volume, BALL + step * deviation * moved, atol=1e-5) and pixel == 3.0
    assert not figures.source.component_volume(2, 0).exists(), "it is not confirmed"
    assert not figures.source.component_volume(0, 10).exists()


def test_movies_and_script_name_what_is_there(figures: AnalysisFigures) -> None:
    write_component_maps(figures, figures.source)
    for drawing in movies(figures, figures.source):
        drawing.make()
    root = figures.source.root
    made = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix in (".gif", ".cxc")}
    assert made == {"movies/mean.gif", "movies/component000.gif", "movies/component001.gif", "open.cxc"}
    named = re.findall(r"\S+\.mrc", figures.source.chimerax_script.read_text())
    assert len(named) == 22 and sum((root / name).is_file() for name in named) == 20, "and the two centres"
    assert all(find(AnalysisTree, name) for name in [*named, *made])


def test_one_level_and_one_camera_for_every_series() -> None:
    text = chimerax_script([("component 1", ["a.mrc", "b.mrc"]), ("path 0", ["c.mrc"])], 0.125)
    lines = text.splitlines()
    assert "open a.mrc b.mrc vseries true" in lines and "open c.mrc vseries true" in lines
    assert re.findall(r"volume #(\d) level (\S+)", text) == [("1", "0.125"), ("2", "0.125")]
    assert lines.count("view #1") == 1 and "hide #2 models" in lines and "hide #1 models" not in lines
