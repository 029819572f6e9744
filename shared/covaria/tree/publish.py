"""Results appear whole: made in a staging folder on the same filesystem, synced, then renamed into place."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from covaria.tree.atomic import fsync_directory, remove
from covaria.tree.entry import Part, find
from covaria.tree.pen import nobody_else

_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of linux/fs.h."""


class UnlistedOutput(Exception):
    """A stage would publish a file that the table of outputs does not name: a defect of the stage."""


@contextmanager
def staging(temporary: Path, stage: str) -> Iterator[Path]:
    """A fresh folder beneath `temporary` for `stage`, gone when the block ends. Its mode follows the umask."""
    folder = temporary / f"{stage}-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(source: Path, target: Path, aside: Path, check: Callable[[], None] = nobody_else) -> None:
    """Move a finished file or folder to `target`.

    Everything in `source` is synced first. An existing target changes places with the new one in one step; where the
    filesystem cannot do that, it is first renamed into the folder `aside`, from where `put_back` saves it after a kill.
    On another filesystem, a copy is made beside the target and renamed. `check` is called before anything is moved, and
    raises where the right to write was lost.
    """
    _fsync_tree(source)
    check()
    target.parent.mkdir(parents=True, exist_ok=True)
    if (source.is_file() and (target.is_file() or not target.exists())) or not os.path.lexists(target):
        _rename(source, target, check)
    elif exchange(source, target):
        fsync_directory(target.parent)
        remove(source)
    else:
        _replace(source, target, aside, check)
    fsync_directory(target.parent)


def exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step. False where the system or the filesystem cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done: int = renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)
    return done == 0


def put_back(aside: Path, parent: Path) -> None:
    """After a kill between two renames: what was renamed from `parent` into `aside` and has no successor returns."""
    for old in aside.glob("old-*"):
        target = parent / old.name.removeprefix("old-").rpartition("-")[0]
        if not os.path.lexists(target):
            old.rename(target)


def _replace(source: Path, target: Path, aside: Path, check: Callable[[], None]) -> None:
    old = aside / f"old-{target.name}-{secrets.token_hex(4)}"
    _rename(target, old, check)
    try:
        _rename(source, target, check)
    except BaseException:
        if not os.path.lexists(target):
            old.rename(target)
        raise
    remove(old)


def refuse_unlisted(source: Path, part: type[Part], prefix: str) -> None:
    """Raise UnlistedOutput unless the table of `part` names every file of `source`, placed at `prefix`."""
    files = [source] if source.is_file() else [path for path in source.rglob("*") if not path.is_dir()]
    for file in files:
        inside = "" if file == source else file.relative_to(source).as_posix()
        name = (prefix + inside).rstrip("/")
        if find(part, name) is None:
            raise UnlistedOutput(f"{name}: no line of covaria.tree.paths names it; add one with its meaning")


def _rename(source: Path, target: Path, check: Callable[[], None]) -> None:
    try:
        source.replace(target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    beside = target.parent / f".{target.name}-{secrets.token_hex(4)}.tmp"
    if source.is_dir():
        shutil.copytree(source, beside, symlinks=True)
    else:
        shutil.copy2(source, beside)
    try:
        _fsync_tree(beside)
        check()
        beside.replace(target)
    except BaseException:
        remove(beside)
        raise
    remove(source)


def _fsync_tree(path: Path) -> None:
    if path.is_file():
        _fsync_file(path)
        return
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder) / name
            if not file.is_symlink():
                _fsync_file(file)
        fsync_directory(Path(folder))


def _fsync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
