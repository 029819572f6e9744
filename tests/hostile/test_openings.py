"""What others name or leave in a folder: opened beneath the roots or not at all, believed only about itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covaria.errors import InvalidInput, MissingFile, RefusedOutput
from covaria.job.books import Books, note_submission, submitted_message
from covaria.job.ownership import refuse_anothers
from covaria.maps import write_volume
from covaria.maps.volume import read_volume
from covaria.messages.envelope import new_message
from covaria.messages.work import Work
from covaria.opening import ANYWHERE, OutsideRoots, Roots, open_inside
from covaria.particles import read_particles
from covaria.particles.cryodrgn.tables import read_ctf, read_poses
from covaria.particles.cryosparc.table import load_cs
from covaria.particles.row_files import read_halfsets, read_index
from covaria.request.model import AnalysisOptions, IngestOptions, Request
from covaria.stage import Job
from covaria.tree import Tree, record
from covaria.tree.book import copy_of


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """root/ with a file, secret/ beside it."""
    (tmp_path / "root/inner").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "root/inner/data").write_bytes(b"allowed")
    (tmp_path / "secret/data").write_bytes(b"secret")
    return tmp_path


def test_what_lies_beneath_a_root_is_read_links_within_it_too(place: Path) -> None:
    roots = Roots.of([place / "root"])
    (place / "root/link").symlink_to("inner/data")
    (place / "root/folder").symlink_to(place / "root/inner")
    for name in ("inner/data", "link", "folder/data", "inner/../inner/data"):
        with roots.open(place / "root" / name) as file:
            assert file.read() == b"allowed"
    with ANYWHERE.open(place / "secret/data") as file:
        assert file.read() == b"secret"


METADATA: dict[str, Callable[[Path, Roots], object]] = {
    "particles.star": lambda path, roots: read_particles(IngestOptions(particles=path), roots=roots),
    "particles.cs": lambda path, roots: read_particles(IngestOptions(particles=path), roots=roots),
    "stacks.txt": lambda path, roots: read_particles(IngestOptions(particles=path), roots=roots),
    "passthrough.cs": load_cs,
    "poses.pkl": lambda path, roots: read_poses(path, 1, roots),
    "ctf.pkl": lambda path, roots: read_ctf(path, np.ones(1, bool), roots),
    "rows.pkl": lambda path, roots: read_index(path, 1, roots),
    "rows.npy": lambda path, roots: read_index(path, 1, roots),
    "rows.txt": lambda path, roots: read_index(path, 1, roots),
    "halves.pkl": lambda path, roots: read_halfsets(path, 1, roots),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_are_opened_beneath_the_roots(place: Path, name: str) -> None:
    link = place / "root" / name
    link.symlink_to("../secret/data")
    with pytest.raises(OutsideRoots):
        METADATA[name](link, Roots.of([place / "root"]))
    with pytest.raises(InvalidInput) as without_roots:  # it is read, and is nothing of the kind
        METADATA[name](link, ANYWHERE)
    assert not isinstance(without_roots.value, OutsideRoots)


def test_what_leads_out_is_refused(place: Path) -> None:
    roots = Roots.of([place / "root"])
    (place / "root/out").symlink_to(place / "secret/data")
    (place / "root/up").symlink_to("../secret")
    (place / "root/proc").symlink_to("/proc/self/environ")
    for path in (
        place / "secret/data", place / "root/../secret/data", place / "root/out", place / "root/up/data",
        place / "root/proc", Path("/etc/passwd"), place / "root",
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            roots.open(path)
    assert not roots.allows(place / "root/out")


def test_what_is_no_file_is_refused_at_once(place: Path) -> None:
    roots = Roots.of([place / "root", "/dev"])
    os.mkfifo(place / "root/fifo")
    (place / "root/loop").symlink_to("loop")
    for path in (place / "root/fifo", place / "root/loop", place / "root/inner", Path("/dev/null")):
        for way in (roots, ANYWHERE):
            with pytest.raises(InvalidInput):
                way.open(path)
    for name in ("none", "inner/data/none", "x" * 300):
        with pytest.raises(MissingFile):
            roots.open(place / "root" / name)
    with pytest.raises(InvalidInput):
        roots.open(place / "root/a\0b")
    with pytest.raises(InvalidInput, match="7 bytes is more"):
        roots.open(place / "root/inner/data", most_bytes=6)


@pytest.mark.parametrize("part", ["file", "folder"])
def test_a_file_exchanged_after_it_was_looked_at_is_not_followed(
    place: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """A link is put there between the check of the name and the opening."""
    roots = Roots.of([place / "root"])
    real = Path.resolve

    def then_exchanged(self: Path, strict: bool = False) -> Path:
        found = real(self, strict)
        if part == "file":
            (place / "root/inner/data").unlink(missing_ok=True)
            (place / "root/inner/data").symlink_to(place / "secret/data")
        elif not (place / "root/inner").is_symlink():
            (place / "root/inner").rename(place / "root/aside")
            (place / "root/inner").symlink_to(place / "secret")
        return found

    monkeypatch.setattr(Path, "resolve", then_exchanged)
    with pytest.raises(InvalidInput):
        roots.open(place / "root/inner/data")


def test_a_mask_exchanged_after_it_was_looked_at_is_not_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume(place / "root/mask.mrc", np.ones((8, 8, 8)), 2.0)
    write_volume(place / "secret/map.mrc", np.full((8, 8, 8), 7.0), 2.0)
    roots = Roots.of([place / "root"])
    assert read_volume(place / "root/mask.mrc", roots)[0].max() == 1
    real = Path.resolve

    def then_exchanged(self: Path, strict: bool = False) -> Path:
        found = real(self, strict)
        (place / "root/mask.mrc").unlink(missing_ok=True)
        (place / "root/mask.mrc").symlink_to(place / "secret/map.mrc")
        return found

    monkeypatch.setattr(Path, "resolve", then_exchanged)
    with pytest.raises(InvalidInput, match=r"mask\.mrc"):
        read_volume(place / "root/mask.mrc", roots)
    monkeypatch.undo()
    with pytest.raises(OutsideRoots):
        read_volume(place / "root/mask.mrc", roots)


def test_no_part_of_a_book_s_path_is_followed(place: Path) -> None:
    (place / "root/link").symlink_to("inner")
    with pytest.raises(InvalidInput):
        open_inside(place / "root", "link/data")
    with pytest.raises(ValueError, match="leads out"):
        open_inside(place / "root", "../secret/data")
    with open_inside(place / "root", "inner/data") as file:
        assert file.read() == b"allowed"


# ---- whose is it


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    ("folder_mode", "owner", "group", "believed"),
    [
        (0o755, 1000, 50, True),  # ours
        (0o755, 0, 0, True),
        (0o755, 2000, 50, False),  # nobody else may write here: it was moved in
        (0o775, 2000, 50, True),  # a service of the folder's group
        (0o775, 2000, 60, True),
        (0o777, 2000, 60, True),
    ],
)
def test_books_are_believed_of_whom_the_folder_lets_write(
    victim: Tree, monkeypatch: pytest.MonkeyPatch, folder_mode: int, owner: int, group: int, believed: bool
) -> None:
    for folder in (victim.out, victim.state):
        os.chown(folder, 1000, 50)
        folder.chmod(folder_mode)
    for path in (victim.request, copy_of(victim.request)):
        os.chown(path, owner, group)
    victim.job_json.unlink()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    if believed:
        assert record.read_request(victim) is not None
        os.chown(victim.state, owner, group)
        assert victim.is_ours
    else:
        with pytest.raises(InvalidInput, match="belongs to somebody else"):
            record.read_request(victim)
        os.chown(victim.state, owner, group)
        assert not victim.is_ours


# ---- a submission is a stranger's claim


@pytest.fixture
def victim(tmp_path: Path) -> Tree:
    """A folder of a finished job, as the services left it."""
    return submitted(tmp_path / "victim")


def submitted(out: Path, **changes: object) -> Tree:
    tree = Tree(out)
    request = Request(out=out, ingest=IngestOptions(particles=out.parent / "p.star"))
    message = new_message(f"job-{out.name}", Work(request=request, route=("ingest",)))
    tree.state.mkdir(parents=True)
    Books(tree, message.job_id).claim(message)
    return tree


def test_an_honest_submission_is_sent_again(victim: Tree) -> None:
    message = submitted_message(victim)
    assert message is not None
    assert message.work.request.out == victim.out
    victim.submission.write_bytes(b"")
    again = submitted_message(victim)
    assert again is not None
    assert again.data == message.data, "its copy says the same"


def test_a_folder_asks_for_nothing_but_itself(victim: Tree, tmp_path: Path) -> None:
    mallory = submitted(tmp_path / "mallory")
    request = Request(out=victim.out, ingest=IngestOptions(particles=tmp_path / "p.star"), overwrite=True)
    message = new_message("job-mallory", Work(request=request, route=("ingest",)))
    note_submission(mallory, message)
    with pytest.raises(InvalidInput, match="not in its own folder"):
        submitted_message(mallory)
    note_submission(mallory, new_message("job-other", Work(request=request, route=("ingest",))))
    with pytest.raises(InvalidInput, match="another job than"):
        submitted_message(mallory)


def test_overwrite_and_options_are_never_taken_from_a_folder(victim: Tree) -> None:
    asked = submitted_message(victim)
    assert asked is not None
    overwriting = asked.work.request.model_copy(update={"overwrite": True})
    note_submission(victim, new_message(asked.job_id, asked.work.model_copy(update={"request": overwriting})))
    found = submitted_message(victim)
    assert found is not None
    assert found.work.request.overwrite is False
    assert found.data["request"]["overwrite"] is False
    elsewhere = asked.work.request.model_copy(update={"analysis": AnalysisOptions(output=Path("/etc"))})
    note_submission(victim, new_message(asked.job_id, asked.work.model_copy(update={"request": elsewhere})))
    with pytest.raises(InvalidInput, match="something else than"):
        submitted_message(victim)


@pytest.mark.parametrize("content", [b"", b"[]", b"5", b'{"job_id": 3}', b"[" * 100_000, b'{"job_id": "x"}'])
def test_a_broken_submission_is_that_folder_s_problem(victim: Tree, content: bytes) -> None:
    for path in (victim.submission, copy_of(victim.submission)):
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"submission\.json"):
        submitted_message(victim)


def test_broken_notes_say_nothing_and_stop_nothing(victim: Tree) -> None:
    books = Books(victim, "job-victim")
    for content in (b"", b"[]", b"{", b'{"job_id": [], "state": 3}', b"[" * 100_000, b'{"job_ids": "x"}'):
        for path in (books.delivery("ingest"), books.progress("ingest"), books.handover("ingest"), victim.superseded):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        assert books.read_delivery("ingest") is None
        assert books.read_progress("ingest") is None
        assert not books.is_handed_over("ingest")
        assert not books.was_superseded()


# ---- one job never replaces another's results


def test_an_analysis_of_another_job_is_not_replaced(tmp_path: Path) -> None:
    mine, other = submitted(tmp_path / "mine"), submitted(tmp_path / "other")
    record.write_stage_folder_record(other, "ingest", other.analysis(2))
    apart = tmp_path / "apart"
    record.write_folder_record(apart, json.loads((other.analysis(2) / "job.json").read_text()), b"")
    job = Job("job-mine", Request(out=mine.out, ingest=IngestOptions(particles=tmp_path / "p.star")))
    over = replace(job, request=job.request.model_copy(update={"overwrite": True}))
    for folder, asked in ((other.analysis(2), job), (other.analysis(2), over), (apart, job)):
        with pytest.raises(RefusedOutput, match="results of another job, job-other"):
            refuse_anothers(folder, asked, mine)
    refuse_anothers(apart, over, mine)
    refuse_anothers(tmp_path / "new", job, mine)
    refuse_anothers(other.analysis(2), Job("job-other", job.request), other)


# ---- stacks, in the stage that names them and in those that read them later


def test_a_stack_exchanged_after_it_was_found_is_read_by_no_stage(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from covaria.particles.stacks.images import StackImages
    from covaria.particles.stacks.mrc import read_header, write_header

    head = write_header(3, 4, 1.0, (0, 0, 0, 0))
    stack = place / "root/particles.mrcs"
    stack.write_bytes(head + np.arange(48, dtype="<f4").tobytes())
    (place / "secret/other.mrcs").write_bytes(head + np.full(48, 7, "<f4").tobytes())
    roots = Roots.of([place / "root"])
    rows = np.arange(3)
    images = StackImages((stack,), np.zeros(3, np.int64), rows, 4, roots=roots)
    assert images.read(rows)[2, 3, 3] == 47
    known = StackImages((stack,), np.zeros(3, np.int64), rows, 4, {0: read_header(stack, roots)})
    later = images.take(rows[::-1])
    stack.unlink()
    stack.symlink_to(place / "secret/other.mrcs")
    for reader in (StackImages((stack,), np.zeros(3, np.int64), rows, 4, roots=roots), known):
        with pytest.raises(OutsideRoots):
            reader.read(rows)
    with pytest.raises(OutsideRoots):
        replace(later, headers={}, _maps=type(later._maps)()).read(rows)
    assert StackImages((stack,), np.zeros(3, np.int64), rows, 4).read(rows)[0, 0, 0] == 7, (
        "without roots it is followed"
    )
