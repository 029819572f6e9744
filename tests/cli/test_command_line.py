"""The command line: names, configuration, errors, start-up time. Stages are replaced by recorders."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import covaria.cli
from covaria.errors import InvalidInput, MissingFile
from covaria.maps import write_volume
from covaria.request.model import Request
from covaria.running import bookkeeping
from covaria.stage import Context, Job
from covaria.tree import AnalysisTree, Tree

ISSUE_OPTIONS = """
--zdim --analysis-zdim --downsample --no-downsample --mask --focus-mask --mask-dilate-iter --poses --ctf --ind --datadir
--strip-prefix --n-images --halfsets --uninvert-data --correct-contrast --no-correct-contrast --n-clusters
--n-trajectories --n-vols-along-path --Bfactor --skip-umap --no-density --density-dim --only-mean --seed --device
--memory-gb --overwrite --config -o
"""


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Request]]:
    """What each stage was asked for, in order."""
    asked: list[tuple[str, Request]] = []

    def load(name: str):
        def stage(job: Job, context: Context) -> None:
            asked.append((name, job.request))
            if name == "analysis":
                centers = AnalysisTree(Tree(job.request.out).analysis(job.request.analysis_zdim)).centers_txt
                centers.parent.mkdir(parents=True)
                centers.write_text("0 0\n1 1\n")

        return stage

    monkeypatch.setattr(bookkeeping, "load_stage", load)
    return asked


@pytest.fixture
def particles(tmp_path: Path) -> Path:
    path = tmp_path / "particles.star"
    path.write_text("data_\n")
    return path


def _invoke(*arguments: object):
    result = CliRunner().invoke(covaria.cli.application(), [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_run_takes_every_option_by_its_name() -> None:
    app = covaria.cli.typer.main.get_command(covaria.cli.application())
    run = app.commands["run"]  # type: ignore[attr-defined]
    names = {name for option in run.params for name in (*option.opts, *option.secondary_opts)}
    assert set(ISSUE_OPTIONS.split()) - names == set()
    commands = {"run", "ingest", "reconstruct", "density", "analyze", "simulate", "inspect", "downsample"}
    assert commands - set(app.commands) == set()  # type: ignore[attr-defined]


def test_defaults_are_those_of_the_request_models(requests, particles: Path, tmp_path: Path) -> None:
    _invoke("run", particles, "-o", tmp_path / "out", "--device", "cpu")
    assert [name for name, _ in requests] == ["ingest", "reconstruction", "density", "analysis"]
    plain = Request.model_validate({"out": tmp_path / "out", "ingest": {"particles": particles}})
    assert requests[0][1] == plain


def test_options_reach_their_stage(requests, particles: Path, tmp_path: Path) -> None:
    options = "--zdim 4,2 --analysis-zdim 2 --no-downsample --mask sphere --mask-dilate-iter 3 --uninvert-data false "
    options += "--no-correct-contrast --n-clusters 7 --n-trajectories 2 --n-vols-along-path 9 --Bfactor 50 --skip-umap "
    options += "--density-dim 1 --seed 5 --n-images 100 --device cpu --memory-gb 2"
    result = _invoke("run", particles, "-o", tmp_path / "out", *options.split())
    request = requests[0][1]
    assert request.reconstruction.model_dump() == {
        "zdim": (2, 4), "mask": "sphere", "focus_mask": None, "mask_dilate_iter": 3, "uninvert_data": "false",
        "correct_contrast": False, "only_mean": False,
    }  # fmt: skip
    assert request.ingest.downsample is None and request.ingest.n_images == 100
    assert request.analysis.model_dump(exclude={"density", "output"}) == {
        "zdim": 2, "n_clusters": 7, "n_trajectories": 2, "n_vols_along_path": 9, "b_factor": 50, "skip_umap": True,
    }  # fmt: skip
    assert request.density.dim == 1 and request.seed == 5
    assert "next" in result.stdout and "covaria state" in result.stdout


def test_stage_alone_keeps_what_the_run_was_told(requests, particles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _invoke("ingest", particles, "-o", out, "--n-images", 50)
    _invoke("reconstruct", out, "--zdim", "3,5", "--device", "cpu")
    _invoke("density", out, "--density-dim", 1)
    _invoke("analyze", out, "--zdim", 3, "--device", "cpu", "--n-clusters", 4)
    _invoke("analyze", out, "--zdim", 5, "--device", "cpu")
    names = [name for name, _ in requests]
    assert names == ["ingest", "reconstruction", "density", "analysis", "analysis"]
    last = requests[-1][1]
    assert last.ingest.n_images == 50 and last.reconstruction.zdim == (3, 5) and last.density.dim == 1
    assert last.analysis.zdim == 5
    assert [request.analysis.n_clusters for _, request in requests] == [20, 20, 20, 4, 4]
    assert len(Tree(out).command_txt.read_text().splitlines()) == 5


def test_what_an_earlier_run_was_told_can_be_taken_back(requests, particles: Path, tmp_path: Path) -> None:
    out, mask = tmp_path / "out", tmp_path / "focus.mrc"
    write_volume(mask, np.ones((16,) * 3, np.float32), 2.0)
    _invoke("run", particles, "-o", out, "--only-mean", "--focus-mask", mask, "--skip-umap", "--device", "cpu")
    again = ("--no-only-mean", "--no-focus-mask", "--overwrite", "--device", "cpu")
    _invoke("reconstruct", out, *again)
    _invoke("analyze", out, "--no-skip-umap", "--device", "cpu")
    before, last = requests[0][1], requests[-1][1]
    assert before.reconstruction.only_mean and before.reconstruction.focus_mask == mask and before.analysis.skip_umap
    assert not last.reconstruction.only_mean and last.reconstruction.focus_mask is None
    assert not last.analysis.skip_umap


def test_configuration_file(requests, particles: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"particles: {particles}\noutdir: {tmp_path / 'out'}\n"
        "zdim: [2, 6]\nno-density: true\nBfactor: 30\nn_clusters: 5\n"
    )
    _invoke("run", "--config", config, "--n-clusters", 8, "--device", "cpu")
    request = requests[0][1]
    assert request.reconstruction.zdim == (2, 6) and not request.density.enabled and request.analysis.b_factor == 30
    assert request.analysis.n_clusters == 8, "the command line wins"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zdims: 3\n", "unknown option 'zdims'"),
        ("zdim: [1\n", "row 2: no valid YAML"),
        ("- a\n- b\n", "holds a list"),
    ],
)
def test_wrong_configuration_is_named(particles: Path, tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        _invoke("run", particles, "-o", tmp_path / "out", "--config", config)
    with pytest.raises(MissingFile, match="no such configuration"):
        _invoke("run", particles, "-o", tmp_path / "out", "--config", tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--zdim", "a"), "not numbers"),
        (("--zdim", "0"), "--zdim"),
        (("--downsample", "31"), "--downsample: .*multiple of 2"),
        (("--zdim", "1,2", "--analysis-zdim", "4"), "not among --zdim 1,2"),
        (("--mask-dilate-iter", "-1"), "--mask-dilate-iter"),
        (("--device", "tpu"), "unknown device"),
    ],
)
def test_impossible_options_are_named_before_anything_runs(
    requests, particles: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        _invoke("run", particles, "-o", tmp_path / "out", *options)
    assert requests == []


def _covaria(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from covaria.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def test_an_error_is_a_few_lines_with_its_exit_code(tmp_path: Path) -> None:
    done = _covaria("run", tmp_path / "none.star", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "none.star" in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("none.star") == 1, "said once"
    assert json.loads((tmp_path / "out" / "job.json").read_text())["status"] == "failed"
    refused = _covaria("reconstruct", tmp_path)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 2
    assert _covaria("run").returncode == 2


def test_help_is_quick_and_light() -> None:
    """The modules that take seconds to import are not imported for --help."""
    program = "import sys; sys.argv = ['covaria', '--help']\nfrom covaria.cli import main\ntry:\n    main()\nfinally:\n"
    heavy = {"torch", "numpy", "pandas", "matplotlib", "scipy", "numba"}
    program += f"    print('HEAVY', sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "simulate" in done.stdout and done.stdout.rstrip().endswith("HEAVY []"), done.stdout + done.stderr


def test_simulate_and_version(tmp_path: Path) -> None:
    out = tmp_path / "set"
    done = _invoke("simulate", out, "--box", 32, "--n-images", 20, "--states", "presence")
    assert "covaria run" in done.stdout and (out / "particles.star").is_file()
    assert sorted(path.name for path in (out / "gt").glob("*.mrc")) == ["vol0000.mrc", "vol0001.mrc"]
    again = tmp_path / "again"
    _invoke("simulate", again, "--structure", out / "gt" / "vol0000.mrc", "--n-images", 5)
    parameters = json.loads((again / "gt" / "parameters.json").read_text())
    assert parameters["box"] == 32 and parameters["pixel_size_angstrom"] == 8.0, "the volume's own"
    assert _invoke("--version").stdout.startswith("covaria 0.")
