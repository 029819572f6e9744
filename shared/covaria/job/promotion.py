"""A finished update takes the place of the version before it: by renames that a kill between two of them only delays.

What is to move is first written down, each thing with its inode. A thing that lies in its place already, by its inode,
is not moved again; so the whole is repeated after a kill until it is done.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from covaria.job.ownership import stage_folder
from covaria.request.identity import stage_fingerprint
from covaria.request.model import Request
from covaria.tree import Tree, record
from covaria.tree.atomic import fsync_directory
from covaria.tree.book import read_book, write_book
from covaria.tree.entry import rows
from covaria.tree.folders import Documents
from covaria.tree.own_state import STATE
from covaria.tree.paths import Tree as _Tree
from covaria.tree.publish import exchange
from covaria.tree.shapes import PromotionShape
from covaria.tree.versions import next_of

DOCUMENTS = frozenset({Path(row.pattern).name for row in rows(Documents)} | {_Tree.crate.pattern, _Tree.report.pattern})
BOOKS = (f"{STATE}/stages", f"{STATE}/growth", f"{STATE}/particles.npz")


def promote(tree: Tree, final: Request, command_line: str, version: int, job_id: str) -> None:
    """Put what OUT/.covaria/next holds in OUT's place, as the finished run that `final` asks for.

    `tree` has the pen; `job_id`: of `final` when the update was asked for, its file may have been written again since.
    What the version before made and this one did not, as analyses under other names, goes.
    """
    made = next_of(tree)
    names = [path.name for path in made.owned() if path.name not in DOCUMENTS | {STATE}]
    moves = {name: (made.out / name).stat().st_ino for name in (*names, *BOOKS) if (made.out / name).exists()}
    asked = record.read_request(made)
    assert asked is not None
    before = Request.model_validate(asked["request"], extra="ignore")
    write_book(tree, tree.promotion, {
        "moves": moves, "command_line": command_line, "request": final.model_dump(mode="json"),
        "stages": list(asked["stages"]), "version": version, "job_id": job_id,
        "fingerprints": {stage: _fingerprint(made, stage, before, final) for stage in asked["stages"]},
    })  # fmt: skip
    finish(tree)


def finish(tree: Tree) -> bool:
    """Go on with a promotion that was broken off; False where there is none. `tree` has the pen."""
    journal = read_book(tree, tree.promotion, PromotionShape)
    if journal is None:
        return False
    for name, inode in journal["moves"].items():
        _move(next_of(tree).out / name, tree.out / name, inode, tree)
    for path in list(tree.owned()):
        if path.name not in DOCUMENTS | {STATE} | set(journal["moves"]):
            tree.pen.remove(path)
    final = Request.model_validate(journal["request"])
    job_id, before = journal["job_id"], record.read_request(tree) or {}
    record.write_request(
        tree, job_id=job_id, command="grow", command_line=journal["command_line"], stages=tuple(journal["stages"]),
        request=final, origin=before.get("origin"),
    )  # fmt: skip
    for stage in journal["stages"]:
        state = record.read_former_state(tree, stage) or {}
        record.write_stage_state(
            tree, stage, {**state, "fingerprint": journal["fingerprints"][stage], "job_id": job_id}
        )
        folder = stage_folder(stage, final)
        if folder is not None and folder.is_dir():
            record.write_stage_folder_record(tree, stage, folder)
    note_version(tree, int(journal["version"]))
    record.refresh(tree)
    tree.pen.remove(next_of(tree).out)
    tree.pen.remove(tree.refused)
    tree.pen.remove(tree.promotion)
    return True


def _fingerprint(made: Tree, stage: str, asked: Request, final: Request) -> str:
    """Of a stage as `final` asks for it, where its inputs are still those that it was made of; else what it had."""
    known = str((record.read_stage_state(made, stage) or {}).get("fingerprint", ""))
    return stage_fingerprint(stage, final) if known == stage_fingerprint(stage, asked) else known


def note_version(tree: Tree, version: int) -> None:
    """Record what OUT's version has found; one that is on record stays."""
    if tree.version(version).is_file():
        return
    document = record.job_document(tree)
    findings = record.read_findings(tree)
    states: dict[str, Any] = {stage: record.read_stage_state(tree, stage) or {} for stage in document["stages"]}
    write_book(tree, tree.version(version), {
        "version": version,
        "at": document["timing"]["completed_at"] or record.now(),
        "job_id": document["job_id"],
        "particles": findings.particles or 0,
        "used": findings.used or 0,
        "seconds": {stage: state.get("seconds") for stage, state in states.items()},
        "findings": findings.model_dump(mode="json", exclude_unset=True),
    })  # fmt: skip


def _move(source: Path, target: Path, inode: int, tree: Tree) -> None:
    """`source` at `target`, unless it lies there; what was there is left at `source`, to be removed with the rest."""
    if os.path.lexists(target) and target.lstat().st_ino == inode:
        return
    tree.pen.check()
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(target):
        source.rename(target)
    elif not exchange(source, target):
        aside = source.with_name(f"{source.name}.before")
        if not os.path.lexists(aside):
            target.rename(aside)
        source.rename(target)
    fsync_directory(target.parent)
