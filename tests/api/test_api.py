"""`covaria.open` and `covaria.run`: what they give is what the files hold; what is not there is said."""

from __future__ import annotations

import doctest
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

import covaria
import covaria.cli
from covaria.api import opened, start, subset, volume
from covaria.cli import stages
from covaria.errors import InvalidInput, MissingFile, RefusedOutput
from covaria.maps import read_volume
from covaria.particles import read_particles
from covaria.request.model import IngestOptions
from covaria.selection.model import Rows
from covaria.tree import Tree, record


@pytest.mark.parametrize("module", [opened, start, subset, volume])
def test_the_examples_of_the_documentation(module, notebook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, _ = notebook
    for name in ("set", "out"):
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(module, extraglobs={"covaria": covaria})
    assert found.attempted > 0 and found.failed == 0


def test_maps_and_latents_are_those_of_the_files(notebook) -> None:
    folder, names = notebook
    run, tree = covaria.open(folder / "out"), Tree(folder / "out")
    assert run.status == "succeeded" and run.zdims == [1, 2]
    np.testing.assert_array_equal(run.latents(2), np.load(tree.latent_coords(2)))
    mean, pixel = read_volume(tree.mean_filtered)
    first, _ = read_volume(tree.eigenvolume(0))
    np.testing.assert_allclose(run.volume([0.7]).values, mean + np.float32(0.7) * first, atol=1e-6)
    assert run.volume([0.7]).pixel_size_angstrom == pytest.approx(pixel)
    written, _ = read_volume(folder / "state.mrc")
    np.testing.assert_array_equal(written, names["state"].values)
    halves = [half.values.ravel() for half in names["state"].halves]
    assert np.corrcoef(halves)[0, 1] > 0.9
    assert names["state"].resolution_angstrom > 2 * pixel - 1e-3


def test_the_motion_is_that_of_the_truth(notebook) -> None:
    """Two states: the maps at either side of the first component lie nearest to one each."""
    folder, names = notebook
    truth = [read_volume(path)[0].ravel() for path in sorted((folder / "set" / "gt").glob("vol*.mrc"))]
    low, _, high = (one.values.ravel() for one in names["maps"])
    difference = np.corrcoef(high - low, truth[1] - truth[0])[0, 1]
    assert abs(difference) > 0.8
    labels = np.loadtxt(folder / "set" / "gt" / "labels.txt").astype(int)
    agreement = np.corrcoef(names["run"].particles.z1, labels)[0, 1]
    assert abs(agreement) > 0.8 and np.sign(agreement) == np.sign(difference)


def test_a_cluster_is_its_rows_of_the_source(notebook) -> None:
    folder, names = notebook
    table, one = names["run"].particles, names["one"]
    np.testing.assert_array_equal(one.rows, np.flatnonzero(table.cluster == 1))
    assert one.share == pytest.approx(len(one) / len(table))
    map_there = read_volume(folder / "out/analysis_2/kmeans/center001.mrc")[0]
    np.testing.assert_array_equal(one.volume.values, map_there)
    every = read_particles(IngestOptions(particles=folder / "set/particles.star"))
    written = folder / "set" / "written.star"
    one.write_star(written)
    some = read_particles(IngestOptions(particles=written))
    np.testing.assert_allclose(some.rotations, every.rotations[one.rows])
    with pytest.raises(RefusedOutput, match="is there already"):
        one.write_star(written)
    assert sorted(path.name for path in one.write(folder / "one").iterdir()) == [
        "indices.pkl", "indices.txt", "particles.star",
    ]  # fmt: skip


def test_what_cannot_be_is_said(notebook, tmp_path: Path) -> None:
    folder, names = notebook
    run = names["run"]
    with pytest.raises(InvalidInput, match="zdim 3 was not computed; stored: 1, 2"):
        run.latents(3)
    with pytest.raises(InvalidInput, match="zdim 3 was not computed"):
        run.state([0.0, 0.0, 0.0])
    with pytest.raises(InvalidInput, match="there is no cluster 7; the last is 1"):
        run.cluster(7)
    with pytest.raises(InvalidInput, match="2 coordinates, 1 components are confirmed"):
        run.point(1.0, 1.0)
    with pytest.raises(InvalidInput, match="no column 'colour'"):
        run.select("colour > 1").rows  # noqa: B018
    with pytest.raises(InvalidInput, match="no particle fulfils"):
        run.select("z1 > 1000").write_star(tmp_path / "none.star")
    with pytest.raises(InvalidInput, match="is not an output directory"):
        covaria.open(tmp_path)
    with pytest.raises(RefusedOutput):
        covaria.run(folder / "set/particles.star", folder / "out", quiet=True)
    with pytest.raises(InvalidInput, match="n_clusters: must be at least 1; found '0'"):
        covaria.run("particles.star", tmp_path / "out", n_clusters=0)
    with pytest.raises(MissingFile, match="mask"):
        covaria.run(folder / "set/particles.star", tmp_path / "out", mask=tmp_path / "none.mrc")
    assert not (tmp_path / "out").exists()


def test_the_line_of_the_shell_asks_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []
    monkeypatch.setattr(stages, "_execute", lambda *words: heard.append(words))
    given = {
        "out": Path("a b"), "ingest.particles": Path("p.star"), "reconstruction.zdim": (1, 3), "analysis.b_factor": 2.0,
        "density.enabled": False, "ingest.downsample": None, "reconstruction.correct_contrast": False,
        "reconstruction.only_mean": True, "ingest.class_number": 2, "analysis.skip_umap": False,
    }  # fmt: skip
    line = start.command_line(given)
    get_command(covaria.cli.application()).main(shlex.split(line)[1:], standalone_mode=False)
    request = heard[0][2]
    wanted = start.checked(start.Request, start._nested(given), {})
    particles = {"ingest": {"particles"}}
    assert request.model_dump(exclude=particles) == wanted.model_dump(exclude=particles)


def test_importing_covaria_costs_nothing() -> None:
    code = "import sys, covaria; print([m for m in ('numpy', 'torch', 'pandas', 'pydantic') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_examples_of_the_guide(notebook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(notebook[0] / "out")
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "guide" / "python.md"
    found = doctest.testfile(str(page), module_relative=False)
    assert found.attempted > 10 and found.failed == 0


@pytest.mark.parametrize(
    ("gone", "ask"),
    [
        ("output/volumes/mean_filt.mrc", lambda run: run.mean),
        ("model/zdim_2/latent_coords.npy", lambda run: run.latents(2)),
        ("model/params.pkl", lambda run: run.deviations),
        ("analysis_2/kmeans/center001.mrc", lambda run: run.cluster(1).volume),
        (".covaria/particles.npz", lambda run: run.select("contrast > 0").rows),
    ],
)
def test_of_a_half_deleted_run_the_missing_file_is_named(notebook, tmp_path: Path, gone: str, ask) -> None:
    out = tmp_path / "out"
    shutil.copytree(notebook[0] / "out", out)
    (out / gone).unlink()
    run = covaria.open(out)
    assert run.findings.confirmed == 1, "what is there is still told"
    with pytest.raises(MissingFile) as told:
        ask(run)
    assert str(out / gone) in str(told.value)


def test_an_unfinished_run_opens_with_what_is_there(notebook, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(notebook[0] / "out", out)
    tree = Tree(out)
    record.write_stage_state(tree, "analysis", {"status": "failed", "error": {"type": "E", "message": "m", "hint": ""}})
    run = covaria.open(out)
    assert run.status == "failed" and run.latents(2).shape == (400, 2)


def test_one_particle_is_a_subset_too(notebook, tmp_path: Path) -> None:
    folder, names = notebook
    one = names["run"].select(Rows(rows=(3,)))
    path = one.write_star(folder / "set" / "one.star")
    some = read_particles(IngestOptions(particles=path))
    every = read_particles(IngestOptions(particles=folder / "set/particles.star"))
    assert len(one) == len(some) == 1
    np.testing.assert_allclose(some.rotations[0], every.rotations[3])
