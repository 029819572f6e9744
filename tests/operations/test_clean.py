"""`covaria clean`: what goes, what stays, and who is left alone, hostile folders among them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from covaria.cli.services.clean import clean as command
from covaria.errors import InvalidInput, MissingFile
from covaria.job.books import Books, note_submission, write_request
from covaria.job.lease import take
from covaria.messages.envelope import Message
from covaria.opening import OutsideRoots, Roots
from covaria.operations.cleaning import Item, Policies, clean, clean_scratch, plan
from covaria.operations.jobs_on_disk import clear_failure, message_to_resume, view_job
from covaria.operations.submit import message_for
from covaria.request.model import IngestOptions, Request
from covaria.settings import Settings
from covaria.tree import Tree, record

ALL = Policies(0, 0, 0, 0, 0)
DOWNSAMPLED, MEAN = "downsampled/particles.64.mrcs", "output/volumes/mean.mrc"


def job(root: Path, name: str, ended: str = "succeeded", *, done: int = 4, at: str = "") -> Message:
    """A job that ended in its stage number `done`, with all that its stages leave."""
    request = Request(out=root / name, ingest=IngestOptions(particles=root / "p.star"))
    message = message_for(request)
    tree = Tree(request.out)
    tree.state.mkdir(parents=True)
    write_request(tree, message)
    note_submission(tree, message)
    for number, stage in enumerate(message.work.route[: done + (ended != "succeeded")]):
        files = {"ingest": [DOWNSAMPLED], "reconstruction": [MEAN]}.get(stage, []) if number < done else []
        for file in files:
            put(tree.out / file)
        state = {"stage": stage, "job_id": message.job_id, "fingerprint": "f", "finished_at": at or record.now()}
        state |= {"status": "succeeded" if number < done else ended, "seconds": 1.0}
        record.write_stage_state(tree, stage, state | {"files": {f: {"size": 9, "sha256": "0" * 64} for f in files}})
        put(tree.checkpoints(stage) / "step.npz")
        Books(tree, message.job_id).note_handover(stage, "m") if number < done else None
    record.refresh(tree)
    return message


def put(path: Path, size: int = 9000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


def cleaned(
    root: Path, policies: Policies = ALL, *, dry_run: bool = False, outs: list[Path] | None = None
) -> list[Item]:
    outs = outs or sorted(path for path in root.iterdir() if path.is_dir())
    return list(clean(outs, policies, Settings(), Roots.of([root]), wait=lambda s: None, dry_run=dry_run))


def names(items: list[Item]) -> set[str]:
    return {item.name for item in items}


def test_nothing_goes_before_it_is_said_and_results_never(tmp_path: Path) -> None:
    out = job(tmp_path, "a").work.request.out
    told = cleaned(tmp_path, dry_run=True)
    assert names(told) == {"downsampled", ".covaria/checkpoints"} and all(item.bytes >= 9000 for item in told)
    assert (out / DOWNSAMPLED).is_file() and not Tree(out).cleaned.exists(), "only told"
    assert names(cleaned(tmp_path)) == names(told)
    assert not (out / "downsampled").exists() and not (Tree(out).state / "checkpoints").exists()
    assert (out / MEAN).is_file() and view_job(out).status == "succeeded"
    noted = json.loads(Tree(out).cleaned.read_text())["removed"]
    assert {entry["name"] for entry in noted} == names(told) and {entry["policy"] for entry in noted} == {
        "images", "intermediates"
    }  # fmt: skip
    state = record.read_stage_state(Tree(out), "ingest")
    assert state is not None and state["files"] == {} and not state["fingerprint"], "an overwrite makes them again"
    assert cleaned(tmp_path) == [], "once"


@pytest.mark.parametrize("ended", ["succeeded", "failed", "cancelled"])
def test_a_policy_waits_for_its_days_and_touches_its_own(tmp_path: Path, ended: str) -> None:
    job(tmp_path, "young", ended, done=1 if ended != "succeeded" else 4)
    old = job(tmp_path, "old", ended, done=1 if ended != "succeeded" else 4, at="2020-01-01T00:00:00+00:00")
    book = Tree(old.work.request.out).request
    for path in (book, book.with_name(book.name + ".copy")):
        path.unlink()
    write_request(Tree(old.work.request.out), old)
    asked = record.read_request(Tree(old.work.request.out))
    assert asked is not None
    record.write_book(Tree(old.work.request.out), book, {**asked, "submitted_at": "2020-01-01T00:00:00+00:00"})
    others = Policies(failed=7) if ended == "succeeded" else Policies(intermediates=7, images=7)
    assert cleaned(tmp_path, others) == []
    mine = Policies(intermediates=7, images=7) if ended == "succeeded" else Policies(failed=7)
    assert {(item.out.name, item.name) for item in cleaned(tmp_path, mine)} == {
        ("old", "downsampled"), ("old", ".covaria/checkpoints"),
    }  # fmt: skip


def test_a_failed_job_with_results_keeps_them_and_their_images(tmp_path: Path) -> None:
    """Whether a stage of it made them, or the good job that it was to replace."""
    out = job(tmp_path, "a", "failed", done=2).work.request.out
    assert names(cleaned(tmp_path)) == {".covaria/checkpoints"}
    assert (out / MEAN).is_file() and (out / DOWNSAMPLED).is_file()


def test_a_retry_after_it_begins_with_the_images(tmp_path: Path) -> None:
    out = job(tmp_path, "a", "failed", done=1).work.request.out
    assert names(cleaned(tmp_path)) == {"downsampled", ".covaria/checkpoints"}
    assert view_job(out).status == "failed", "not queued: nobody sends it by himself"
    clear_failure(out)
    message = message_to_resume(out)
    assert message is not None and message.stage == "ingest"
    assert not Books(Tree(out), message.job_id).is_handed_over("ingest"), "so that its end goes on to the next"


def test_a_growing_set_keeps_its_images_and_loses_an_old_try(tmp_path: Path) -> None:
    out = job(tmp_path, "a").work.request.out
    put(Tree(out).growth_memory)
    put(Tree(out).state / "next" / "output" / "x")
    assert names(cleaned(tmp_path, replace(ALL, updates=1.0))) == {".covaria/checkpoints"}
    assert names(cleaned(tmp_path)) == {".covaria/next"}
    assert (out / DOWNSAMPLED).is_file()


@pytest.mark.parametrize("status", ["queued", "running"])
def test_what_moves_is_left_alone(tmp_path: Path, status: str) -> None:
    out = job(tmp_path, "a", status, done=1).work.request.out
    assert cleaned(tmp_path) == []
    assert (out / DOWNSAMPLED).is_file()


def test_a_lease_that_moves_is_respected_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    tree = Tree(job(tmp_path, "a").work.request.out)
    lease = take(tree, "another host", None)
    assert lease is not None
    half = put(lease.tree.pen.folder / "analysis-1" / "half.mrc")  # type: ignore[operator]
    moved = clean([tree.out], ALL, Settings(), Roots.of([tmp_path]), wait=lambda s: lease.renew(), dry_run=False)
    assert list(moved) == [] and half.is_file(), "it lives"
    assert {item.policy for item in cleaned(tmp_path)} == {"staging", "intermediates", "images"}
    assert not half.exists() and (tree.out / MEAN).is_file()
    with pytest.raises(Exception, match="taken over"):
        lease.renew()


def test_nothing_outside_the_roots_and_no_link(tmp_path: Path) -> None:
    """A stranger's folder may be removed from; what it points to may not."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    victim = put(outside / "victim" / "map.mrc")
    foreign = job(outside, "job").work.request.out
    (root / "link").symlink_to(foreign)
    assert cleaned(root, outs=[root / "link", foreign]) == []
    tree = Tree(job(root, "a").work.request.out)
    (tree.out / DOWNSAMPLED).unlink()
    (tree.out / "downsampled").rmdir()
    (tree.out / "downsampled").symlink_to(victim.parent)
    (tree.state / "checkpoints" / "evil").symlink_to(victim.parent)
    good = job(root, "b").work.request.out
    cleaned(root)
    assert victim.is_file() and (foreign / DOWNSAMPLED).is_file()
    assert (tree.out / "downsampled").is_symlink(), "a link stays where it is, to be looked at"
    assert not (good / "downsampled").exists(), "and keeps no other job from it"


