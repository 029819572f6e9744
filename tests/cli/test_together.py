"""Options that cannot work together, and inputs that cannot be used, are found before anything is read through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import covaria.cli
from covaria.cli.together import look_at_inputs, refuse_contradictions
from covaria.errors import CovariaError, InvalidInput, MissingFile
from covaria.maps import write_volume
from covaria.request.model import Request
from covaria.running import bookkeeping
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN
from covaria.tree import Tree


@pytest.fixture(autouse=True)
def no_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Any:
        raise AssertionError(f"{name} began")

    monkeypatch.setattr(bookkeeping, "load_stage", load)


def _run(tmp_path: Path, *options: object) -> None:
    (tmp_path / "p.star").write_text("data_\n")
    given = ["run", tmp_path / "p.star", "-o", tmp_path / "out", "--device", "cpu", *options]
    result = CliRunner().invoke(covaria.cli.application(), [str(word) for word in given])
    assert not (tmp_path / "out" / "job.json").exists()
    assert isinstance(result.exception, CovariaError), result.exception
    raise result.exception


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--zdim 1,2 --analysis-zdim 4", "--analysis-zdim 4 is not among --zdim 1,2"),
        ("--zdim 1,2 --density-zdim 4", "--density-zdim 4 is not among --zdim 1,2"),
        ("--zdim 1,2 --density-dim 3", "--density-dim 3 is more than"),
        ("--zdim 1,2,4 --density-zdim 2 --density-dim 3", "--density-dim 3 is more than"),
        ("--n-clusters 3 --n-trajectories 4", "3 centres have 3 pairs"),
        ("--box 128 --downsample 256", "--downsample 256 is more than --box 128"),
    ],
)
def test_contradictions(tmp_path: Path, options: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        _run(tmp_path, *options.split())


@pytest.mark.parametrize(
    "option",
    [
        "--ind {0}", "--n-images 5", "--halfsets {0}", "--poses {0}", "--ctf {0}", "--class 1", "--tomograms {0}",
        "--ntilts 3", "--symmetry C4", "--helical-rise 4.7", "--only-mean", "--refine-poses",
    ],
)  # fmt: skip
def test_what_a_set_that_grows_cannot_have(tmp_path: Path, option: str) -> None:
    """Refused by name, before OUT is made."""
    words = option.format(tmp_path / "p.star").split()
    with pytest.raises(InvalidInput, match=f"{words[0]} and a set that grows"):
        _run(tmp_path, "--growing", *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    ["--zdim 1 --n-clusters 1", "--box 128", "--no-density --density-dim 3 --zdim 1,2", "--only-mean --n-clusters 3"],
)
def test_what_works_together_is_let_through(tmp_path: Path, options: str) -> None:
    (tmp_path / "p.star").write_text("data_\n")
    given = ["run", str(tmp_path / "p.star"), "-o", str(tmp_path / "out"), "--device", "cpu", *options.split()]
    result = CliRunner().invoke(covaria.cli.application(), given)
    assert str(result.exception) == "ingest began"


def _request(tmp_path: Path, **parts: Any) -> Request:
    return Request.model_validate({"out": tmp_path / "out", "ingest": {"particles": tmp_path / "p.star"}} | parts)


@pytest.mark.parametrize("where", ["out", ".", "out/model", "out/.covaria/x", "out/job.json", "out/../out"])
def test_an_analysis_never_replaces_other_results(tmp_path: Path, where: str) -> None:
    with pytest.raises(InvalidInput, match="other results"):
        refuse_contradictions(_request(tmp_path, analysis={"output": tmp_path / where}), {}, {}, ("analysis",))


@pytest.mark.parametrize("where", ["elsewhere", "out/mine", "out/analysis_4"])
def test_an_analysis_may_lie_elsewhere(tmp_path: Path, where: str) -> None:
    refuse_contradictions(_request(tmp_path, analysis={"output": tmp_path / where}), {}, {}, ("analysis",))


def test_an_input_that_the_command_would_remove_is_refused(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "out")
    mask = {"reconstruction": {"mask": tree.mask}}
    with pytest.raises(InvalidInput, match="--mask: a result that this command replaces"):
        refuse_contradictions(_request(tmp_path, **mask), {}, {"reconstruction.mask": "--mask"}, ("reconstruction",))
    density = {"analysis": {"density": tree.density_knee}}
    refuse_contradictions(_request(tmp_path, **density), {}, {}, ("analysis",))


def test_masks_are_looked_at_before_the_first_pass(tmp_path: Path) -> None:
    write_volume(tmp_path / "blank.mrc", np.zeros((16,) * 3, np.float32), 2.0)
    (tmp_path / "text.mrc").write_text("no map")
    for option in ("--mask", "--focus-mask"):
        with pytest.raises(InvalidInput, match=r"blank.mrc: no voxel of the mask exceeds 0.5"):
            _run(tmp_path, option, tmp_path / "blank.mrc")
        with pytest.raises(InvalidInput, match=r"text.mrc"):
            _run(tmp_path, option, tmp_path / "text.mrc")
        with pytest.raises(InvalidInput, match="is no file"):
            _run(tmp_path, option, tmp_path)
    with pytest.raises(MissingFile, match=r"from_half_maps: --mask: is not there\n.*from_halfmaps, sphere, none"):
        _run(tmp_path, "--mask", "from_half_maps")


def test_a_density_is_looked_at_before_the_first_pass(tmp_path: Path) -> None:
    (tmp_path / "d.pkl").write_text("no density")
    with pytest.raises(CovariaError, match=r"d\.pkl"):
        look_at_inputs(_request(tmp_path, analysis={"density": tmp_path / "d.pkl"}), {}, ("analysis",))


def test_inspect_shows_some_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(tmp_path / "set", BUILT_IN["presence"](2), SimulationOptions(n_images=12, box=32, pixel_size_angstrom=8.0))
    monkeypatch.chdir(tmp_path)

    def inspect(*options: str) -> str:
        result = CliRunner().invoke(covaria.cli.application(), ["inspect", "set/particles.star", *options])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.output

    assert "wrote particles.images.png" in inspect()
    picture = tmp_path / "particles.images.png"
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 5000
    picture.unlink()
    assert "wrote" not in inspect("--no-picture") and json.loads(inspect("--json"))["particles"] == 12
    assert not picture.exists()
    (tmp_path / "set" / "particles.mrcs").rename(tmp_path / "away.mrcs")
    assert "no picture: " in inspect() and not picture.exists()
