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
from covaria.simulation.nuisances import Nuisances
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


def test_captured_variance_inside_the_mask(dataset: Path, tmp_path: Path) -> None:
    """What a component holds outside the particle does not count inside the mask."""
    truth = scoring.read_truth(dataset)
    tree = _perfect(tmp_path, truth)
    mask = truth.mask
    assert 0.02 < mask.mean() < 0.5 and mask[truth.volumes.max(0) > 0.05 * truth.volumes.max()].all()
    assert (truth.volumes[:, mask] ** 2).sum() > 0.98 * (truth.volumes**2).sum()
    noise = np.random.default_rng(0).standard_normal((32,) * 3)
    outside = np.where(mask, 0, noise * np.sqrt(1 / (~mask).sum()))
    first = mrcfile.read(tree.eigenvolume(0)).astype(float) + outside
    assert scoring.captured_variance(truth, [first]) == pytest.approx(0.5, abs=0.05)
    assert scoring.captured_variance(truth, [first], mask) > 0.97


def test_latents_are_compared_over_good_images(tmp_path: Path) -> None:
    spoiling = Nuisances(empty_share=0.3, bad_pose_share=0.2, blob_share=0.1)
    options = SimulationOptions(n_images=200, box=32, pixel_size_angstrom=8.0, nuisances=spoiling)
    simulate(tmp_path / "set", BUILT_IN["plane"](4), options)
    truth = scoring.read_truth(tmp_path / "set")
    tree = _perfect(tmp_path / "out", truth)
    rows = np.random.default_rng(0).permutation(truth.latents)
    rows[truth.images.good] = truth.latents[truth.images.good]
    atomic.save_npy(tree.latent_coords(2), rows)
    figures = scoring.score(truth, tree)
    assert truth.images.good.sum() == 80
    assert [figures[f"latent {k}: best rank correlation with zdim 2"] for k in range(2)] == pytest.approx([1, 1])
    assert figures["contrast: correlation"] == pytest.approx(1), "of all images, empty ones have contrast 0"


def test_precision_and_recall_of_flags() -> None:
    planted = np.array([True, True, True, True, False, False, False, False])
    good = np.array([False, False, False, False, True, True, True, False])
    flagged = np.array([True, True, True, False, True, False, False, True])
    assert scoring.precision_recall(flagged, planted, good) == (0.75, 0.75), "the last image is spoiled otherwise"
    precision, recall = scoring.precision_recall(np.zeros(8, np.bool_), planted, good)
    assert np.isnan(precision) and recall == 0
    precision, recall = scoring.precision_recall(flagged, np.zeros(8, np.bool_), good)
    assert precision == 0 and np.isnan(recall)


def test_what_is_missing_is_named(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="gt"):
        scoring.read_truth(tmp_path)
    with pytest.raises(MissingFile, match=r"mean\.mrc"):
        scoring.score(scoring.read_truth(dataset), Tree(tmp_path))
