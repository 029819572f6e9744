"""The bookkeeping around stages, with stages of our own making."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from covaria.errors import Cancelled, Interrupted, InvalidInput, RefusedOutput
from covaria.operations.one_machine import run_stages
from covaria.request.model import AnalysisOptions, DensityOptions, IngestOptions, ReconstructionOptions, Request
from covaria.running import bookkeeping
from covaria.stage import Context, Job
from covaria.tree import AnalysisTree, Tree


class Stages:
    """Records what ran; a test replaces one stage's body."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.bodies: dict[str, Callable[[Job, Context], None]] = {"analysis": self._analysis}

    def load(self, name: str) -> Callable[[Job, Context], None]:
        def body(job: Job, context: Context) -> None:
            self.ran.append(name)
            context.progress("images", 0, 10)
            self.bodies.get(name, lambda job, context: None)(job, context)
            context.progress("images", 10, 10)

        return body

    @staticmethod
    def _analysis(job: Job, context: Context) -> None:
        tree = Tree(job.request.out)
        with tree.staging("analysis") as staged:
            AnalysisTree(staged).data.mkdir()
            tree.publish(staged, tree.analysis(job.request.analysis_zdim))


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    made = Stages()
    monkeypatch.setattr(bookkeeping, "load_stage", made.load)
    return made


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    particles = tmp_path / "particles.star"
    particles.write_text("data_\n")
    return Request(out=tmp_path / "out", ingest=IngestOptions(particles=particles))


def _run(request: Request, chosen: tuple[str, ...] | None = None, console: Console | None = None) -> dict:
    quiet = console or Console(file=io.StringIO())
    try:
        run_stages(request, chosen, command="run", command_line="covaria run x", device="cpu", console=quiet)
    finally:
        document = json.loads((request.out / "job.json").read_text()) if (request.out / "job.json").exists() else {}
    return document


def test_a_whole_run_and_its_books(stages: Stages, request_: Request) -> None:
    terminal = io.StringIO()
    document = _run(request_, console=Console(file=terminal, width=200))
    assert stages.ran == ["ingest", "reconstruction", "density", "analysis"]
    assert document["status"] == "succeeded"
    assert list(document["stages"]) == stages.ran
    stage = document["stages"]["reconstruction"]
    assert stage["status"] == "succeeded" and stage["device"] == "cpu" and stage["peak_memory_bytes"] > 1e6
    assert stage["finished_at"] >= stage["started_at"] and stage["images_per_second"] > 0
    assert document["environment"]["hostname"] and document["environment"]["python"]
    assert document["inputs"][0]["size"] == 6 and len(document["inputs"][0]["sha256"]) == 64
    assert document["parameters"]["ingest"]["downsample"] == 256
    tree = Tree(request_.out)
    assert tree.command_txt.read_text() == "covaria run x\n"
    assert "succeeded" in tree.readme.read_text()
    lines = tree.run_log.read_text().splitlines()
    timed = re.compile(r"\d\d:\d\d:\d\d (?:WARNING )?(.*)")  # lines of progress carry no time of day
    shown = [match[1] for line in terminal.getvalue().splitlines() if (match := timed.fullmatch(line))]
    logged = [re.sub(r"^\S+ [A-Z]+ (\w+) ", r"\1: ", line) for line in lines]
    assert [line for line in logged if line in shown] == shown, "the screen shows lines of the log, in its order"
    assert [line for line in shown if ": done in " in line] == [line for line in logged if ": done in " in line]
    assert not any("started on" in line for line in shown)
    timestamp, level, stage_name, _ = lines[0].split(" ", 3)
    assert timestamp[:2] == "20" and level == "INFO" and stage_name == "ingest"
    for name in ("job.json", "command.txt", "run.log", "README.txt"):
        assert (tree.analysis(10) / name).is_file()
    assert list(json.loads((tree.analysis(10) / "job.json").read_text())["stages"]) == ["analysis"]
    assert not tree.temporary.exists() or not list(tree.temporary.iterdir())


def test_skipped_stages_are_not_planned(stages: Stages, request_: Request) -> None:
    document = _run(request_.model_copy(update={"density": DensityOptions(enabled=False)}))
    assert stages.ran == list(document["stages"]) == ["ingest", "reconstruction", "analysis"]
    stages.ran.clear()
    only_mean = request_.model_copy(
        update={"out": request_.out.parent / "mean", "reconstruction": ReconstructionOptions(only_mean=True)}
    )
    assert _run(only_mean)["status"] == "succeeded"
    assert stages.ran == ["ingest", "reconstruction"]


def test_a_finished_run_is_refused_and_overwrite_replaces_only_ours(stages: Stages, request_: Request) -> None:
    _run(request_)
    keep = request_.out / "notes.txt"
    keep.write_text("mine")
    stale = Tree(request_.out).analysis(4)
    stale.mkdir()
    with pytest.raises(RefusedOutput, match="finished run"):
        _run(request_)
    stages.ran.clear()
    _run(request_.model_copy(update={"overwrite": True}))
    assert len(stages.ran) == 4 and keep.read_text() == "mine" and not stale.exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_folders_are_refused(stages: Stages, request_: Request, overwrite: bool) -> None:
    request_.out.mkdir()
    (request_.out / "model").mkdir()
    with pytest.raises(RefusedOutput, match="not made by Covaria"):
        _run(request_.model_copy(update={"overwrite": overwrite}))
    assert sorted(path.name for path in request_.out.iterdir()) == ["model"] and stages.ran == []


