"""Files named by others are opened once, at one place: regular, bounded, beneath an allowed folder.

A name that was looked at and opened later can mean another file by then. Here the name is resolved first and the file
is then reached from a handle of the allowed folder, part by part, no link followed: what is opened lies beneath it,
whatever happened in between. Hard links are not told apart.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from covaria.errors import InvalidInput, MissingFile

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class OutsideRoots(InvalidInput):
    """A file that lies outside the folders that may be read."""


@dataclass(frozen=True)
class Roots:
    """The folders beneath which files may be opened. None: wherever the user's own permissions reach.

    A service has them from its settings; on the command line the user's permissions decide.
    """

    folders: tuple[Path, ...] = ()

    @classmethod
    def of(cls, folders: Iterable[Path]) -> Roots:
        """The real folders behind the given names."""
        return cls(tuple(Path(folder).resolve() for folder in folders))

    def allows(self, path: Path) -> bool:
        """Whether `path`, links followed, lies beneath one of the folders. Does not say whether it exists."""
        if not self.folders:
            return True
        try:
            return self._folder_of(path.resolve()) is not None
        except (OSError, RuntimeError, ValueError):
            return False

    def refusal(self, path: Path) -> OutsideRoots:
        """What to say of a path that is not allowed."""
        return OutsideRoots(
            "lies outside the folders that this service may read",
            file=path,
            hint=f"move it beneath {' or '.join(map(str, self.folders))}, or ask the operator to add its folder",
        )

    def open(self, path: Path, *, most_bytes: int | None = None, shown: Path | None = None, hint: str = "") -> BinaryIO:
        """`path`, a regular file of at most `most_bytes`, for reading.

        Raises MissingFile; OutsideRoots; InvalidInput where it is no regular file, or too large; OSError.
        `shown` is the name for messages.
        """
        shown = shown or path
        try:
            handle = self._handle(path, shown)
        except (RuntimeError, ValueError) as error:  # a loop of links; a NUL byte
            raise InvalidInput(f"cannot be opened: {error}", file=shown, hint=hint or "check the path") from None
        except OSError as error:
            if error.errno in _ABSENT:
                raise MissingFile("is not there", file=shown, hint=hint or "check the path and its spelling") from None
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise InvalidInput("is a link or no regular file", file=shown, hint="give the file itself") from None
            raise
        return _regular(handle, shown, most_bytes, hint)

    def take_away(self, folder: Path, name: str, aside: str) -> None:
        """Delete `name` beneath `folder` with all it holds, renamed to `aside` beneath it first: what another puts at
        its place meanwhile stays. `folder` is given as it really lies, and no part of the three may be a link.

        Raises OutsideRoots, also where no folders are allowed; MissingFile; InvalidInput for a link; OSError.
        """
        root = self._folder_of(folder)
        if root is None:
            raise self.refusal(folder)
        try:
            around = _descend(root, folder.relative_to(root).parts)
            try:
                _take_away(around, Path(name), Path(aside))
            finally:
                os.close(around)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise MissingFile("is not there", file=folder / name) from None
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise InvalidInput(
                    "is a link, or lies behind one", file=folder / name, hint="remove the link"
                ) from None
            raise

    def _handle(self, path: Path, shown: Path) -> int:
        if not self.folders:
            return os.open(path, _READ)
        real = path.resolve()
        folder = self._folder_of(real)
        if folder is None:
            raise self.refusal(shown)
        return _walk(folder, real.relative_to(folder))

    def _folder_of(self, real: Path) -> Path | None:
        return next((folder for folder in self.folders if real.is_relative_to(folder)), None)


ANYWHERE = Roots()


def open_inside(folder: Path, name: str, *, most_bytes: int | None = None) -> BinaryIO:
    """The regular file `name` (its parts divided by /) beneath `folder`; no part of it may be a link.

    Raises MissingFile, InvalidInput, OSError.
    """
    path = folder / name
    try:
        handle = _walk(folder, Path(name))
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise MissingFile("is not there", file=path) from None
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise InvalidInput("is a link or no regular file", file=path, hint="remove what stands there") from None
        raise
    return _regular(handle, path, most_bytes, "remove what stands there")


def is_own_folder(path: Path) -> bool:
    """Whether `path` is a folder itself (no link to one) of somebody who may write there."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and may_write_there(status, path.parent)


def may_write_there(status: os.stat_result, folder: Path) -> bool:
    """Whether the owner of a file is this user, root, or somebody whom `folder` lets write; root believes everybody.

    A service and the people whom it serves have accounts of their own and share a folder by its group, to which a file
    need not belong.
    """
    user, around = os.geteuid(), folder.stat()
    if user == 0 or status.st_uid in (user, 0, around.st_uid):
        return True
    return bool(around.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _walk(folder: Path, relative: Path) -> int:
    """A handle of folder/relative, reached part by part from a handle of `folder`; a link on the way is an error."""
    *folders, name = relative.parts
    if ".." in relative.parts or relative.is_absolute():
        raise ValueError(f"{relative} leads out of {folder}")
    handle = _descend(folder, folders)
    try:
        return os.open(name, _READ | os.O_NOFOLLOW, dir_fd=handle)
    finally:
        os.close(handle)


def _descend(folder: Path | int, parts: Iterable[str]) -> int:
    """A handle of the folder at `parts` below `folder`, or its handle; a link on the way is an error."""
    handle = os.dup(folder) if isinstance(folder, int) else os.open(folder, _FOLDER)
    for part in parts:
        try:
            below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
        finally:
            os.close(handle)
        handle = below
    return handle


def _take_away(around: int, path: Path, aside: Path) -> None:
    for relative in (path, aside):
        if ".." in relative.parts or relative.is_absolute():
            raise ValueError(f"{relative} leads out of its folder")
    source = _descend(around, path.parts[:-1])
    try:
        target = _descend(around, aside.parts[:-1])
        try:
            if stat.S_ISLNK(os.stat(path.name, dir_fd=source, follow_symlinks=False).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            os.rename(path.name, aside.name, src_dir_fd=source, dst_dir_fd=target)
            if stat.S_ISDIR(os.stat(aside.name, dir_fd=target, follow_symlinks=False).st_mode):
                shutil.rmtree(aside.name, dir_fd=target)
            else:
                os.unlink(aside.name, dir_fd=target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _regular(handle: int, shown: Path, most_bytes: int | None, hint: str) -> BinaryIO:
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput("is not a regular file", file=shown, hint="give the file itself")
        if most_bytes is not None and status.st_size > most_bytes:
            raise InvalidInput(
                f"{status.st_size} bytes is more than such a file can need ({most_bytes})",
                file=shown,
                hint=hint or "check what it holds",
            )
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
