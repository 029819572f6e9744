"""Images beside projections: at the right pose and point they agree, at others they do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from covaria_pages import Client, write_run

from covaria.errors import InvalidInput
from covaria.explorer.run_files import RunFiles
from covaria.particles import load, save
from covaria.simulation.dataset import SimulationOptions
from covaria.simulation.ensemble import BUILT_IN
from covaria.testing import TruthSet
from covaria.tree import Tree
from covaria.view.thumbnails import MOST, SIDE, pairs, sprite

ROWS = np.arange(0, 300, 7)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A run of images without noise."""
    options = SimulationOptions(n_images=60, box=32, pixel_size_angstrom=8.0, snr=1e4, seed=3)
    truth = TruthSet.simulated(tmp_path_factory.mktemp("clean"), BUILT_IN["plane"](9), options)
    return write_run(tmp_path_factory.mktemp("clean_run") / "clean", truth)


def test_without_noise_image_and_projection_are_one(clean: Tree) -> None:
    found = pairs(RunFiles(clean.out), np.arange(0, 60, 2))
    assert np.median(found.correlations) > 0.98 and found.correlations.min() > 0.93


def test_the_projection_is_the_image_s_own(finished: Tree) -> None:
    found = pairs(RunFiles(finished.out), ROWS)
    assert found.images.shape == found.projections.shape == (len(ROWS), SIDE, SIDE)
    flat = [each.reshape(len(ROWS), -1) for each in (found.images, found.projections)]
    every = np.corrcoef(*flat)[: len(ROWS), len(ROWS) :]
    assert np.allclose(np.diag(every), found.correlations, atol=1e-5)
    assert (every.argmax(axis=1) == np.arange(len(ROWS))).mean() > 0.8, "of all projections, its own is the nearest"


@pytest.mark.parametrize("spoiled", ["rotations", "translations"])
def test_another_pose_is_seen(copied: Tree, spoiled: str) -> None:
    right = pairs(RunFiles(copied.out), ROWS).correlations
    particles = load(copied.particles)
    values = getattr(particles, spoiled)
    wrong = np.roll(values, 1, axis=0) if spoiled == "rotations" else -values
    save(copied.particles, replace(particles, **{spoiled: wrong}))
    assert np.median(pairs(RunFiles(copied.out), ROWS).correlations) < np.median(right) - 0.15


def test_dark_particles_are_turned(copied: Tree) -> None:
    from covaria.pickles import load_pickle
    from covaria.tree import atomic

    params = load_pickle(copied.params)
    before = pairs(RunFiles(copied.out), ROWS).correlations
    atomic.write_pickle(copied.params, {**params, "data_sign": -1})
    assert np.allclose(pairs(RunFiles(copied.out), ROWS).correlations, -before, atol=1e-5)


def test_images_that_are_gone_are_told(copied: Tree, tmp_path: Path) -> None:
    particles = load(copied.particles)
    gone = replace(particles.images, paths=(tmp_path / "gone.mrcs",))  # type: ignore[type-var]
    save(copied.particles, replace(particles, images=gone))
    with pytest.raises(InvalidInput, match=r"gone\.mrcs"):
        pairs(RunFiles(copied.out), ROWS)
    with pytest.raises(InvalidInput, match="49 thumbnails"):
        pairs(RunFiles(copied.out), np.arange(MOST + 1))


def test_the_page_gets_one_picture(serving: Callable[..., Client], finished: Tree) -> None:
    one = serving(finished.out.parent).enter()
    told = json.loads(one.ask("/thumbnails?run=first", "POST", {"at": list(range(7))})[2])
    run = RunFiles(finished.out)
    assert run.cloud is not None
    assert told["picture"] == sprite(run, run.cloud.rows[:7])["picture"]
    assert told["rows"] == run.cloud.rows[:7].tolist()
    assert one.ask("/thumbnails?run=first", "POST", {"at": [300]})[0] == 422
    assert one.ask("/thumbnails?run=first", "POST", {"at": list(range(49))})[0] == 422
