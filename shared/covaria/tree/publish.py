"""Results appear whole: made in a staging folder on the same filesystem, synced, then renamed into place."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from covaria.tree.atomic import fsync_directory
from covaria.tree.entry import Part, find


class UnlistedOutput(Exception):
    """A stage would publish a file that the table of outputs does not name: a defect of the stage."""


Guard = Callable[[], None]
_guards: list[Guard] = []


def add_publish_guard(guard: Guard) -> None:
    """Call `guard` before every publishing rename of this process; it raises where the right to write was lost."""
    _guards.append(guard)


def remove_publish_guard(guard: Guard) -> None:
    """Undo `add_publish_guard`."""
    _guards.remove(guard)


@contextmanager
def staging(temporary: Path, stage: str) -> Iterator[Path]:
    """A fresh folder beneath `temporary` for `stage`, gone when the block ends. Its mode follows the umask."""
    folder = temporary / f"{stage}-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(source: Path, target: Path, aside: Path) -> None:
    """Move a finished file or folder to `target`.

    Everything in `source` is synced first. An existing target is renamed into the folder `aside` and removed once the
    new one is in place. Where the two lie on different filesystems, a copy is made beside the target and renamed.
    """
    _fsync_tree(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside.mkdir(parents=True, exist_ok=True)
    for guard in _guards:
        guard()
    if source.is_file() and (target.is_file() or not target.exists()):
        _rename(source, target)
        fsync_directory(target.parent)
        return
    old: Path | None = None
    if target.exists() or target.is_symlink():
        old = aside / f"old-{target.name}-{secrets.token_hex(4)}"
        _rename(target, old)
    _rename(source, target)
    fsync_directory(target.parent)
    if old is not None:
        remove(old)


def refuse_unlisted(source: Path, part: type[Part], prefix: str) -> None:
    """Raise UnlistedOutput unless the table of `part` names every file of `source`, placed at `prefix`."""
    files = [source] if source.is_file() else [path for path in source.rglob("*") if not path.is_dir()]
    for file in files:
        inside = "" if file == source else file.relative_to(source).as_posix()
        name = (prefix + inside).rstrip("/")
        if find(part, name) is None:
            raise UnlistedOutput(f"{name}: no line of covaria.tree.paths names it; add one with its meaning")


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all it holds; nothing there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=False)
    else:
        path.unlink(missing_ok=True)


def _rename(source: Path, target: Path) -> None:
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
    _fsync_tree(beside)
    beside.replace(target)
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
