"""Disks that are full, read-only, closed or gone: a class and a clear line each, true books, a run that resumes."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from covaria.errors import CovariaError, InvalidInput, MissingFile, NoRoom
from covaria.operations.one_machine import run_stages
from covaria.plain import explain
from covaria.request.disk import FIGURES_BYTES, disk_bytes
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.request.stages import STAGES
from covaria.running import bookkeeping
from covaria.running.room import LEAST_BYTES, require_room, require_room_for
from covaria.stage import Context, Job
from covaria.tree import Tree
from covaria.tree.integrity import verify
from covaria.worker.failures import Breakdown, classify

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def asked(tmp_path: Path) -> Request:
    (tmp_path / "particles.star").write_text("data_\n")
    return Request(out=tmp_path / "out", ingest=IngestOptions(particles=tmp_path / "particles.star"))


def run(request: Request) -> None:
    console = Console(file=io.StringIO())
    run_stages(request, command="run", command_line="covaria run x", device="cpu", console=console)


def status(out: Path) -> str:
    return str(json.loads((out / "job.json").read_text())["status"])


# ---- before the first byte


def test_too_little_room_is_refused_with_path_needed_and_free(
    asked: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12 - 10**9, 10**9))
    require_room(asked.out, 10**9 - LEAST_BYTES, "it")
    with pytest.raises(NoRoom, match=rf"{tmp_path}: the ingest stage needs 65\.\d GB, 1 GB are free") as caught:
        require_room_for("ingest", asked, total=1_000_000, box=128, downsampled=True)
    assert caught.value.errno == errno.ENOSPC
    assert "resumes" in caught.value.hint
    assert classify(Breakdown.of(caught.value)) == "filesystem", "a service tries again later"
    assert not asked.out.exists()


def test_a_run_without_any_room_writes_nothing(asked: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 0))
    with pytest.raises(NoRoom, match="a run needs"):
        run(asked)
    assert not asked.out.exists()


def test_estimates_grow_as_what_is_written(asked: Request) -> None:
    small = {stage: disk_bytes(stage, asked, total=1000, box=64, downsampled=True) for stage in STAGES}
    large = {stage: disk_bytes(stage, asked, total=1000, box=128, downsampled=True) for stage in STAGES}
    assert small["ingest"] == 1000 * (4 * 64**2 + 200)
    assert 3.9 < large["ingest"] / small["ingest"] < 4
    assert 6 < large["reconstruction"] / small["reconstruction"] < 8
    assert 7 < large["analysis"] / small["analysis"] < 8
    mean = asked.model_copy(update={"reconstruction": ReconstructionOptions(only_mean=True)})
    assert disk_bytes("reconstruction", mean, total=1000, box=64, downsampled=False) == 7 * 4 * 64**3 + FIGURES_BYTES


# ---- while it is written


def full(job: Job, context: Context) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only(job: Job, context: Context) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def closed(job: Job, context: Context) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", str(job.request.ingest.particles))


def gone(job: Job, context: Context) -> None:
    shutil.rmtree(job.request.out)
    Tree(job.request.out, context.pen).write_text(job.request.out / "README.txt", "x")


@pytest.mark.parametrize(
    ("body", "kind", "words", "failure"),
    [
        (full, CovariaError, r"out: the disk is full \(.* GB free\)", "filesystem"),
        (read_only, InvalidInput, r"out: lies on a filesystem that is read-only here", "filesystem"),
        (closed, InvalidInput, r"particles\.star: may not be read or written by this user", "permission"),
        (gone, MissingFile, r"\.covaria: is not there", "missing_file"),
    ],
)
def test_each_trouble_has_its_words_and_none_is_a_defect(
    asked: Request,
    monkeypatch: pytest.MonkeyPatch,
    body: Callable[[Job, Context], None],
    kind: type[CovariaError],
    words: str,
    failure: str,
) -> None:
    monkeypatch.setattr(bookkeeping, "load_stage", lambda name: body)
    with pytest.raises(OSError) as caught:  # noqa: PT011
        run(asked)
    told = explain(caught.value)
    assert type(told) is kind
    assert "defect" not in f"{told}"
    with pytest.raises(kind, match=words):
        raise told
    assert classify(Breakdown.of(caught.value)) == failure
    if body is not gone:
        assert status(asked.out) == "failed"
    monkeypatch.setattr(bookkeeping, "load_stage", lambda name: lambda job, context: None)
    run(asked)
    assert status(asked.out) == "succeeded"


# ---- a disk that is really full

SCRIPT = """
import io, os, sys
from pathlib import Path
from rich.console import Console
from covaria.operations.one_machine import run_stages
from covaria.plain import explain
from covaria.request.model import IngestOptions, Request
from covaria.running import bookkeeping, room
from covaria.tree import AnalysisTree, DensityTree, Tree

