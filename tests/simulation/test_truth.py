"""The demo's scores on results whose quality is known."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from covaria.errors import MissingFile
from covaria.simulation import truth as scoring
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN
from covaria.simulation.files import write_volume
from covaria.tree import Tree, atomic


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("set")
    simulate(out, BUILT_IN["plane"](4), SimulationOptions(n_images=200, box=32, pixel_size_angstrom=8.0))
    return out


def _perfect(out: Path, truth: scoring.Truth) -> Tree:
    tree = Tree(out)
    write_volume(tree.mean, truth.mean.astype(np.float32), 8.0)
    root = ((truth.volumes - truth.mean).reshape(len(truth.volumes), -1)) * np.sqrt(truth.probabilities)[:, None]
    _, vectors = np.linalg.eigh(root @ root.T)
    for index, column in enumerate(vectors.T[::-1][:2]):
        volume = (column @ root).reshape(truth.mean.shape)
        write_volume(tree.eigenvolume(index), (volume / np.linalg.norm(volume)).astype(np.float32), 8.0)
    atomic.save_npy(tree.latent_coords(2), truth.latents @ np.diag([1.0, -3.0]))
    atomic.save_npy(tree.contrasts(2), truth.contrast * 2)
    return tree


def test_the_truth_itself_scores_one(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = scoring.read_truth(dataset)
    figures = scoring.score(truth, _perfect(tmp_path, truth))
    assert figures.pop("mean map: resolution at FSC 0.5, A") == pytest.approx(32 * 8 / 15)
    assert len(figures) == 6 and all(value == pytest.approx(1, abs=1e-4) for value in figures.values())
    scoring.main([str(dataset), str(tmp_path)])
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_noise_scores_nothing(dataset: Path, tmp_path: Path) -> None:
    truth = scoring.read_truth(dataset)
    tree = _perfect(tmp_path, truth)
    rng = np.random.default_rng(0)
    for path in (tree.mean, tree.eigenvolume(0), tree.eigenvolume(1)):
        write_volume(path, rng.standard_normal((32,) * 3).astype(np.float32), 8.0)
    rows = rng.standard_normal((200, 2))
    rows[:5] = np.nan
    atomic.save_npy(tree.latent_coords(2), rows)
    atomic.save_npy(tree.contrasts(2), rows[:, 0])
    figures = scoring.score(truth, tree)
    assert figures.pop("mean map: resolution at FSC 0.5, A") > 100
    assert all(abs(value) < 0.25 for value in figures.values()), figures


def test_a_tilted_component_captures_its_cosine_squared(dataset: Path, tmp_path: Path) -> None:
    truth = scoring.read_truth(dataset)
    tree = _perfect(tmp_path, truth)
    first, other = mrcfile.read(tree.eigenvolume(0)).astype(float), np.zeros((32,) * 3)
    other[0, 0, 0] = 1
    root = (truth.volumes - truth.mean).reshape(4, -1) * np.sqrt(truth.probabilities)[:, None]
    tilted = 0.8 * first + 0.6 * other
    assert np.abs(root @ other.ravel()).max() < 1e-2 * np.abs(root @ first.ravel()).max()
    assert scoring.captured_variance(truth, [tilted]) == pytest.approx(0.64, abs=0.02)


def test_what_is_missing_is_named(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="gt"):
        scoring.read_truth(tmp_path)
    with pytest.raises(MissingFile, match=r"mean\.mrc"):
        scoring.score(scoring.read_truth(dataset), Tree(tmp_path))
