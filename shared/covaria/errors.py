"""Every error that a user is meant to read.

A message says which file, row and column, what was found and what to do. `exit_code` is what the command line ends with
and what a worker's child process tells its parent.
"""

from __future__ import annotations

from errno import ENOSPC
from os import PathLike, fspath


class CovariaError(Exception):
    """Something a user or an operator can act on."""

    exit_code = 1
    shown = False
    """Whether a stage's log has already put it before the user's eyes."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message


class InvalidInput(CovariaError):
    """What was given cannot be right; trying again will not help.

    `row` counts from 1 as a person would; `column` is the file's own name for it.
    """

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        file: str | PathLike[str] | None = None,
        row: int | None = None,
        column: str | None = None,
        hint: str = "",
    ) -> None:
        self.file, self.row, self.column = file, row, column
        where = ", ".join(
            part
            for part in (
                str(file) if file is not None else "",
                f"row {row}" if row is not None else "",
                f"column {column}" if column else "",
            )
            if part
        )
        super().__init__(f"{where}: {message}" if where else message, hint=hint)


class MissingFile(InvalidInput):
    """A file that was named is not there (a network filesystem may show it later: a worker tries again)."""


class RefusedOutput(InvalidInput):
    """The output directory holds something that must not be overwritten."""


class NotPermitted(CovariaError):
    """The filesystem does not let this process write where it is asked to: whose the folder is, and who we are."""

    exit_code = 2


class NoRoom(CovariaError, OSError):
    """The disk has less room than what is to be written needs: path, bytes needed, bytes free."""

    def __init__(self, path: str | PathLike[str], needed_bytes: int, free_bytes: int, what: str) -> None:
        super().__init__(
            f"{fspath(path)}: {what} needs {needed_bytes / 1e9:.3g} GB, {free_bytes / 1e9:.3g} GB are free",
            hint="make room, then give the same command again: it resumes",
        )
        self.path, self.needed_bytes, self.free_bytes = path, needed_bytes, free_bytes
        self.errno = ENOSPC


class Cancelled(CovariaError):
    """The job's cancel file appeared."""

    exit_code = 3


class Interrupted(CovariaError):
    """Asked to stop (SIGTERM, Ctrl-C); what is done is kept and a second run resumes."""

    exit_code = 75
