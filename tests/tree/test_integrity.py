"""Sums and seals: a flipped bit anywhere in a finished tree is named; books that a power cut tore are recovered."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import covaria.cli
from covaria.errors import InvalidInput
from covaria.operations.one_machine import run_stages
from covaria.request.model import AnalysisOptions, IngestOptions, Request
from covaria.running import bookkeeping
from covaria.stage import Context, Job
from covaria.tree import AnalysisTree, DensityTree, Tree, atomic, record
from covaria.tree.book import DamagedBook, copy_of
from covaria.tree.integrity import DamagedFile, check_for, verify

FLIPS = 300


def stage(name: str) -> Callable[[Job, Context], None]:
    """A stage that leaves what its kind leaves, small."""

    def run(job: Job, context: Context) -> None:
        tree = Tree(job.request.out, context.pen)
        context.log.info("makes its files")
        with tree.staging(name) as folder:
            made = Tree(folder)
            if name == "ingest":
                for path in (made.downsampled_star(16), made.downsampled_stack(16)):
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(bytes(range(200)))
                tree.publish(made.downsampled, tree.downsampled)
                tree.pen.write(tree.particles, lambda file: np.savez(file, rows=np.arange(9)))
                record.write_notes(tree, name, ["two rows were left out"])
            elif name == "reconstruction":
                atomic.write_pickle(made.params, {"s": np.arange(3.0)})
                atomic.save_npy(made.latent_coords(2), np.ones((9, 2), np.float32))
                atomic.write_bytes(made.mean, bytes(300))
                tree.publish(made.output, tree.output)
                tree.publish(made.model, tree.model)
            elif name == "density":
                atomic.write_pickle(DensityTree(folder).knee, {"alpha": 0.5})
                tree.publish(folder, tree.density)
            else:
                analysis = AnalysisTree(folder)
                atomic.write_text(analysis.centers_txt, "1 2\n")
                atomic.write_bytes(analysis.trajectory(0).state(1).volume, bytes(100))
                tree.publish(folder, tree.analysis(10), AnalysisTree)

    return run


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    monkeypatch.setattr(bookkeeping, "load_stage", stage)
    (tmp_path / "particles.star").write_text("data_\n")
    return Request(out=tmp_path / "out", ingest=IngestOptions(particles=tmp_path / "particles.star"))


def run(request: Request, chosen: tuple[str, ...] | None = None) -> None:
    console = Console(file=io.StringIO())
    run_stages(request, chosen, command="run", command_line="covaria run x", device="cpu", console=console)


@pytest.fixture
def tree(asked: Request) -> Tree:
    run(asked)
    return Tree(asked.out)


def files(tree: Tree) -> list[Path]:
    return sorted(path for path in tree.out.rglob("*") if path.is_file())


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    place = draw.randrange(len(data) * 8)
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)


def test_a_finished_tree_is_sound_and_every_file_of_it_has_a_sum(tree: Tree) -> None:
    found = verify(tree)
    assert found.damaged == () == found.without_sum
    assert found.sound == len(files(tree)) > 35


def test_every_flipped_bit_is_named(tree: Tree) -> None:
    draw = random.Random(1)
    every = files(tree)
    for turn in range(FLIPS):
        path = every[turn % len(every)]
        before = path.read_bytes()
        flip(path, draw)
        damaged = dict(verify(tree).damaged)
        assert path.relative_to(tree.out).as_posix() in damaged, path
        path.write_bytes(before)
    assert not verify(tree).damaged


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "gone", "link"])
def test_the_next_stage_names_what_has_changed_and_does_not_use_it(tree: Tree, asked: Request, how: str) -> None:
    victim = tree.latent_coords(2)
    content = victim.read_bytes()
    victim.unlink()
    if how == "link":
        (tree.out / "mine.npy").write_bytes(content)
        victim.symlink_to(tree.out / "mine.npy")
    elif how != "gone":
        victim.write_bytes({"flip": content[:-1] + b"\x01", "cut": content[:-1], "empty": b""}[how])
    again = asked.model_copy(update={"analysis": AnalysisOptions(zdim=2)})
    with pytest.raises(DamagedFile, match=r"latent_coords\.npy: is not what reconstruction wrote: ") as caught:
        run(again, ("analysis",))
    assert "covaria verify" in caught.value.hint
    assert json.loads(tree.job_json.read_text())["status"] == "succeeded", "a refused follow-up changes nothing"


def test_the_command(tree: Tree) -> None:
    runner = CliRunner()
    result = runner.invoke(covaria.cli.application(), ["verify", str(tree.out)])
    assert (result.exit_code, result.output) == (0, f"{len(files(tree))} files sound, 0 damaged or missing\n")
    tree.mean.write_bytes(b"x")
    tree.readme.unlink()
    result = runner.invoke(covaria.cli.application(), ["verify", str(tree.out)])
    assert result.exit_code == 1
    assert f"{tree.mean}: it has 1 bytes, 300 were written" in result.output
    assert f"{tree.readme}: it is not there" in result.output


# ---- books


def torn() -> dict[str, bytes]:
    return {
        "empty": b"", "cut": b'{"job_id": "x"', "list": b"[]", "number": b"5", "text": b'"x"', "null": b"null",
        "not text": b"\xff\xfe\x00", "brackets": b"[" * 100_000, "objects": b'{"a":' * 50_000,
        "no stages": b'{"job_id": "x", "stages": []}', "huge number": b'{"job_id": ' + b"9" * 5000 + b"}",
    }  # fmt: skip


@pytest.mark.parametrize("book", ["request", "state"])
def test_a_torn_book_is_recovered_from_its_copy(tree: Tree, asked: Request, book: str) -> None:
    path = tree.request if book == "request" else tree.stage_state("reconstruction")
    before = record.job_document(tree)
    for name, content in torn().items():
        path.write_bytes(content)
        assert record.job_document(tree) == before, name
        assert [damaged for damaged, _ in verify(tree).damaged] == [path.relative_to(tree.out).as_posix()], name
    run(asked.model_copy(update={"overwrite": True}))
    assert not verify(tree).damaged


def test_without_a_copy_job_json_tells_what_was_asked(tree: Tree) -> None:
    before = record.read_request(tree)
    assert before is not None
    tree.request.write_bytes(b"")
    copy_of(tree.request).write_bytes(b"{")
    found = record.read_request(tree)
    assert found is not None
    assert found["request"] == before["request"]
    assert found["stages"] == before["stages"]
    tree.job_json.write_bytes(b"")
    with pytest.raises(DamagedBook, match=r"request\.json: is not readable JSON"):
        record.read_request(tree)


def test_a_state_that_is_lost_is_done_again(tree: Tree, asked: Request) -> None:
    for path in (tree.stage_state("density"), copy_of(tree.stage_state("density"))):
        path.write_bytes(b"")
    assert record.job_document(tree)["status"] == "queued"
    run(asked)
    assert record.job_document(tree)["status"] == "succeeded"
    assert not verify(tree).damaged


@pytest.mark.parametrize("what", ["fifo", "link", "folder", "socket", "too large"])
@pytest.mark.timeout(60)
def test_a_book_that_is_no_plain_file_is_refused_at_once(tree: Tree, tmp_path: Path, what: str) -> None:
    import os
    import socket

    good = tree.request.read_bytes()
    for path in (tree.request, copy_of(tree.request), tree.job_json):
        path.unlink()
        if what == "fifo":
            os.mkfifo(path)
        elif what == "link":
            (tmp_path / "good.json").write_bytes(good)
            path.symlink_to(tmp_path / "good.json")
        elif what == "folder":
            path.mkdir()
        elif what == "socket":
            with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)  # a socket's name may be no longer than 107 bytes
        else:
            with path.open("wb") as file:
                file.truncate(1 << 40)
    with pytest.raises(InvalidInput, match=r"request\.json"):
        record.read_request(tree)


def test_a_book_of_another_shape_is_refused_by_name(tree: Tree) -> None:
    value = json.loads(tree.request.read_bytes())
    del value["seal"]
    for key, wrong in {
        "stages": ["evil"],
        "request": [],
        "job_id": "",
        "submitted_at": "yesterday",
        "inputs": 3,
    }.items():
        for path in (tree.request, copy_of(tree.request)):
            path.write_text(json.dumps({**value, key: wrong}))
        tree.job_json.unlink(missing_ok=True)
        with pytest.raises(DamagedBook, match=rf"request\.json: {key}"):
            record.read_request(tree)


# ---- trees of version 0.1.0


@pytest.fixture
def old(tree: Tree) -> Tree:
    """The same tree as 0.1.0 left it: no seals, no copies, no sums."""
    for path in list(tree.state.rglob("*")):
        if path.name.endswith(".copy") or path == tree.documents:
            path.unlink()
        elif path.suffix == ".json":
            value = json.loads(path.read_bytes())
            for key in ("seal", "files", "generation", "generations", "replaces"):
                value.pop(key, None)
            atomic.write_json(path, value)
    shutil.rmtree(tree.temporary)
    return tree


def test_a_tree_of_an_earlier_version_is_read_and_said_to_have_no_sums(old: Tree, asked: Request) -> None:
    assert record.job_document(old)["status"] == "succeeded"
    assert check_for(old, "analysis") == ["ingest", "reconstruction", "density"]
    found = verify(old)
    assert found.damaged == ()
    assert "model/params.pkl" in found.without_sum
    assert ".covaria/request.json" in found.without_sum
    with pytest.raises(InvalidInput, match="finished run"):
        run(asked)
    run(asked.model_copy(update={"overwrite": True}), ("analysis",))
    assert "reconstruction was made before sums were kept" in old.run_log.read_text()
    run(asked.model_copy(update={"overwrite": True}))
    assert verify(old).without_sum == ()
