"""The table of nuisances: its rows can be simulated, and its figures are those of results whose quality is known."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner

import covaria.cli
from covaria.simulation.files import write_volume
from covaria.simulation.truth import read_truth
from covaria.tree import Tree, atomic

COUNT = 200


@pytest.fixture
def robustness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    import robustness

    return robustness


def _simulate(out: Path, options: str, count: int = COUNT) -> Path:
    words = ["simulate", str(out), *options.split(), "--box", "16", "--n-images", str(count)]
    result = CliRunner().invoke(covaria.cli.application(), words)
    assert result.exit_code == 0, result.output
    return out


def test_rows_are_chosen_by_name(robustness: ModuleType) -> None:
    assert robustness.chosen("clean,blobs") == ["clean", "blobs"]
    assert robustness.chosen("every") == list(robustness.ROWS)
    with pytest.raises(ArgumentTypeError, match="no row nix: every, or some of clean"):
        robustness.chosen("clean,nix")


def test_every_row_can_be_simulated(robustness: ModuleType, tmp_path: Path) -> None:
    for name, row in robustness.ROWS.items():
        truth = read_truth(_simulate(tmp_path / name, f"{row.states} {row.nuisances}", 40))
        assert (len(truth.volumes) == 1) == name.startswith("rigid")
        assert (tmp_path / name / "gt" / "images.txt").exists() == (name not in ("clean", "rigid"))


def test_figures_of_a_perfect_run(robustness: ModuleType, tmp_path: Path) -> None:
    truth = read_truth(_simulate(tmp_path / "set", f"{robustness.CURVED} {robustness.JUNK}"))
    tree = Tree(tmp_path / "out")
    root = (truth.volumes - truth.mean).reshape(len(truth.volumes), -1) * np.sqrt(truth.probabilities)[:, None]
    _, _, components = np.linalg.svd(root, full_matrices=False)
    for index in range(2):
        write_volume(tree.eigenvolume(index), components[index].reshape(truth.mean.shape).astype(np.float32), 16.0)
    latents = np.where(truth.images.good, truth.latents[:, 0], 7.0)
    other = np.random.default_rng(0).standard_normal(COUNT)
    atomic.save_npy(tree.latent_coords(robustness.ZDIM), np.stack([other, -latents], axis=1))
    atomic.write_pickle(tree.params, {"significant_components": 2})
    confirmed, first, second, rank, *flags = robustness.figures(truth, tree)
    assert confirmed == "2" and float(first) > 0.98 and float(second) > 0.98 and rank == "1.000"
    assert flags == ["-", "-", "-"], "this run has no table of particles"


def test_flags_are_read_from_the_table_of_particles(robustness: ModuleType, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    truth = read_truth(_simulate(tmp_path / "set", "--empty 0.1 --blobs 0.05"))
    outlier, empty = truth.images.blob.astype(float), truth.images.empty.astype(float)
    outlier[np.flatnonzero(truth.images.blob)[:5]] = 0.2
    empty[np.flatnonzero(truth.images.good)[:20]] = 0.9
    table = tmp_path / "particles.parquet"
    write_table(pyarrow.table({"p_empty": empty, "p_outlier": outlier}), table)
    assert robustness.flags(truth, table) == ["1.000 / 0.500", "none; 0 flagged", "0.500 / 1.000"]
    write_table(pyarrow.table({"p_empty": empty[1:], "p_outlier": outlier[1:]}), table)
    with pytest.raises(SystemExit, match="199 rows for 200 images"):
        robustness.flags(truth, table)
