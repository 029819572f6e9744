"""Density files: what is read, what is refused, and the estimate that stands in."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from covaria.errors import InvalidInput, MissingFile
from covaria.trajectory import estimate_density, read_density
from covaria.tree.atomic import write_pickle


def _write(path, **changes):
    content = {"density": np.ones((5, 6)), "latent_space_bounds": np.array([[0, 1], [-2, 2]]), "alpha": 1e-3}
    path.write_bytes(pickle.dumps(content | changes))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_every_pickle_protocol_is_read(tmp_path, protocol):
    path = tmp_path / "d.pkl"
    content = {"density": np.arange(1.0, 31.0).reshape(5, 6), "latent_space_bounds": np.array([[0.0, 1], [-2, 2]])}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    grid = read_density(path)
    assert grid.values[4, 5] == 30 and grid.bounds[1, 1] == 2
    assert np.allclose(grid.spacing, [0.25, 0.8])
    assert np.allclose(grid.at([[0.0, -2.0], [1.0, 2.0], [0.125, -2.0]]), [1, 30, 4])


def test_what_the_stage_writes_is_read(tmp_path):
    write_pickle(
        tmp_path / "d.pkl", {"density": np.ones(9), "latent_space_bounds": np.array([[0.0, 1.0]]), "alpha": 1.0}
    )
    assert read_density(tmp_path / "d.pkl").dim == 1


class _Runs:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "d.pkl"
    path.write_bytes(pickle.dumps({"density": _Runs(), "latent_space_bounds": 0}))
    with pytest.raises(InvalidInput, match="which data never need"):
        read_density(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"density": np.ones((2, 2, 2, 2, 2)), "latent_space_bounds": np.array([[0, 1]] * 5)},
        {"latent_space_bounds": np.array([[0, 1]])},
        {"latent_space_bounds": np.array([[1, 0], [0, 1]])},
        {"density": np.full((5, 6), np.nan)},
        {"density": -np.ones((5, 6))},
        {"density": np.zeros((5, 6))},
        {"density": np.array([["a"]])},
    ],
)
def test_wrong_content_is_refused(tmp_path, changes):
    with pytest.raises(InvalidInput, match=r"has |no plain number"):
        read_density(_write(tmp_path / "d.pkl", **changes))


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(MissingFile, match="is not there"):
        read_density(tmp_path / "none.pkl")
    (tmp_path / "d.pkl").write_bytes(b"not a pickle")
    with pytest.raises(InvalidInput, match="not a pickle"):
        read_density(tmp_path / "d.pkl")
    (tmp_path / "d.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(InvalidInput, match="no dictionary"):
        read_density(tmp_path / "d.pkl")


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_estimate_integrates_to_one_and_peaks_where_the_particles_are(dim):
    rng = np.random.default_rng(dim)
    latents = np.concatenate([rng.standard_normal((3000, dim)) * 0.2 + 1, rng.standard_normal((1000, dim)) * 0.2 - 1])
    latents[5] = np.nan
    grid = estimate_density(latents, dim)
    assert grid.values.sum() * grid.spacing.prod() == pytest.approx(1)
    peak = np.unravel_index(grid.values.argmax(), grid.values.shape)
    assert np.abs(grid.bounds[:, 0] + np.array(peak) * grid.spacing - 1).max() < 0.25


def test_estimate_needs_particles():
    with pytest.raises(InvalidInput, match="make no density"):
        estimate_density(np.full((5, 2), np.nan))