def test_a_failure_is_recorded_and_the_next_run_resumes(stages: Stages, request_: Request) -> None:
    def fail(job: Job, context: Context) -> None:
        context.checkpoints.save("mean", {"x": np.arange(3)})
        raise InvalidInput("NaN in image", file="a.mrcs", row=7, hint="look at it")

    stages.bodies["reconstruction"] = fail
    with pytest.raises(InvalidInput):
        _run(request_)
    document = json.loads(Tree(request_.out).job_json.read_text())
    assert document["status"] == "failed"
    assert document["error"] == {"type": "InvalidInput", "message": "a.mrcs, row 7: NaN in image", "hint": "look at it"}
    seen = {}

    def succeed(job: Job, context: Context) -> None:
        seen.update(context.checkpoints.load("mean") or {})
        assert context.checkpoints.load("mask") is None

    stages.bodies["reconstruction"] = succeed
    stages.ran.clear()
    document = _run(request_)
    assert stages.ran == ["reconstruction", "density", "analysis"] and document["status"] == "succeeded"
    assert "error" not in document
    np.testing.assert_array_equal(seen["x"], [0, 1, 2])
    assert not Tree(request_.out).checkpoints("reconstruction").exists()


def test_changed_options_never_resume_stale_results(stages: Stages, request_: Request) -> None:
    def stop(job: Job, context: Context) -> None:
        context.checkpoints.save("mean", {"x": np.arange(3)})
        raise Interrupted("stop")

    stages.bodies["reconstruction"] = stop
    with pytest.raises(Interrupted):
        _run(request_)
    assert json.loads(Tree(request_.out).job_json.read_text())["status"] == "queued"

    def look(job: Job, context: Context) -> None:
        assert context.checkpoints.load("mean") is None

    stages.bodies["reconstruction"] = look
    stages.ran.clear()
    _run(request_.model_copy(update={"reconstruction": ReconstructionOptions(zdim=(3,))}))
    assert stages.ran == ["reconstruction", "density", "analysis"], "ingest does not depend on zdim"


def test_changed_input_runs_ingest_again(stages: Stages, request_: Request) -> None:
    stages.bodies["density"] = lambda job, context: (_ for _ in ()).throw(Interrupted("stop"))
    with pytest.raises(Interrupted):
        _run(request_)
    request_.ingest.particles.write_text("data_changed\n")
    del stages.bodies["density"]
    stages.ran.clear()
    _run(request_)
    assert stages.ran == ["ingest", "reconstruction", "density", "analysis"]


def test_sigterm_interrupts_at_the_next_progress(stages: Stages, request_: Request) -> None:
    before = signal.getsignal(signal.SIGTERM)
    stages.bodies["ingest"] = lambda job, context: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Interrupted, match="SIGTERM"):
        _run(request_)
    assert signal.getsignal(signal.SIGTERM) is before
    assert stages.ran == ["ingest"]


def test_cancel_file_cancels(stages: Stages, request_: Request) -> None:
    def cancel(job: Job, context: Context) -> None:
        Tree(job.request.out).cancel.touch()
        for i in range(200):
            context.progress("slow", i, 201)
            time.sleep(0.01)

    stages.bodies["reconstruction"] = cancel
    with pytest.raises(Cancelled):
        _run(request_)
    assert json.loads(Tree(request_.out).job_json.read_text())["status"] == "cancelled"
    del stages.bodies["reconstruction"]
    assert _run(request_)["status"] == "succeeded", "a new run removes the cancel file"


def test_a_stage_alone(stages: Stages, request_: Request) -> None:
    _run(request_)
    stages.ran.clear()
    with pytest.raises(RefusedOutput, match="finished analysis"):
        _run(request_, ("analysis",))
    other = request_.model_copy(update={"analysis": AnalysisOptions(zdim=4)})
    document = _run(other, ("analysis",))
    assert stages.ran == ["analysis"] and list(document["stages"]) == [
        "ingest",
        "reconstruction",
        "density",
        "analysis",
    ]
    assert Tree(request_.out).analysis(10).is_dir() and Tree(request_.out).analysis(4).is_dir()
    assert len(Tree(request_.out).command_txt.read_text().splitlines()) == 2


def test_an_unexpected_error_leaves_its_traceback_in_the_log(stages: Stages, request_: Request) -> None:
    stages.bodies["ingest"] = lambda job, context: 1 / 0  # type: ignore[return-value]
    with pytest.raises(ZeroDivisionError):
        _run(request_)
    assert "Traceback" in Tree(request_.out).run_log.read_text()
    assert json.loads(Tree(request_.out).job_json.read_text())["error"]["type"] == "ZeroDivisionError"


def test_job_json_is_valid_at_every_instant(stages: Stages, request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at it after every rename in the tree."""
    real, seen = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        result = real(self, target)
        if Tree(request_.out).job_json.exists():
            seen.append(json.loads(Tree(request_.out).job_json.read_text())["status"])
        return result

    monkeypatch.setattr(Path, "replace", replace)
    _run(request_)
    assert len(seen) > 20 and set(seen) == {"running", "queued", "succeeded"}


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "cuda:x"])
def test_an_impossible_device_is_refused_before_any_stage(stages: Stages, request_: Request, device: str) -> None:
    with pytest.raises(InvalidInput, match="device"):
        run_stages(request_, command="run", command_line="x", device=device, console=Console(file=io.StringIO()))
    assert stages.ran == []
