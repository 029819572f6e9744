"""Room made again in the folders of jobs: what nobody needs any more, by policies, never the last good result.

What goes is renamed into the folder of a lease of ours and deleted there; it is reached from a handle of an allowed
folder, no link followed (covaria.opening). The books of a job stay: what it was, what it cost, what was removed.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from platform import node

from covaria.errors import CovariaError, InvalidInput
from covaria.job.books import Books
from covaria.job.lease import LeaseKeeper, LeaseState, latest, take
from covaria.job.notice import notice
from covaria.job.process import Process
from covaria.job.promotion import DOCUMENTS, finish
from covaria.opening import Roots
from covaria.operations.jobs_on_disk import ENDED, JobView, view_job
from covaria.plain import explain, one_line
from covaria.settings import Settings
from covaria.tree import Tree, record
from covaria.tree.book import read_if_sound, write_book
from covaria.tree.own_state import STATE
from covaria.tree.shapes import CleanedShape
from covaria.tree.versions import next_of

log = logging.getLogger(__name__)

DAY_S = 86400.0
AGAIN = "the images at the smaller box were removed to make room"


@dataclass(frozen=True)
class Policies:
    """After how many days since a job's end what goes; None: it stays.

    intermediates  of a success: checkpoints, first looks
    images         of a success: the images at the smaller box, unless the set grows
    failed         of a failed, parked or cancelled job: the same, the images only where it has no other result
    staging        what dead holders of a lease were making, of any job
    updates        the unfinished next version of a growing set, since it was last written
    """

    intermediates: float | None = None
    images: float | None = None
    failed: float | None = None
    staging: float | None = None
    updates: float | None = None


@dataclass(frozen=True)
class Item:
    """Something to remove: `name` beneath `out`, bytes on the disk, by which policy."""

    out: Path
    name: str
    bytes: int
    policy: str


def plan(out: Path, policies: Policies) -> list[Item]:
    """What may go of the job in `out`. Raises InvalidInput where there is none, CovariaError, OSError."""
    tree, view = Tree(out), view_job(out)
    age = _age_days(tree, view)
    found: list[tuple[Path, str]] = []
    if view.status == "succeeded":
        if _due(age, policies.intermediates):
            found += [(path, "intermediates") for path in (tree.state / "checkpoints", tree.early)]
        if _due(age, policies.images) and not os.path.lexists(tree.growth_memory):
            found.append((tree.downsampled, "images"))
    elif view.status in (*ENDED, "parked") and _due(age, policies.failed):
        found += [(path, "failed") for path in (tree.state / "checkpoints", tree.early)]
        found += [] if _has_results(tree) else [(tree.downsampled, "failed")]
    if tree.temporary.is_dir() and policies.staging is not None:
        found += [(path, "staging") for path in tree.temporary.iterdir() if _due(_untouched(path), policies.staging)]
    made = next_of(tree)
    if os.path.lexists(made.out) and not os.path.lexists(tree.promotion):
        found += [(made.out, "updates")] if _due(_untouched(made.out), policies.updates) else []
    return [
        Item(out, path.relative_to(out).as_posix(), _bytes(path), policy)
        for path, policy in found
        if os.path.lexists(path)
    ]


def clean(
    outs: Iterable[Path],
    policies: Policies,
    settings: Settings,
    roots: Roots,
    *,
    wait: Callable[[float], object] = time.sleep,
    dry_run: bool = True,
) -> Iterator[Item]:
    """Remove what the policies let go, or with `dry_run` only tell it; a job that somebody works on is left alone.

    Leases that are held are observed side by side, for `settings.lease_dead_s`. What cannot be cleaned is logged.
    """
    due: list[tuple[Path, LeaseState | None]] = []
    for out in outs:
        try:
            real = _real(out, roots)
            if plan(real, policies):
                due.append((real, latest(Tree(real))))
        except (CovariaError, OSError) as error:
            _complain(out, error)
    if any(_is_held(lease) for _, lease in due):
        wait(settings.lease_dead_s)
    for out, lease in due:
        try:
            if _is_held(lease) and latest(Tree(out)) != lease:
                log.info("%s", one_line(f"{out}: somebody works there"))
            elif dry_run:
                yield from plan(out, policies)
            else:
                yield from _clean(out, lease, policies, settings, roots)
        except (CovariaError, OSError) as error:
            _complain(out, error)


def clean_scratch(folder: Path, after_days: float, *, dry_run: bool = True) -> Iterator[Item]:
    """Images that killed stages left in this node's scratch folder. A file that is still open loses only its name."""
    real = folder.resolve()
    for path in sorted(real.glob("covaria-images-*.f16")):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and _due(_untouched(path), after_days):
            if not dry_run:
                Roots.of([real]).take_away(real, path.name, f".{path.name}.removed")
            yield Item(real, path.name, status.st_blocks * 512, "scratch")


