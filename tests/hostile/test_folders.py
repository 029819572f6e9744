"""redteam 1, 2, 5, 13, 17, 25: folders of strangers among good ones. Commands of operators see the good ones all."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from covaria_broker import free_port

from covaria.errors import InvalidInput
from covaria.messages.envelope import Message
from covaria.operations.announce import show_queued
from covaria.operations.jobs_on_disk import find_jobs, message_to_resume, view_job
from covaria.operations.submit import message_for
from covaria.request.model import IngestOptions, Request
from covaria.settings import Settings
from covaria.tree import Tree, record
from covaria.tree.book import sealed
from covaria.tree.folders import AnalysisTree
from covaria.tree.integrity import verify

COMMAND = [sys.executable, "-c", "from covaria.cli import main; main()"]
GOOD = 8
ESCAPE = "\x1b]0;owned\x07"


def submitted(root: Path, name: str) -> Message:
    """A job that waits in its folder, as `covaria submit` leaves it."""
    root.mkdir(parents=True, exist_ok=True)
    particles = root / f"{name}.star"
    particles.write_text("data")
    message = message_for(Request(out=root / name, ingest=IngestOptions(particles=particles)))
    show_queued(message, Settings())
    assert view_job(root / name).status == "queued"
    return message


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a book as somebody would who knows how it is sealed."""
    value = json.loads(path.read_text())
    value.pop("seal", None)
    change(value)
    for each in (path, path.with_name(path.name + ".copy")):
        each.write_bytes(sealed(value))


def only(state: Path, name: str) -> Path:
    """The book, its copy and job.json out of the way."""
    for path in (state / f"{name}.copy", state.parent / "job.json"):
        path.unlink(missing_ok=True)
    (state / name).unlink()
    return state / name


def write(text: str | bytes) -> Callable[[Path], Any]:
    return lambda state: only(state, "request.json").write_bytes(text if isinstance(text, bytes) else text.encode())


def running(state: Path, more: str) -> None:
    """A stage that runs, with a progress that says `more`."""
    stage = state / "stages" / "ingest"
    stage.mkdir(parents=True)
    (stage / "state.json").write_bytes(sealed({"status": "running"}))
    (stage / "progress.json").write_text(f'{{"step": "mean", "done": 1, "total": 2, {more}}}')


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"x": value}
    return value


