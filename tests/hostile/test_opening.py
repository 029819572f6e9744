"""redteam 5, 11, 12, 21: a name that is exchanged between looking and opening; results of another job."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from covaria import opening
from covaria.errors import CovariaError, InvalidInput, RefusedOutput
from covaria.job import ownership
from covaria.opening import OutsideRoots, Roots
from covaria.operations.announce import show_queued
from covaria.operations.submit import message_for
from covaria.request.model import IngestOptions, Request
from covaria.settings import Settings
from covaria.stage import Job
from covaria.tree import Tree, record


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    (tmp_path / "root" / "maps").mkdir(parents=True)
    (tmp_path / "root" / "maps" / "mask.mrc").write_bytes(b"ours")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mask.mrc").write_bytes(b"secret")
    return Roots.of([tmp_path / "root"])


@pytest.mark.parametrize("what", ["file", "folder"])
def test_exchanged_after_it_was_looked_at(
    roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    walk, maps = opening._walk, tmp_path / "root" / "maps"

    def exchanged(folder: Path, relative: Path) -> int:
        if what == "folder":
            maps.rename(tmp_path / "root" / "old")
            maps.symlink_to(tmp_path / "outside")
        else:
            (maps / "mask.mrc").unlink()
            (maps / "mask.mrc").symlink_to(tmp_path / "outside" / "mask.mrc")
        return walk(folder, relative)

    monkeypatch.setattr(opening, "_walk", exchanged)
    with pytest.raises((InvalidInput, OSError)):
        roots.open(maps / "mask.mrc")


def test_exchanged_all_the_time(roots: Roots, tmp_path: Path) -> None:
    """Another process swaps a folder for a link as fast as it can; what is read is ours, or nothing."""
    maps, stop = tmp_path / "root" / "maps", threading.Event()

    def swap() -> None:
        while not stop.is_set():
            maps.rename(tmp_path / "root" / "old")
            maps.symlink_to(tmp_path / "outside")
            maps.unlink()
            (tmp_path / "root" / "old").rename(maps)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        read: set[bytes] = set()
        for _ in range(300):
            try:
                with roots.open(maps / "mask.mrc") as file:
                    read.add(file.read())
            except (CovariaError, OSError):
                continue
    finally:
        stop.set()
        thread.join()
    assert read <= {b"ours"}


@pytest.mark.parametrize("kind", ["loop", "fifo", "device", "outside", "proc", "long", "nul"])
def test_what_a_star_file_may_name(roots: Roots, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "root" / "named"
    match kind:
        case "loop":
            path.symlink_to(path)
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "outside":
            path.symlink_to(tmp_path / "outside" / "mask.mrc")
        case "proc":
            path = Path("/proc/self/environ")
        case "long":
            path = tmp_path / "root" / ("a" * 5000)
        case "nul":
            path = tmp_path / "root" / "a\x00b"
    with pytest.raises(InvalidInput) as refused:
        roots.open(path)
    assert kind not in ("outside", "proc", "device") or isinstance(refused.value, OutsideRoots)


@pytest.mark.parametrize("overwrite", [False, True])
def test_results_of_another_job_are_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    jobs = {}
    for name in ("mine", "theirs"):
        (tmp_path / f"{name}.star").write_text("data")
        request = Request(out=tmp_path / name, ingest=IngestOptions(particles=tmp_path / f"{name}.star"))
        message = message_for(request.model_copy(update={"overwrite": overwrite}))
        show_queued(message, Settings())
        jobs[name] = Job(message.job_id, message.work.request)
    theirs = tmp_path / "theirs" / "analysis_2"
    theirs.mkdir()
    shutil.copy(tmp_path / "theirs" / "job.json", theirs)
    assert record.read_folder_document(theirs) is not None
    with pytest.raises(RefusedOutput, match="another job"):
        ownership.refuse_anothers(theirs, jobs["mine"], Tree(tmp_path / "mine"))
    ownership.refuse_anothers(theirs, jobs["theirs"], Tree(tmp_path / "theirs"))


@pytest.mark.parametrize(
    "name", ["theirs/new", "theirs/.covaria/lease.9", "theirs/.covaria/stages/x", "theirs/output/volumes/x", "theirs",
             "mine", "mine/.covaria/lease.9", "mine/model", "mine/output/new", "mine/density", "linked/new", ".", "/"]
)  # fmt: skip
def test_an_analysis_is_written_nowhere_else(tmp_path: Path, name: str) -> None:
    """A message may name any folder beneath the roots for its analysis: not one in which jobs keep anything else."""
    for job in ("mine", "theirs"):
        (tmp_path / f"{job}.star").write_text("data")
        asked = Request(out=tmp_path / job, ingest=IngestOptions(particles=tmp_path / f"{job}.star"))
        show_queued(message_for(asked), Settings())
    (tmp_path / "linked").symlink_to(tmp_path / "theirs")
    tree = Tree(tmp_path / "mine")
    with pytest.raises(RefusedOutput):
        ownership.refuse_over_results(tmp_path / name, tree)
    for good in ("mine/analysis_9", "mine/elsewhere/x", "elsewhere"):
        ownership.refuse_over_results(tmp_path / good, tree)
