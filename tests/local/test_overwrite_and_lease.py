"""A finished run is never lost, one process works in a folder at a time, and what was taken over changes nothing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from covaria.errors import Interrupted, InvalidInput, RefusedOutput
from covaria.job import ownership
from covaria.job.books import Books
from covaria.job.lease import LeaseLost, held, latest, take
from covaria.job.process import Process
from covaria.messages.envelope import new_message
from covaria.messages.work import Work
from covaria.operations import one_machine
from covaria.operations.one_machine import holding, run_stages
from covaria.request.identity import stage_fingerprint
from covaria.request.model import AnalysisOptions, DensityOptions, IngestOptions, ReconstructionOptions, Request
from covaria.request.stages import planned_stages
from covaria.running import bookkeeping
from covaria.running.context import stage_context
from covaria.running.stopper import Stopper
from covaria.stage import Context, Job
from covaria.tree import AnalysisTree, DensityTree, Tree, record
from covaria.tree.integrity import DOCUMENTS, verify
from covaria.tree.inventory import inventory

QUIET = Console(file=io.StringIO())
Body = Callable[[Job, Context], None]


class Stages:
    """Each writes one small file of its own that says which run made it."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.word = "first"
        self.before: dict[str, Body] = {}
        """What a stage does before it publishes."""

    def load(self, name: str) -> Body:
        return lambda job, context: self._run(name, job, context)

    def _run(self, name: str, job: Job, context: Context) -> None:
        self.ran.append(name)
        tree = Tree(job.request.out, context.pen)
        analysis = tree.analysis(job.request.analysis_zdim, job.request.analysis.name)
        context.progress("images", 0, 10)
        self.before.get(name, lambda job, context: None)(job, context)
        with tree.staging(name) as folder:
            made = Tree(folder)
            path, target = {
                "ingest": (made.downsampled_star(16), tree.downsampled),
                "reconstruction": (made.params, tree.model),
                "density": (DensityTree(made.density).knee, tree.density),
                "analysis": (AnalysisTree(made.analysis(10)).centers_txt, analysis),
            }[name]
            path.parent.mkdir(parents=True)
            path.write_text(f"{name} {self.word}")
            top = folder / path.relative_to(folder).parts[0]
            tree.publish(top, target, AnalysisTree if name == "analysis" else None)
        context.progress("images", 10, 10)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    made = Stages()
    monkeypatch.setattr(bookkeeping, "load_stage", made.load)
    return made


@pytest.fixture
def asked(tmp_path: Path) -> Request:
    particles = tmp_path / "particles.star"
    particles.write_text("data_\n")
    return Request(out=tmp_path / "out", ingest=IngestOptions(particles=particles))


def run(request: Request, chosen: tuple[str, ...] | None = None) -> None:
    run_stages(request, chosen, command="run", command_line="covaria run x", device="cpu", console=QUIET)