BROKEN: dict[str, Callable[[Path], Any]] = {
    "empty": write(""),
    "torn": write('{"job_id": "x'),
    "list": write("[]"),
    "number": write("5"),
    "brackets": write("[" * 100_000),
    "bytes": write(b"\xff\xfe\x00"),
    "stages a text": write('{"job_id": "x", "stages": "", "submitted_at": 5}'),
    "no stages": write(json.dumps({"job_id": "x", "stages": [], "submitted_at": "2026-01-01T00:00:00+00:00"})),
    "huge": lambda state: (write("")(state), os.truncate(state / "request.json", 1 << 31)),
    "fifo": lambda state: os.mkfifo(only(state, "request.json")),
    "device": lambda state: only(state, "request.json").symlink_to("/dev/zero"),
    "folder": lambda state: only(state, "request.json").mkdir(),
    "loop": lambda state: only(state, "request.json").symlink_to("request.json"),
    "times": lambda state: rewrite(state / "request.json", lambda book: book.update(submitted_at="yesterday")),
    "linked state": lambda state: (state.rename(state.parent.parent / "moved"), state.symlink_to("../moved")),
    "lease a folder": lambda state: (state / "lease.9").mkdir(),
    "lease a fifo": lambda state: os.mkfifo(state / "lease.9"),
    "lease huge number": lambda state: (state / f"lease.{'9' * 200}").write_text("{}"),
    "state a fifo": lambda state: ((state / "stages" / "ingest").mkdir(parents=True),
                                   os.mkfifo(state / "stages" / "ingest" / "state.json")),
    "delivery a list": lambda state: ((state / "stages" / "ingest").mkdir(parents=True),
                                      (state / "stages" / "ingest" / "delivery.json").write_text("[1]")),
    "lease with zeros": lambda state: (state / "lease.007").touch(),
    "lease with a line break": lambda state: (state / "lease.7\n").touch(),
    "lease in other digits": lambda state: (state / "lease.\u0663").touch(),
    "progress without time": lambda state: running(state, '"at": null'),
    "progress without end": lambda state: running(state, '"seconds_left": 1e999, "per_second": NaN'),
    "progress after all time": lambda state: running(state, f'"at": "9999-12-31T23:59:59-14:00", "x": {"9" * 4000}'),
    "half a character": write('{"job_id": "x\\ud800", "stages": ["ingest"]}'),
    "deep": lambda state: rewrite(state / "request.json", lambda book: book.update(inputs=[deep(500)])),
    "a name twice": write('{"job_id": "x", "job_id": 5, "seal": "' + "0" * 64 + '", "seal": 1}'),
    "socket": lambda state: os.mknod(only(state, "request.json"), stat.S_IFSOCK | 0o600),
    "utf-16": write('{"job_id": "x"}'.encode("utf-16")),
    "times before all time": lambda state: rewrite(
        state / "request.json", lambda book: book.update(submitted_at="0001-01-01T00:00:00+14:00")),
}  # fmt: skip


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Good jobs, and one broken folder of each kind between them."""
    for number in range(GOOD):
        submitted(tmp_path / "jobs", f"good{number}")
    for number, (kind, damage) in enumerate(BROKEN.items()):
        folder = tmp_path / "jobs" / f"broken{number}"
        submitted(folder, "job")
        assert kind
        damage(Tree(folder / "job").state)
    return tmp_path / "jobs"


def covaria(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "COVARIA_ROOTS": str(root), "COVARIA_BROKER_URL": f"amqp://u:p@127.0.0.1:{free_port()}/",
        "COVARIA_LEASE_DEAD_S": "0.4", "COVARIA_LEASE_RENEW_S": "0.1",
    }  # fmt: skip
    return subprocess.run([*COMMAND, *words], env=environment, capture_output=True, text=True, timeout=120, cwd=root)


def test_operators_see_every_good_job(crowd: Path) -> None:
    listed = covaria(crowd, "list", str(crowd))
    assert listed.returncode == 0, listed.stderr
    sent = covaria(crowd, "reconcile", str(crowd), "--older-than", "0", "--dry-run")
    assert sent.returncode == 0, sent.stderr
    text = covaria(crowd, "exporter", "--once")
    assert text.returncode == 0, text.stderr
    for number in range(GOOD):
        assert f"/good{number}" in listed.stdout
        assert f"/good{number}" in sent.stdout
    states = [line for line in text.stdout.splitlines() if line.startswith("covaria_jobs{") and '"queued"' in line]
    assert sum(float(line.split()[-1]) for line in states) >= GOOD
    assert "skipped" in listed.stderr
    assert "Traceback" not in listed.stderr + sent.stderr + text.stderr


def test_operators_see_one_broken_job(tmp_path: Path) -> None:
    """`status` and `logs` of what is broken: an answer, or an error in plain words."""
    (tmp_path / "secret").write_text("password")
    submitted(tmp_path, "job")
    running(Tree(tmp_path / "job").state, '"seconds_left": 1e999')
    log = Tree(tmp_path / "job").stage_log("ingest")
    log.symlink_to(tmp_path / "secret")
    for words in (("status",), ("logs",), ("status", "--json")):
        done = covaria(tmp_path, *words, str(tmp_path / "job"))
        assert done.returncode == 0, done.stderr
        assert "password" not in done.stdout
    log.unlink()
    os.mkfifo(log)
    assert covaria(tmp_path, "logs", str(tmp_path / "job")).stdout == ""


NAMES = (
    "",
    "/",
    "..",
    "../../etc/passwd",
    "a/../../b",
    "a//b",
    "a\0b",
    "./a",
    "x" * 300,
    "x/" * 3000,
    "\udcff",
    "\x1b]0;x\x07",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_book_names_files_of_its_own_folder_only(tmp_path: Path, name: str) -> None:
    """Whatever a book says was made: the documents are made again and `verify` answers."""
    submitted(tmp_path, "job")
    tree = Tree(tmp_path / "job")
    (tree.state / "stages" / "ingest").mkdir(parents=True)
    sums = {name: {"size": 1, "sha256": "0" * 64}}
    tree.stage_state("ingest").write_bytes(sealed({"status": "succeeded", "files": sums}))
    record.refresh(tree)
    assert all(".." not in damaged for damaged, _ in verify(tree).damaged)
    assert view_job(tree.out).status in ("queued", "succeeded")


@pytest.mark.parametrize("kind", ["fifo", "device", "huge", "loop", "folder", "bytes", "link"])
def test_odd_files_in_the_place_of_results(tmp_path: Path, kind: str) -> None:
    """Documents are made and files looked through while something else stands where results and tables belong."""
    submitted(tmp_path, "job")
    tree = Tree(tmp_path / "job")
    analysis = AnalysisTree(tree.analysis(4))
    places = (tree.mean, analysis.centers_txt, tree.mean_fsc_plot, tree.stage_log("ingest"), tree.stage_notes("ingest"),
              tree.out / "output" / "x\udcff\n\u202egpj.mrc", analysis.root / "\udcff" / "state000.mrc",
              analysis.root / "\n\u202e" / "state000.mrc")  # fmt: skip
    makers: dict[str, Callable[[Path], Any]] = {
        "fifo": os.mkfifo,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "huge": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
        "loop": lambda path: path.symlink_to(path.name),
        "folder": lambda path: path.mkdir(),
        "bytes": lambda path: path.write_bytes(b"\xff\xfe\x00"),
        "link": lambda path: path.symlink_to("/etc/passwd"),
    }
    for path in places:
        path.parent.mkdir(parents=True, exist_ok=True)
        makers[kind](path)
    rewrite(tree.request, lambda book: book.update(stages=["ingest", "analysis"]))
    for stage in ("ingest", "analysis"):
        tree.stage_state(stage).parent.mkdir(parents=True, exist_ok=True)
        tree.stage_state(stage).write_bytes(sealed({"status": "succeeded"}))
    record.refresh(tree)
    assert verify(tree).damaged is not None
    assert b"root:" not in tree.readme.read_bytes() + tree.run_log.read_bytes()


def test_a_name_begins_no_line_of_its_own(tmp_path: Path) -> None:
    odd = tmp_path / "x\nsucceeded  analysis"
    submitted(odd, "job2")
    listed = covaria(tmp_path, "list", str(tmp_path)).stdout
    assert listed.count("\n") == 1
    sent = covaria(tmp_path, "reconcile", str(tmp_path), "--older-than", "0", "--dry-run").stdout
    assert sent.count("\n") == 2, sent


def test_a_folder_may_ask_only_for_itself(tmp_path: Path) -> None:
    """redteam 1: somebody without rights at the broker plants books; an operator's cron must not obey them."""
    victim = submitted(tmp_path, "victim")
    (Tree(tmp_path / "victim").out / "precious").write_text("result")
    planted = tmp_path / "mallory" / "x"
    shutil.copytree(tmp_path / "victim", planted)
    with pytest.raises(InvalidInput, match="not in its own folder"):
        message_to_resume(planted)

    def overwrite(book: dict[str, Any]) -> None:
        book.get("data", book)["request"]["overwrite"] = True

    for name in ("submission.json", "request.json"):
        rewrite(Tree(tmp_path / "victim").state / name, overwrite)
    message = message_to_resume(tmp_path / "victim")
    assert message is not None
    assert message.job_id == victim.job_id
    assert (message.work.request.overwrite, message.data["request"]["overwrite"]) == (False, False)