def test_books_behind_a_link_are_refused(tmp_path: Path) -> None:
    victim = job(tmp_path / "v", "a").work.request.out
    out = tmp_path / "root" / "a"
    out.mkdir(parents=True)
    (out / ".covaria").symlink_to(victim / ".covaria")
    assert cleaned(tmp_path / "root") == []
    assert (victim / ".covaria" / "checkpoints").is_dir()


def test_taking_away_stays_beneath_whatever_is_swapped(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    out = root / "visit" / "out"
    put(out / "aside" / "x")
    victim = put(outside / "out" / "here" / "map")
    roots = Roots.of([root])
    with pytest.raises(OutsideRoots):
        roots.take_away(outside / "out", "here", "aside/1")
    with pytest.raises(OutsideRoots):
        Roots().take_away(out, "aside", "gone")
    with pytest.raises(ValueError, match="leads out"):
        roots.take_away(out, "../../../outside/out", "aside/1")
    with pytest.raises(MissingFile):
        roots.take_away(out, "none", "aside/1")
    (root / "visit").rename(root / "before")
    (root / "visit").symlink_to(outside)  # between the plan and the deed
    with pytest.raises(InvalidInput, match="link"):
        roots.take_away(out, "here", "aside/1")
    assert victim.is_file()


def test_scratch_of_killed_stages(tmp_path: Path) -> None:
    old, young = put(tmp_path / "covaria-images-1.f16"), put(tmp_path / "covaria-images-2.f16")
    other = put(tmp_path / "other.f16")
    (tmp_path / "covaria-images-3.f16").symlink_to(other)
    os.utime(old, (1, 1))
    assert names(list(clean_scratch(tmp_path, 1))) == {old.name} and old.is_file()
    assert names(list(clean_scratch(tmp_path, 1, dry_run=False))) == {old.name}
    assert {path.name for path in tmp_path.iterdir()} == {young.name, other.name, "covaria-images-3.f16"}


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COVARIA_ROOTS", str(tmp_path))
    out = job(tmp_path, "a").work.request.out
    with pytest.raises(InvalidInput, match="no policy"):
        command(folders=[tmp_path])
    command(intermediates=0.0, as_json=True)
    assert json.loads(capsys.readouterr().out)["removed"] is False and plan(out, Policies(intermediates=0))
    command(intermediates=0.0, yes=True)
    assert "removed" in capsys.readouterr().out and plan(out, Policies(intermediates=0)) == []
