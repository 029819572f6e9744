"""Sums of what a stage made, kept in its state, and what has changed since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covaria.errors import InvalidInput
from covaria.opening import open_inside
from covaria.request.stages import STAGES
from covaria.tree import record
from covaria.tree.book import COPY, MAX_BYTES, Shape, believe
from covaria.tree.entry import find, owned, rows
from covaria.tree.folders import AnalysisTree, Documents
from covaria.tree.paths import Tree
from covaria.tree.shapes import SHAPES
from covaria.tree.sums import sum_of

DOCUMENTS = frozenset(Path(row.pattern).name for row in rows(Documents))
NEEDED_BY: dict[str, tuple[str, ...]] = {
    "ingest": (),
    "reconstruction": ("ingest",),
    "density": ("reconstruction",),
    "analysis": ("ingest", "reconstruction", "density"),
}
"""Whose files a stage reads."""


class DamagedFile(InvalidInput):
    """A file that does not hold what a stage wrote into it."""


@dataclass(frozen=True)
class Verified:
    """What `verify` found: how many files are as they were written, which are not and why, what has no sum."""

    sound: int
    damaged: tuple[tuple[str, str], ...]
    without_sum: tuple[str, ...]


def sums_of_stage(tree: Tree, stage: str, folder: Path | None) -> dict[str, dict[str, Any]]:
    """The sums of all files that `stage` made: name beneath OUT (or whole path, for a `folder` elsewhere) -> sum.

    `folder` is the stage's own, where it has one. The documents in it are not the stage's: they are renewed.
    """
    found: dict[str, dict[str, Any]] = {}
    tops = [folder] if folder is not None else list(owned(Tree, tree.out))
    part = Tree if folder is None else AnalysisTree
    for top in tops:
        for path in _files(top):
            if folder is None:
                row = find(part, path.relative_to(tree.out).as_posix())
                if row is None or row.stage != stage:
                    continue
            elif path.parent == folder and path.name in DOCUMENTS:
                continue
            found[name_of(tree, path)] = sum_of(path)
    return found


def name_of(tree: Tree, path: Path) -> str:
    """How a file is called in the books: beneath OUT if it lies there, else by its whole path."""
    path = path.absolute()
    out = tree.out.absolute()
    return path.relative_to(out).as_posix() if path.is_relative_to(out) else str(path)


def check_for(tree: Tree, stage: str) -> list[str]:
    """Make sure that what `stage` reads is what was written. Returns the stages whose sums are not known.

    Raises DamagedFile naming what is not.
    """
    unknown = []
    for needed in NEEDED_BY[stage]:
        state = record.read_stage_state(tree, needed)
        if state is None or state["status"] != "succeeded":
            continue
        if not state.get("files"):
            unknown.append(needed)
            continue
        for name, why in _changed(tree, state["files"]):
            raise DamagedFile(
                f"is not what {needed} wrote: {why}",
                file=tree.out / name,
                hint=f"`covaria verify {tree.out}` names all such files; restore them, or run again with --overwrite",
            )
    return unknown


def verify(tree: Tree) -> Verified:
    """Compare every file of OUT with its sum."""
    expected = record.read_document_sums(tree)
    for stage in STAGES:
        state = record.read_former_state(tree, stage) or {}
        expected |= state.get("files", {})
        if state.get("status") == "running":  # its log grows
            for path in (tree.stage_log(stage), tree.run_log):
                expected.pop(name_of(tree, path), None)
    damaged = dict(_changed(tree, expected))
    sound, without = len(expected) - len(damaged), []
    for path in (file for top in owned(Tree, tree.out) for file in _files(top)):
        name = name_of(tree, path)
        if name in expected or tree.temporary in path.parents or tree.checkpoints("") in path.parents:
            continue
        has_seal, why = _book(tree, path)
        if why:
            damaged[name] = why
        elif has_seal:
            sound += 1
        else:
            without.append(name)
    return Verified(sound, tuple(sorted(damaged.items())), tuple(sorted(without)))


def _book(tree: Tree, path: Path) -> tuple[bool, str]:
    """(whether it is a book with a sound seal, what is wrong with it)."""
    row = find(Tree, name_of(tree, path))
    if row is None or not row.pattern.startswith(".covaria/") or row.pattern.endswith(("cancel", "/log", ".npz")):
        return False, ""
    try:
        with open_inside(tree.out, name_of(tree, path), most_bytes=MAX_BYTES) as file:
            return believe(file.read(), path, SHAPES.get(path.name.removesuffix(COPY), Shape))[1], ""
    except InvalidInput as error:
        return False, error.message.removeprefix(f"{path}: ")


def _changed(tree: Tree, expected: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for name, known in expected.items():
        path = tree.out / name
        if path.is_symlink() or not path.is_file():
            yield name, "it is not there"
            continue
        if path.stat().st_size != known["size"]:
            yield name, f"it has {path.stat().st_size} bytes, {known['size']} were written"
            continue
        if known["size"] and sum_of(path)["sha256"] != known["sha256"]:
            yield name, "its content has another sum (sha256) than was written"


def _files(top: Path) -> Iterable[Path]:
    if top.is_symlink():
        return []
    return sorted(path for path in (top.rglob("*") if top.is_dir() else [top]) if path.is_file())
