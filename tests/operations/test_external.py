"""Latents from elsewhere on a run's images: confirmed where they say something, refused where they are not theirs."""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from covaria.cli import application
from covaria.errors import CovariaError, InvalidInput
from covaria.maps import fsc, read_volume
from covaria.operations.external import make_run, read_source
from covaria.operations.one_machine import run_stages
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.results.analysis import read_clusters
from covaria.results.external import in_rows, read_external
from covaria.simulation.dataset import SimulationOptions
from covaria.simulation.ensemble import BUILT_IN
from covaria.testing import MemoryContext, TruthSet
from covaria.tree import AnalysisTree, Tree, record

N, BOX = 400, 24


@dataclass(frozen=True)
class MeanOnly:
    """A run that looked for no motion, of two states."""

    tree: Tree
    truth: TruthSet


@pytest.fixture(name="mean_only", scope="module")
def mean_only_fixture(tmp_path_factory: pytest.TempPathFactory) -> MeanOnly:
    folder = tmp_path_factory.mktemp("mean")
    options = SimulationOptions(n_images=N, box=BOX, pixel_size_angstrom=8.0, snr=0.5, seed=4)
    truth = TruthSet.simulated(folder / "set", BUILT_IN["presence"](2), options)
    request = Request(
        out=folder / "out",
        ingest=IngestOptions(particles=folder / "set" / "particles.star", downsample=None),
        reconstruction=ReconstructionOptions(only_mean=True),
    )
    console = Console(file=io.StringIO())
    return MeanOnly(
        run_stages(request, command="run", command_line="covaria run", device="cpu", console=console), truth
    )


def latents(truth: TruthSet, columns: int = 1) -> np.ndarray:
    """The state with noise, then columns that say nothing; far from 0, in units of their own."""
    rng = np.random.default_rng(0)
    nothing = rng.normal(size=(N, columns - 1))
    return 50 + 7 * np.column_stack([truth.labels + rng.normal(0, 0.2, N), nothing])


def test_the_images_confirm_what_says_something_and_not_the_rest(mean_only: MeanOnly, tmp_path: Path) -> None:
    values = latents(mean_only.truth, 3)[:, [1, 0, 2]]
    np.save(tmp_path / "z.npy", values)
    made = Tree(tmp_path / "made")
    given = make_run(read_source(mean_only.tree, tmp_path / "z.npy"), made, MemoryContext())
    assert given.confirmed == 1 and given.order.tolist() == [1, 0, 2], given.z_score
    assert given.z_score[0] > 8 and np.abs(given.z_score[1:]).max() < 4
    first, second = mean_only.truth.volumes
    found = read_volume(made.eigenvolume(0))[0]
    assert fsc(found, second - first)[1:6].min() > 0.9
    # density for each unit of a coordinate whose states lie 7 apart; its noise shortens that: 0.24 / (0.24 + 0.04)
    slope = float((found * (second - first)).sum() / ((second - first) ** 2).sum())
    assert slope * 7 == pytest.approx(0.86, abs=0.12)
    about = json.loads(made.external.read_text())
    assert about["columns"] == ["z2", "z1", "z3"] and about["file"]["sha256"]
    stored = np.load(made.latent_coords(3))
    np.testing.assert_allclose(stored[:, 0] + about["subtracted_mean"][0], values[:, 1], rtol=1e-4)


def test_half_sets_stay_apart(mean_only: MeanOnly, tmp_path: Path) -> None:
    """Of coordinates that say nothing, the half-sets' components do not agree."""
    np.save(tmp_path / "z.npy", np.random.default_rng(3).normal(size=(N, 2)))
    given = make_run(read_source(mean_only.tree, tmp_path / "z.npy"), Tree(tmp_path / "made"), MemoryContext())
    assert given.confirmed == 0 and np.abs(given.fsc[:, 1:6].mean()) < 0.3