def _clean(out: Path, over: LeaseState | None, policies: Policies, settings: Settings, roots: Roots) -> list[Item]:
    """Under the job's lease. What a dead holder was making goes when its lease is taken over."""
    staged = [item for item in plan(out, policies) if item.policy == "staging"]
    lease = take(Tree(out), f"covaria clean on {node()}, process {os.getpid()}", over, Process.this())
    if lease is None:
        return []
    keeper = LeaseKeeper(lease, settings.lease_renew_s)
    ours = (lease.tree.temporary / str(lease.number)).relative_to(out).as_posix()
    removed = [item for item in staged if not os.path.lexists(out / item.name)]
    try:
        finish(lease.tree)
        for item in plan(out, policies):
            if item.policy == "staging":
                continue
            lease.tree.pen.check()
            try:
                roots.take_away(out, item.name, f"{ours}/removed-{secrets.token_hex(4)}")
            except InvalidInput as error:  # a link: the rest may go
                _complain(out / item.name, error)
                continue
            removed.append(item)
    finally:
        try:
            if removed:
                _note(lease.tree, removed)
        finally:
            keeper.release()
    notice(settings.ledger, out)
    return removed


def _note(tree: Tree, removed: list[Item]) -> None:
    """In the books: what went, by which policy; the stages' states name only what is there."""
    before = (read_if_sound(tree, tree.cleaned, CleanedShape) or {"removed": []})["removed"]
    added = [{"at": record.now(), "policy": each.policy, "name": each.name, "bytes": each.bytes} for each in removed]
    write_book(tree, tree.cleaned, {"removed": [*before, *added]})
    images = next((each for each in removed if each.name == tree.downsampled.name), None)
    state = record.read_stage_state(tree, "ingest")
    if images is not None and state is not None:
        kept = {name: known for name, known in state.get("files", {}).items() if not name.startswith("downsampled/")}
        state = {**state, "files": kept, "fingerprint": ""}  # an overwrite makes them again
        if images.policy == "failed":  # and so does a retry: it begins with this stage
            state |= {"status": "failed", "error": {"type": "Cleaned", "message": AGAIN, "hint": "`covaria retry`"}}
            tree.pen.remove(tree.handover("ingest"))
        record.write_stage_state(tree, "ingest", state)
    record.refresh(tree)


def _has_results(tree: Tree) -> bool:
    """Whether there is more than images and documents: of a stage that succeeded, or of the job before this one."""
    inputs = {tree.downsampled.name, tree.early.name, STATE}
    return any(path.name not in DOCUMENTS | inputs for path in tree.owned())


def _real(out: Path, roots: Roots) -> Path:
    real = out.resolve()
    if not roots.folders or not roots.allows(real):
        raise roots.refusal(out)
    if out.is_symlink() or not Tree(real).is_ours:
        raise InvalidInput("is a link, or its books are somebody else's", file=out, hint="look at it by hand")
    return real


def _is_held(lease: LeaseState | None) -> bool:
    return lease is not None and not lease.released and not (lease.process is not None and lease.process.is_gone)


def _due(age_days: float, after_days: float | None) -> bool:
    return after_days is not None and age_days >= after_days


def _age_days(tree: Tree, view: JobView) -> float:
    """Since the last thing that is known of the job; a clock that is ahead makes it young."""
    noted = [view.submitted_at, view.current.since]
    for stage in view.stages:
        noted.append((record.read_stage_state(tree, stage.name) or {}).get("finished_at") or "")
        noted.append((Books(tree, view.job_id).read_delivery(stage.name) or {}).get("at") or "")
    last = max(datetime.fromisoformat(text) for text in noted if text)
    return (datetime.now(UTC) - last).total_seconds() / DAY_S


def _untouched(path: Path) -> float:
    """Days since the youngest change of a folder or what lies in it."""
    times = [path.lstat().st_mtime]
    for folder, _, names in os.walk(path):
        times += [(Path(folder) / name).lstat().st_mtime for name in (".", *names)]
    return (time.time() - max(times)) / DAY_S


def _bytes(path: Path) -> int:
    """On the disk; no link is followed."""
    total = path.lstat().st_blocks * 512
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            total += (Path(folder) / name).lstat().st_blocks * 512
    return total


def _complain(out: Path, error: Exception) -> None:
    log.warning("%s", one_line(f"{out}: left alone: {explain(error).message}"))