folder, megabytes = Path(sys.argv[1]), float(sys.argv[2])
room.LEAST_BYTES = 0
PLACE = {"ingest": Tree.downsampled_stack, "reconstruction": Tree.params, "density": Tree.density_knee}

def stage(name):
    def run(job, context):
        tree = Tree(job.request.out, context.pen)
        context.checkpoints.save("kept", {})
        with tree.staging(name) as made:
            if name == "analysis":
                path, target = AnalysisTree(made).centers_txt, (made, tree.analysis(10), AnalysisTree)
            else:
                of = Tree(made)
                path = {"ingest": of.downsampled_stack(16), "reconstruction": of.params,
                        "density": DensityTree(of.density).knee}[name]
                top = made / path.relative_to(made).parts[0]
                target = (top, tree.out / top.name)
            path.parent.mkdir(parents=True)
            path.write_bytes(bytes(int(megabytes * 1e6)))
            tree.publish(*target)
    return run

bookkeeping.load_stage = stage
request = Request(out=folder / "out", ingest=IngestOptions(particles=Path(sys.argv[3])))
try:
    run_stages(request, command="run", command_line="x", device="cpu", console=Console(file=io.StringIO()))
except Exception as error:
    print(explain(error))
    sys.exit(3)
"""


def mounts() -> bool:
    """Whether this user may have a small disk of his own."""
    try:
        tried = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        return subprocess.run(tried, capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.mark.skipif(not mounts(), reason="this user may not mount a small disk")
def test_a_disk_that_fills_at_every_point_and_is_given_room_ends_whole(asked: Request, tmp_path: Path) -> None:
    """3 MB of disk, filled beforehand to leave less and less: somewhere each stage and each book finds it full."""
    (tmp_path / "script.py").write_text(SCRIPT)
    disk = tmp_path / "disk"
    disk.mkdir()
    shell = f"""
    set -u
    mount -t tmpfs -o size=3m tmpfs {disk}
    run() {{ {sys.executable} {tmp_path}/script.py {disk} 0.25 {asked.ingest.particles}; }}
    for left in 40 120 250 400 700 1000 1300; do
        rm -rf {disk}/out
        head -c $((3000000 - left * 1024)) /dev/zero > {disk}/filler
        run > {tmp_path}/said.$left; echo "$left $?" >> {tmp_path}/codes
        test -e {disk}/out/job.json && cp {disk}/out/job.json {tmp_path}/job.$left
        rm {disk}/filler
        run > {tmp_path}/again.$left; echo "again $left $?" >> {tmp_path}/codes
        cp -r {disk}/out {tmp_path}/out.$left
    done
    """
    done = subprocess.run(["unshare", "-m", "sh", "-c", shell], capture_output=True, text=True, timeout=280)
    lines = (tmp_path / "codes").read_text().splitlines()
    first = [line.split() for line in lines if not line.startswith("again")]
    assert [code for _, code in first].count("3") >= 5, (lines, done.stderr)
    for left, code in first:
        if code == "3":
            said = (tmp_path / f"said.{left}").read_text()
            assert "the disk is full (" in said, said
            assert "defect" not in said
            assert "resumes" in said
        if (tmp_path / f"job.{left}").exists():
            true = ("succeeded",) if code == "0" else ("queued", "failed", "succeeded")
            assert json.loads((tmp_path / f"job.{left}").read_text())["status"] in true
    for left, code in first:
        assert code == "0" or f"again {left} 0" in lines, (lines, done.stderr)
        tree = Tree(tmp_path / f"out.{left}")
        assert json.loads(tree.job_json.read_text())["status"] == "succeeded"
        assert not verify(tree).damaged
        assert not list(tree.out.rglob("*.tmp")), "nothing half written is left"
