"""`covaria inspect` and `covaria downsample`: what they say, what they write, how they end."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from covaria.cli import downsample, inspect
from covaria.errors import CovariaError
from covaria.particles import read_particles
from covaria.request.model import IngestOptions

app = typer.Typer()
inspect.register(app)
downsample.register(app)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture goes into the current folder."""
    monkeypatch.chdir(tmp_path)


def run(*arguments) -> tuple[int, str]:
    """(exit code as the command line would give it, output)."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, CovariaError):
        return result.exception.exit_code, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_complete_input_is_exported_and_reads_back(workshop, tmp_path):
    star = workshop.star()
    code, output = run("inspect", star, "--export", tmp_path / "pkl")
    assert code == 0 and "6 particles" in output
    direct = read_particles(IngestOptions(particles=star))
    pickled = read_particles(
        IngestOptions(particles=tmp_path / "stack.mrcs", poses=tmp_path / "pkl/poses.pkl", ctf=tmp_path / "pkl/ctf.pkl")
    )
    np.testing.assert_allclose(pickled.rotations, direct.rotations, atol=1e-12)
    np.testing.assert_allclose(pickled.translations, direct.translations, atol=1e-12)
    np.testing.assert_allclose(pickled.ctf.defocus_u_angstrom, direct.ctf.defocus_u_angstrom, rtol=1e-6)
    rotations, translations = pickle.loads((tmp_path / "pkl/poses.pkl").read_bytes())
    assert rotations.shape == (6, 3, 3) and translations.shape == (6, 2)
    assert pickle.loads((tmp_path / "pkl/ctf.pkl").read_bytes()).shape == (6, 9)


def test_stacks_are_not_needed(workshop, tmp_path):
    star = workshop.star(stack=False)
    code, output = run("inspect", star, "--export", tmp_path / "pkl", "--json")
    summary = json.loads(output)
    assert code == 0
    assert summary["missing"]["stacks"] == ["stack.mrcs"]
    assert len(list((tmp_path / "pkl").iterdir())) == 2
    assert run("inspect", star)[0] == 1  # nothing exported: the missing stack counts


def test_what_is_missing_is_named_and_the_rest_written(workshop, tmp_path):
    star = workshop.star(particles={"_rlnDefocusV": None})
    code, output = run("inspect", star, "--export", tmp_path / "pkl")
    assert code == 1 and "_rlnDefocusV" in output
    assert [path.name for path in (tmp_path / "pkl").iterdir()] == ["poses.pkl"]
    star = workshop.star(particles={"_rlnAngleTilt": None})
    code, output = run("inspect", star, "--export", tmp_path / "pkl2")
    assert code == 1 and "_rlnAngleTilt" in output
    assert [path.name for path in (tmp_path / "pkl2").iterdir()] == ["ctf.pkl"]


def test_broken_input_is_refused(workshop, tmp_path):
    values = list(workshop.particles["_rlnAngleRot"])
    values[1] = "nan"
    code, output = run("inspect", workshop.star(particles={"_rlnAngleRot": values}), "--export", tmp_path / "pkl")
    assert code == 2 and "row 2" in output
    assert not (tmp_path / "pkl").exists()


def test_a_stack_that_does_not_fit_is_refused(workshop, tmp_path):
    star = workshop.star()
    workshop.write_stack(tmp_path / "stack.mrcs", np.zeros((6, 32, 32), np.float32))
    code, output = run("inspect", star)
    assert code == 2 and "32 x 32" in output


def test_the_summary_counts_and_notes(workshop):
    halves = ["1", "2", "1", "1", "2", "1"]
    star = workshop.star(optics={"_rlnBeamTiltX": "0.2"}, particles={"_rlnRandomSubset": halves})
    summary = json.loads(run("inspect", star, "--json")[1])
    assert summary["half_sets"] == [4, 2]
    assert summary["optics_groups"][0]["voltage_kv"] == 300.0
    assert summary["ctf"]["defocus_u_angstrom"]["highest"] == 15005.0
    assert any("_rlnBeamTiltX" in note for note in summary["notes"])
    assert "_rlnBeamTiltX" in run("inspect", star)[1]


def test_a_picture_of_some_images(workshop, tmp_path):
    pytest.importorskip("matplotlib")
    workshop.images[2] = np.nan
    code, _ = run("inspect", workshop.star(), "--picture", tmp_path / "some.png")
    assert code == 0
    assert (tmp_path / "some.png").read_bytes().startswith(b"\x89PNG")
    assert run("inspect", workshop.star(), "--picture", tmp_path / "some.svg")[0] == 2


def test_downsample_writes_stack_and_star(workshop, tmp_path):
    workshop.images = np.random.default_rng(0).normal(size=(6, 32, 32)).astype(np.float32)
    star = workshop.star(optics={"_rlnImageSize": "32"})
    code, output = run("downsample", star, "-D", 16, "-o", tmp_path / "small")
    assert code == 0, output
    small = read_particles(IngestOptions(particles=tmp_path / "small/particles.16.star"))
    assert (small.box, small.pixel_size_angstrom) == (16, 3.0)
    assert run("downsample", star, "-D", 16, "-o", tmp_path / "small")[0] == 2
    assert run("downsample", star, "-D", 16, "-o", tmp_path / "small", "--overwrite")[0] == 0
    assert run("downsample", tmp_path / "stack.mrcs", "-D", 20, "-o", tmp_path / "small")[0] == 1
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == [
        "particles.16.mrcs", "particles.16.star", "particles.20.mrcs",
    ]  # fmt: skip