@pytest.mark.slow
def test_the_command_makes_a_run_of_them(mean_only: MeanOnly, tmp_path: Path) -> None:
    with (tmp_path / "z.pkl").open("wb") as file:
        pickle.dump(latents(mean_only.truth).astype(np.float32), file)
    words = ["external", mean_only.tree.out, "--latents", tmp_path / "z.pkl", "-o", tmp_path / "run", "--device", "cpu"]
    words += ["--n-clusters", 2, "--n-vols-along-path", 2, "--memory-gb", 2]
    result = CliRunner().invoke(application(), [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    tree = Tree(tmp_path / "run")
    assert record.job_document(tree)["status"] == "succeeded" and tree.density_knee.is_file()
    analysis = AnalysisTree(tree.analysis(1))
    labels = read_clusters(analysis).labels
    agreeing = (labels == mean_only.truth.labels).mean()
    assert max(agreeing, 1 - agreeing) > 0.97
    moved = read_volume(analysis.center_files(1).unfiltered)[0] - read_volume(analysis.center_files(0).unfiltered)[0]
    first, second = mean_only.truth.volumes
    assert abs(float(fsc(moved, second - first)[1:5].mean())) > 0.9
    assert analysis.trajectory(0).state(1).half(2).is_file()
    again = CliRunner().invoke(application(), [str(word) for word in words])
    assert isinstance(again.exception, CovariaError) and "not empty" in str(again.exception)


def test_latents_of_other_particles_are_refused(mean_only: MeanOnly, tmp_path: Path) -> None:
    for values, says in (
        (np.zeros((N - 1, 2)), f"holds {N - 1} rows; the run has {N}"),
        (np.where(np.arange(N)[:, None] == 7, np.nan, np.random.default_rng(0).normal(size=(N, 2))), "row 8"),
        (np.column_stack([np.arange(N), np.ones(N)]), "the same in all particles"),
        (np.zeros((N, 2, 2)), "shape"),
        (np.zeros((N, 65)), "shape"),
        (np.array(["a"] * N), "shape"),
    ):
        np.save(tmp_path / "z.npy", values)
        with pytest.raises(InvalidInput, match=says):
            read_source(mean_only.tree, tmp_path / "z.npy")
    (tmp_path / "z.txt").write_text("1 2")
    with pytest.raises(InvalidInput, match="not a kind of file"):
        read_external(tmp_path / "z.txt")
    (tmp_path / "z.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InvalidInput, match="refused as a pickle"):
        read_external(tmp_path / "z.pkl")


def test_components_of_3d_variability_come_by_their_columns_and_uids(tmp_path: Path) -> None:
    names = [("uid", "<u8"), ("components_mode_0/value", "<f4"), ("components_mode_1/value", "<f4"), ("other", "<f4")]
    table = np.zeros(4, names)
    table["uid"], table["components_mode_0/value"], table["components_mode_1/value"] = [9, 4, 7, 2], range(4), 5
    table["components_mode_1/value"] += np.arange(4)
    source = np.zeros(3, [("uid", "<u8")])
    source["uid"] = [2, 9, 4]
    for name, values in (("v.cs", table), ("p.cs", source), ("n.cs", source)):
        with (tmp_path / name).open("wb") as file:
            np.lib.format.write_array(file, values, allow_pickle=False)
    found = read_external(tmp_path / "v.cs")
    assert found.columns == ("components_mode_0/value", "components_mode_1/value")
    rows = in_rows(found, np.ones(3, bool), tmp_path / "v.cs", tmp_path / "p.cs")
    assert rows.tolist() == [[3, 8], [0, 5], [1, 6]]
    with pytest.raises(InvalidInput, match="has no column components_mode_0/value"):
        read_external(tmp_path / "n.cs")
    assert in_rows(found, np.array([True, False, True, True, True]), tmp_path / "v.cs", tmp_path / "x.star").shape == (
        5,
        2,
    )
