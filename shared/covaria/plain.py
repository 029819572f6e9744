"""In plain words: what a person is told of any error, and text that only shows.

Every way out to a person goes through here: the command line, job.json, the lines of a run on the terminal.
"""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from covaria.errors import CovariaError, Interrupted, InvalidInput, MissingFile

TRACEBACK = "COVARIA_TRACEBACK"
"""Set to 1, the command line shows an unforeseen error's traceback."""

MEMORY = (
    "give a smaller --memory-gb (a budget that is kept) or --downsample, or a host with more; what is done is kept: "
    "the same command resumes"
)
NUMBERS = "look for images or values far from all others, and for a mask that misses the particle"
GPU = "give the same command again: it resumes; --device cpu does without the GPU"
NO_ROOM = "make room, then give the same command again: it resumes"
OF_FILES: dict[int, tuple[str, str]] = {
    errno.EACCES: ("may not be read or written by this user", "change its permissions, or give another path"),
    errno.EPERM: ("may not be changed by this user", "give another path"),
    errno.EROFS: ("lies on a filesystem that is read-only here", "give another path"),
    errno.ENOTDIR: ("lies beneath a file, where a folder is needed", "give a path beneath a folder"),
    errno.EISDIR: ("is a folder, where a file is needed", "give the file itself"),
    errno.EEXIST: ("is there already, or is a file where a folder is needed", "give another path"),
    errno.ENOTEMPTY: ("is a folder that holds something", "give another path"),
    errno.ENAMETOOLONG: ("is too long a name for this filesystem", "give a shorter one"),
    errno.ELOOP: ("is a link that leads back to itself", "give the file itself"),
}
"""What the user's own path is, and the remedy."""
OF_THE_SYSTEM: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", NO_ROOM),
    errno.EDQUOT: ("the disk quota is used up", NO_ROOM),
    errno.EIO: ("the disk gave an input/output error", "look at the filesystem, then give the same command again"),
    errno.ESTALE: ("the network filesystem lost the file", "give the same command again"),
    errno.EMFILE: ("too many files are open", "raise the limit (ulimit -n)"),
}


def explain(error: BaseException) -> CovariaError:
    """What a person is told of `error`: where it is, what was found, what to do. A CovariaError says so itself."""
    if isinstance(error, CovariaError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("stopped at once", hint="the same command resumes from the last finished step")
    if isinstance(error, OSError):
        return _of_a_file(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return CovariaError("memory ran out", hint=MEMORY)
    if isinstance(error, UnicodeError):
        return InvalidInput("a text file or name is not UTF-8", hint="save it as UTF-8")
    problems: Callable[..., list[Any]] | None = getattr(error, "errors", None)
    if type(error).__name__ == "ValidationError" and problems is not None:
        first = problems(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        return InvalidInput(f"{where}: {first['msg']}; found {str(first.get('input'))[:100]!r}", hint="correct it")
    if type(error).__name__ == "LinAlgError":
        return CovariaError("the numbers of this set have no solution: a decomposition did not converge", hint=NUMBERS)
    if "cuda" in str(error).lower():
        return CovariaError(f"the GPU gave an error: {str(error).strip().splitlines()[0][:200]}", hint=GPU)
    return CovariaError(
        "something happened that Covaria did not foresee: a defect in it",
        hint=f"{TRACEBACK}=1 shows where; please report that, with run.log where there is one",
    )


def _of_a_file(error: OSError) -> CovariaError:
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else None
    number = error.errno or 0
    if number in OF_THE_SYSTEM:
        found, hint = OF_THE_SYSTEM[number]
        if number in (errno.ENOSPC, errno.EDQUOT) and path:
            found += _free(path)
        return CovariaError(f"{path}: {found}" if path else found, hint=hint)
    if path is None:
        return CovariaError(error.strerror or "the system refused", hint="give the same command again")
    if number == errno.ENOENT:
        return MissingFile("is not there", file=path, hint="check the path and its spelling")
    found, hint = OF_FILES.get(number, (error.strerror or "cannot be used", "give another path"))
    return InvalidInput(found, file=path, hint=hint)


def _free(path: str) -> str:
    """How much is left where `path` was to be written; nothing where that cannot be told."""
    try:
        place = next(folder for folder in Path(path).absolute().parents if folder.is_dir())
        return f" ({shutil.disk_usage(place).free / 1e9:.3g} GB free)"
    except (OSError, StopIteration):
        return ""


def printable(text: str) -> str:
    r"""`text` with everything but line breaks and tabs that does not show written as \x1b, \u202e, ...

    Names and notes come from others: what a terminal would obey, or what turns a line around, must only be seen.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character)[0] != "C"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def one_line(text: str) -> str:
    r"""`printable` without line breaks and tabs: a name in a list cannot begin a line of its own."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")
