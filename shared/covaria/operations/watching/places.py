"""Where sets may lie: a pattern with names in it, and the search beneath a folder for what fits it.

`{visit}/**/Refine3D/*/*.star` fits each such file and says which visit it is. `*`, `?` and `[ ]` fit within one name,
`**/` any number of folders, `{word}` one whole name. Raw data are not walked through: beneath an EPU session's disks
lie a million movies, and no particle set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from covaria.errors import InvalidInput

RAW = re.compile(r"Images-Disc\d*|GridSquare_\d+|Movies?|frames|raw", re.IGNORECASE)
"""Folders of movies: EPU's disks and grid squares, SerialEM's and RELION's usual names."""
SESSION_SIGNS = (re.compile(r"EpuSession\.dm"), re.compile(r"Images-Disc\d*"), re.compile(r".*\.(nav|mdoc)"))
"""What lies in the folder of a session: EPU's record or disk, SerialEM's navigator or per-movie records."""
_WORD = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_PARTS = re.compile(r"\*\*/|\*\*|\*|\?|\[[^]/]+\]|\{[a-z][a-z0-9_]*\}|[^*?\[{]+|.")


@dataclass(frozen=True)
class Pattern:
    """Which files, relative to a folder."""

    text: str

    def __post_init__(self) -> None:
        if not self.text or self.text.startswith("/") or ".." in self.text.split("/"):
            raise InvalidInput(f"pattern {self.text!r} leads out of the folder", hint="for example **/*.star")
        words = self.words
        if len(set(words)) != len(words):
            raise InvalidInput(f"pattern {self.text!r} has a word twice", hint="name each {word} once")

    @property
    def words(self) -> list[str]:
        """The names in braces."""
        return _WORD.findall(self.text)

    @property
    def expression(self) -> re.Pattern[str]:
        """The same for whole relative paths."""
        return re.compile("".join(map(_as_expression, _PARTS.findall(self.text))), re.DOTALL)

    @property
    def depth(self) -> int | None:
        """How many folders down its files lie; None: any number."""
        return None if "**" in self.text else self.text.count("/")


def _as_expression(part: str) -> str:
    if part == "**/":
        return "(?:.*/)?"
    if part == "**":
        return ".*"
    if part in ("*", "?"):
        return "[^/]*" if part == "*" else "[^/]"
    if part.startswith("[") and part.endswith("]"):
        return ("[^" + part[2:] if part.startswith("[!") else part).replace("\\", "\\\\")
    if word := _WORD.fullmatch(part):
        return f"(?P<{word.group(1)}>[^/]+)"
    return re.escape(part)


@dataclass(frozen=True)
class Found:
    """A file that fits, and what its path says."""

    path: Path
    relative: str
    words: dict[str, str]


def find(folder: Path, pattern: Pattern, skip: tuple[Path, ...] = ()) -> Iterator[Found]:
    """Every file beneath `folder` that fits, in the order of names; raw data, results of ours and `skip` left out."""
    expression, depth = pattern.expression, pattern.depth
    for relative in _walk(folder, "", depth, frozenset(map(str, skip)), follow=depth is not None):
        match = expression.fullmatch(relative)
        if match is not None:
            yield Found(folder / relative, relative, match.groupdict())


def _walk(folder: Path, relative: str, depth: int | None, skip: frozenset[str], *, follow: bool) -> Iterator[str]:
    """Paths of files, relative. A folder with .covaria in it is a job's: its sets must not become jobs, for ever."""
    try:
        with os.scandir(folder / relative) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return  # it comes and goes, or is not ours to read: the next look sees what is left
    if any(entry.name == ".covaria" for entry in found):
        return
    for entry in found:
        name = f"{relative}{entry.name}"
        if _is_folder(entry, follow=follow):
            hidden = entry.name.startswith(".") or RAW.fullmatch(entry.name) is not None
            if not hidden and entry.path not in skip and (depth is None or depth > name.count("/")):
                yield from _walk(folder, f"{name}/", depth, skip, follow=follow)
        else:
            yield name


def _is_folder(entry: os.DirEntry[str], *, follow: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:
        return False


def session_of(path: Path, folder: Path) -> str:
    """The name of the microscope's session that a set belongs to: of the nearest folder above that looks like one."""
    for above in path.parents:
        if not above.is_relative_to(folder):
            break
        try:
            names = [other.name for other in above.iterdir()]
        except OSError:
            continue
        if any(sign.fullmatch(name) for sign in SESSION_SIGNS for name in names):
            return above.name
    return ""