DISAGREEING: tuple[Callable[[dict[str, Any]], Any], ...] = (
    lambda book: book["data"]["request"].update(out="/etc"),
    lambda book: book.update(job_id="another"),
    lambda book: book["data"]["request"]["analysis"].update(n_clusters=3),
    lambda book: book["data"].update(route=["analysis", "ingest"]),
    lambda book: book["data"].pop("request"),
    lambda book: book.update(data=[]),
    lambda book: book.update(data={"request": {"out": ESCAPE}}),
)


def test_books_that_disagree_are_not_sent(tmp_path: Path) -> None:
    submitted(tmp_path, "good")
    for number, change in enumerate(DISAGREEING):
        submitted(tmp_path, f"bad{number}")
        rewrite(Tree(tmp_path / f"bad{number}").submission, change)
    done = covaria(tmp_path, "reconcile", str(tmp_path), "--older-than", "0", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("would send") == 1, done.stdout
    assert "/good" in done.stdout
    assert done.stderr.count("not sent") == len(DISAGREEING), done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_of_others_commands_the_terminal(tmp_path: Path) -> None:
    """redteam 17."""
    submitted(tmp_path, "job")
    state = Tree(tmp_path / "job").state
    rewrite(state / "request.json", lambda book: book.update(job_id=f"x{ESCAPE}", command_line=ESCAPE))
    (state / "stages" / "ingest").mkdir(parents=True)
    error = {"type": ESCAPE, "message": f"failed {ESCAPE}", "hint": ESCAPE}
    note = {"status": "failed", "error": error, "stage": "ingest", "job_id": ESCAPE}
    (state / "stages" / "ingest" / "state.json").write_bytes(sealed(note))
    lease = {"owner": ESCAPE, "counter": 1, "released": False}
    (state / "lease.3").write_bytes(sealed(lease))
    odd = tmp_path / f"odd{ESCAPE}"
    submitted(odd, "job2")
    for words in (("status", str(tmp_path / "job")), ("list", str(tmp_path)), ("list", str(tmp_path), "--json"),
                  ("logs", str(tmp_path / "job")), ("retry", str(tmp_path / "job"))):  # fmt: skip
        done = covaria(tmp_path, *words)
        for text in (done.stdout, done.stderr):
            assert "\x1b" not in text, (words, text)
            assert "\x07" not in text, (words, text)


def test_search_goes_past_what_cannot_be_read(tmp_path: Path) -> None:
    submitted(tmp_path, "good")
    (tmp_path / "loop").symlink_to(tmp_path)
    deep = tmp_path
    for _ in range(30):
        deep = deep / "d"
    deep.mkdir(parents=True)
    found = list(find_jobs([tmp_path, tmp_path / "nowhere", Path("/proc/1/root")], 4))
    assert found == [tmp_path / "good"]