def results(out: Path) -> dict[str, bytes]:
    tops = [path for path in out.iterdir() if path.is_dir() and path.name != ".covaria"]
    files = [file for top in tops for file in top.rglob("*") if file.is_file() and file.name not in DOCUMENTS]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def everything(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def status(out: Path) -> str:
    return str(json.loads(Tree(out).job_json.read_text())["status"])


# ---- overwrite


@pytest.mark.parametrize("stage", ["ingest", "reconstruction", "density", "analysis"])
@pytest.mark.parametrize("how", [Interrupted("stop"), InvalidInput("bad"), SystemError("defect")])
def test_an_overwrite_that_does_not_end_leaves_each_old_result_whole(
    stages: Stages, asked: Request, stage: str, how: Exception
) -> None:
    run(asked)
    old = results(asked.out)
    stages.word = "second"

    def stop(job: Job, context: Context) -> None:
        raise how

    stages.before[stage] = stop
    again = asked.model_copy(update={"overwrite": True, "seed": 5})
    with pytest.raises(type(how)):
        run(again)
    found = results(asked.out)
    assert found.keys() >= old.keys()
    replaced = {name for name in old if found[name] != old[name]}
    done = ["ingest", "reconstruction", "density", "analysis"][: stages.ran[4:].index(stage)]
    assert all(any(found[name] == f"{word} second".encode() for word in done) for name in replaced)
    assert len(replaced) == len(done)
    document = json.loads(Tree(asked.out).job_json.read_text())
    assert document["status"] == ("queued" if isinstance(how, Interrupted) else "failed")
    left = ["ingest", "reconstruction", "density", "analysis"][len(done) + 1 :]
    assert all(document["stages"][name]["status"] == "queued" for name in left), "no old state is taken for a new one"
    found_sums = verify(Tree(asked.out))
    assert found_sums.damaged == () == found_sums.without_sum, "old results keep their sums"

    stages.before.clear()
    stages.ran.clear()
    run(again)
    assert stages.ran == [stage, *left], "the overwrite goes on where it was stopped"
    assert status(asked.out) == "succeeded"
    assert all(value.endswith(b"second") for value in results(asked.out).values())


def test_what_the_new_run_does_not_make_goes_at_its_end(stages: Stages, asked: Request) -> None:
    run(asked)
    run(asked.model_copy(update={"analysis": AnalysisOptions(zdim=4)}), ("analysis",))
    (asked.out / "mine.txt").write_text("mine")
    less = asked.model_copy(update={"overwrite": True, "seed": 5, "density": DensityOptions(enabled=False)})
    seen = []

    def look(job: Job, context: Context) -> None:
        seen.extend(path.name for path in asked.out.iterdir())
        context.log.info("a line more")
        assert not verify(Tree(asked.out)).damaged, "a run at work is no damage"

    stages.before["analysis"] = look
    run(less)
    assert {"density", "analysis_4"} <= set(seen), "they stay until the new run is whole"
    tops = {path.name for path in asked.out.iterdir() if path.is_dir()}
    assert tops == {".covaria", "downsampled", "model", "analysis_10"}
    assert (asked.out / "mine.txt").read_text() == "mine"
    assert not verify(Tree(asked.out)).damaged


def test_the_same_run_with_overwrite_is_done_afresh(stages: Stages, asked: Request) -> None:
    run(asked)
    stages.word = "second"
    run(asked.model_copy(update={"overwrite": True}))
    assert len(stages.ran) == 8
    assert all(value.endswith(b"second") for value in results(asked.out).values())


def test_an_overwrite_keeps_stages_whose_options_are_unchanged(stages: Stages, asked: Request) -> None:
    """And with the model all other analyses of it; the new state is one job's."""
    run(asked)
    run(asked.model_copy(update={"analysis": AnalysisOptions(zdim=4)}), ("analysis",))
    old = results(asked.out)
    stages.ran.clear()
    stages.word = "second"
    other = asked.model_copy(update={"overwrite": True, "analysis": AnalysisOptions(n_clusters=7)})
    run(other)
    assert stages.ran == ["analysis"]
    found = results(asked.out)
    assert {name for name in old if found[name] != old[name]} == {"analysis_10/kmeans/centers.txt"}
    assert found.keys() == old.keys() and status(asked.out) == "succeeded"
    sums = verify(Tree(asked.out))
    assert sums.damaged == () == sums.without_sum

    stages.ran.clear()
    run(other.model_copy(update={"density": DensityOptions(dim=1)}))
    assert stages.ran == ["density", "analysis"], "what comes after a changed stage is made again"


def test_a_service_keeps_what_a_command_would_keep(stages: Stages, asked: Request) -> None:
    """The job of a message, claimed and worked off as workers do, stage by stage."""
    run(asked)
    former = str((record.read_request(Tree(asked.out)) or {})["job_id"])
    old = results(asked.out)
    stages.ran.clear()
    stages.word = "second"
    other = asked.model_copy(update={"overwrite": True, "analysis": AnalysisOptions(n_clusters=7)})
    route = planned_stages(other)
    message = new_message("later", Work(request=other, route=route))
    with holding(Tree(asked.out), QUIET) as tree, Stopper(QUIET) as stopper:
        for stage in route:
            Books(tree, "later").claim(message)
            with stage_context(
                tree, stage, stage_fingerprint(stage, other), device="cpu", memory_bytes=10**9, console=QUIET,
                stopper=stopper,
            ) as context:  # fmt: skip
                bookkeeping.run_stage(stage, Job("later", other), context)
    assert stages.ran == ["analysis"]
    found = results(asked.out)
    assert {name for name in old if found[name] != old[name]} == {"analysis_10/kmeans/centers.txt"}
    assert found.keys() == old.keys() and status(asked.out) == "succeeded"
    assert json.loads(Tree(asked.out).job_json.read_text())["job_id"] == "later"
    assert Books(Tree(asked.out), former).was_superseded()
    assert verify(Tree(asked.out)).damaged == ()


def test_stages_of_another_version_are_made_again(
    stages: Stages, asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(asked)
    stages.ran.clear()
    monkeypatch.setattr(ownership, "__version__", "9.9.9")
    run(asked.model_copy(update={"overwrite": True, "analysis": AnalysisOptions(n_clusters=7)}))
    assert stages.ran == ["ingest", "reconstruction", "density", "analysis"]


def test_analyses_of_one_zdim_lie_side_by_side(stages: Stages, asked: Request) -> None:
    run(asked)
    with pytest.raises(RefusedOutput, match="--name NAME"):
        run(asked.model_copy(update={"analysis": AnalysisOptions(n_clusters=3)}), ("analysis",))
    for name in ("few", "many"):
        stages.word = name
        run(asked.model_copy(update={"analysis": AnalysisOptions(name=name)}), ("analysis",))
    found = results(asked.out)
    for folder, word in (("analysis_10", "first"), ("analysis_10_few", "few"), ("analysis_10_many", "many")):
        assert found[f"{folder}/kmeans/centers.txt"] == f"analysis {word}".encode()
    sums = verify(Tree(asked.out))
    assert sums.damaged == () == sums.without_sum
    assert "analysis_10_few/kmeans/centers.txt" in inventory(asked.out)["analysis_data"]


def test_a_refusal_says_what_would_be_made_again(stages: Stages, asked: Request) -> None:
    run(asked)
    with pytest.raises(RefusedOutput, match="makes density and analysis again and keeps ingest and reconstruction"):
        run(asked.model_copy(update={"density": DensityOptions(dim=1)}))
    with pytest.raises(RefusedOutput, match="to make all of it again"):
        run(asked)
    with pytest.raises(RefusedOutput, match="made of it, density and analysis, is then to be made again"):
        run(asked, ("reconstruction",))


def test_a_refused_follow_up_changes_nothing(stages: Stages, asked: Request) -> None:
    run(asked)
    before = everything(asked.out)

    def refuse(job: Job, context: Context) -> None:
        context.log.info("looking")
        raise InvalidInput("zdim 3 was not computed")

    stages.before["analysis"] = refuse
    with pytest.raises(InvalidInput):
        run(asked.model_copy(update={"analysis": AnalysisOptions(zdim=3)}), ("analysis",))
    with pytest.raises(RefusedOutput):
        run(asked)
    with pytest.raises(InvalidInput, match="device"):
        run_stages(
            asked.model_copy(update={"overwrite": True}), command="run", command_line="x", device="cuda:99",
            console=QUIET,
        )  # fmt: skip
    after = everything(asked.out)
    lease = {name for name in before.keys() | after.keys() if "lease" in name}
    assert {name: value for name, value in after.items() if name not in lease} == {
        name: value for name, value in before.items() if name not in lease
    }


def test_another_analysis_keeps_its_sums(stages: Stages, asked: Request) -> None:
    run(asked)
    run(asked.model_copy(update={"analysis": AnalysisOptions(zdim=4)}), ("analysis",))
    run(asked.model_copy(update={"analysis": AnalysisOptions(zdim=4), "overwrite": True}), ("analysis",))
    state = record.read_stage_state(Tree(asked.out), "analysis")
    assert state is not None
    assert {name.split("/")[0] for name in state["files"]} == {"analysis_10", "analysis_4"}
    assert Tree(asked.out).analysis(10).is_dir()


# ---- the lease


def test_a_second_run_in_a_folder_is_refused(stages: Stages, asked: Request) -> None:
    inside, leave = threading.Event(), threading.Event()

    def wait(job: Job, context: Context) -> None:
        inside.set()
        assert leave.wait(60)

    stages.before["reconstruction"] = wait
    failures: list[BaseException] = []

    def first() -> None:
        try:
            run(asked)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(60)
    before = everything(asked.out)
    try:
        with pytest.raises(RefusedOutput, match=rf"worked on by covaria on .*, process {os.getpid()}"):
            run(asked.model_copy(update={"overwrite": True}))
        after = everything(asked.out)
        assert {name for name in before if before[name] != after.get(name) and "lease" not in name} == set()
    finally:
        leave.set()
        thread.join()
    assert not failures
    assert status(asked.out) == "succeeded"


def test_a_run_that_was_killed_here_is_known_to_be_gone(
    stages: Stages, asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_machine, "DEAD_AFTER_S", 3600.0)
    script = (
        "import sys, time; from pathlib import Path; from covaria.job.lease import take; from covaria.tree import Tree;"
        "from covaria.job.process import Process; assert take(Tree(Path(sys.argv[1])), 'x', None, Process.this());"
        "print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(asked.out)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        seen = latest(Tree(asked.out))
        assert seen is not None
        assert seen.process is not None
        assert not seen.process.is_gone
        child.kill()
    assert seen.process.is_gone
    run(asked)
    assert status(asked.out) == "succeeded"


def test_a_process_of_elsewhere_is_not_judged() -> None:
    here = Process.this()
    assert here is not None
    assert not here.is_gone
    assert not Process("elsewhere", here.boot, here.namespace, 1, "0").is_gone
    assert not Process(here.host, here.boot, "pid:[1]", 1, "0").is_gone
    assert Process(here.host, "an earlier boot", here.namespace, here.pid, here.began).is_gone
    assert Process(here.host, here.boot, here.namespace, here.pid, "another beginning").is_gone


def test_a_damaged_lease_is_watched_and_taken_over(tmp_path: Path) -> None:
    """An empty file after a power cut parks nobody for ever."""
    tree = Tree(tmp_path / "out")
    lease = take(tree, "a", None)
    assert lease is not None
    for content in (b"", b"{", b"[]", b'{"owner": 3}', b"\xff" * 40, b"[" * 100_000):
        tree.lease(lease.number).write_bytes(content)
        seen = latest(tree)
        assert seen is not None
        assert not seen.released
        lease = take(tree, "b", seen)
        assert lease is not None


@pytest.mark.parametrize("instant", ["before", "made", "synced"])
def test_a_sleeper_that_was_taken_over_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: str
) -> None:
    """Stopped at any instant of a write, and woken after another took the folder over."""
    tree = Tree(tmp_path / "out")
    old = take(tree, "old", None)
    assert old is not None
    old.tree.write_text(tree.command_txt, "one")
    real = os.fsync
    taken = []

    def another_takes_over(handle: int = -1) -> None:
        if not taken:
            taken.append(None)
            taken[0] = take(tree, "new", latest(tree))
            taken[0].tree.write_text(tree.command_txt, "two")
        if handle >= 0:
            real(handle)

    with old.tree.staging("density") as staged:
        DensityTree(staged).data.mkdir()
        DensityTree(staged).knee.write_text("late")
        if instant == "before":
            another_takes_over()
        elif instant == "synced":
            monkeypatch.setattr(os, "fsync", another_takes_over)
        else:
            monkeypatch.setattr("covaria.tree.atomic.secrets.token_hex", lambda n: another_takes_over() or "0" * n)
        with pytest.raises(LeaseLost):
            old.tree.write_text(tree.command_txt, "late")
        with pytest.raises((LeaseLost, FileNotFoundError)):
            old.tree.publish(staged, tree.density)
    monkeypatch.undo()
    with pytest.raises(LeaseLost):
        old.renew()
    old.release()
    assert tree.command_txt.read_text() == "two"
    assert not tree.density.exists()
    assert [path.name for path in tree.temporary.iterdir()] == [str(taken[0].number)]
    assert [path.name for path in (tree.temporary / str(taken[0].number)).iterdir()] == ["reserve"]
    assert sorted(path.name for path in tree.state.glob("lease.*")) == [f"lease.{taken[0].number}"]


def test_a_log_that_was_taken_over_goes_nowhere(tmp_path: Path) -> None:
    from covaria.running.context import stage_context
    from covaria.running.stopper import Stopper

    tree = Tree(tmp_path / "out")
    old = take(tree, "old", None)
    assert old is not None
    with (
        Stopper() as stopper,
        stage_context(old.tree, "ingest", "f", console=QUIET, stopper=stopper) as sleeper,
    ):
        sleeper.log.info("one")
        new = take(tree, "new", latest(tree))
        assert new is not None
        with stage_context(new.tree, "density", "f", console=QUIET, stopper=stopper):
            pass
        new.tree.write_bytes(tree.stage_log("ingest"), record.read_stage_log(tree, "ingest"))
        sleeper.log.info("late")
        with pytest.raises(LeaseLost):
            sleeper.checkpoints.save("mean", {})
    assert tree.stage_log("ingest").read_text().count("\n") == 1


def test_a_kill_between_two_renames_brings_the_old_result_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the filesystem cannot exchange two paths."""
    tree = Tree(tmp_path / "out")
    lease = take(tree, "a", None)
    assert lease is not None
    tree.model.mkdir()
    tree.params.write_text("old")
    monkeypatch.setattr("covaria.tree.publish.exchange", lambda one, other: False)
    real = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target == tree.model:
            raise SystemExit("killed")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    monkeypatch.setattr(Path, "rename", lambda self, target: (_ for _ in ()).throw(SystemExit("killed")))
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **options: None)
    with pytest.raises(SystemExit), lease.tree.staging("reconstruction") as staged:
        Tree(staged).model.mkdir()
        Tree(staged).params.write_text("new")
        lease.tree.publish(Tree(staged).model, tree.model)
    monkeypatch.undo()
    assert not tree.model.exists()
    assert take(tree, "b", latest(tree)) is not None
    assert tree.params.read_text() == "old"


# ---- links


@pytest.mark.parametrize("what", ["link", "file", "broken link"])
def test_a_state_folder_that_is_no_folder_of_ours_is_refused(
    stages: Stages, asked: Request, tmp_path: Path, what: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "tmp/ingest-stranger").mkdir(parents=True)
    asked.out.mkdir()
    if what == "file":
        (asked.out / ".covaria").write_text("x")
    else:
        (asked.out / ".covaria").symlink_to(elsewhere if what == "link" else tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RefusedOutput, match=r"\.covaria: is a link, a file or somebody else's folder"):
        run(asked.model_copy(update={"overwrite": True}))
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(LeaseLost):
        held(Tree(asked.out), 1).write_text(Tree(asked.out).readme, "x")


def test_a_state_folder_exchanged_for_a_link_stops_every_write(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "out")
    lease = take(tree, "a", None)
    assert lease is not None
    tree.state.rename(tmp_path / "elsewhere")
    tree.state.symlink_to(tmp_path / "elsewhere")
    before = everything(tmp_path)
    with pytest.raises(LeaseLost, match="not a folder of ours"):
        lease.tree.write_text(tree.readme, "x")
    with pytest.raises(LeaseLost):
        lease.renew()
    assert everything(tmp_path) == before


# ---- signals and terminals


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_resumable(stages: Stages, asked: Request, number: int) -> None:
    stages.before["reconstruction"] = lambda job, context: os.kill(os.getpid(), number)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    try:
        with pytest.raises(Interrupted, match=signal.Signals(number).name):
            run(asked)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert status(asked.out) == "queued"
    stages.before.clear()
    run(asked)
    assert status(asked.out) == "succeeded"


def test_an_ignored_hangup_stays_ignored(stages: Stages, asked: Request) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stages.before["ingest"] = lambda job, context: os.kill(os.getpid(), signal.SIGHUP)
        run(asked)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert status(asked.out) == "succeeded"


@pytest.mark.parametrize("closed", ["pipe", "descriptor", "none"])
def test_a_closed_terminal_does_not_stop_a_run(
    stages: Stages, asked: Request, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w", buffering=1)
    os.close(reading)
    if closed == "descriptor":
        stream.close()
    monkeypatch.setattr(sys, "stderr", None if closed == "none" else stream)
    run_stages(asked, command="run", command_line="covaria run x", device="cpu")
    with contextlib.suppress(OSError, ValueError):
        stream.close()
    assert status(asked.out) == "succeeded"


def test_the_lease_is_free_afterwards(stages: Stages, asked: Request) -> None:
    run(asked)
    seen = latest(Tree(asked.out))
    assert seen is not None
    assert seen.released
    with holding(Tree(asked.out), QUIET) as tree:
        tree.write_text(tree.readme, "x")
    began = time.monotonic()
    run(asked.model_copy(update={"reconstruction": ReconstructionOptions(zdim=(3,)), "overwrite": True}))
    assert time.monotonic() - began < 30
