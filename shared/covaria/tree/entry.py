"""One line of the table of files: where it lies, who writes it, what it means. A line is also the accessor of its path.

class Tree(Part):
    mean = Entry("output/volumes/mean.mrc", "reconstruction", "maps", "the mean map")
    eigenvolume = Numbered("output/volumes/eigen_pos{:04d}.mrc", "reconstruction", "eigenvolumes", "...")

Tree(out).mean             OUT/output/volumes/mean.mrc
Tree(out).eigenvolume(3)   OUT/output/volumes/eigen_pos0003.mrc
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import ClassVar, Self, overload

from covaria.request.options import LABEL
from covaria.request.stages import STAGES

WORDS = {
    "name": r"(?:center|state)\d{3,}",
    "group": r"(?:particles|(?:center|state)\d{3,})",
    "stage": f"(?:{'|'.join(STAGES)})",
    "form": "(?:png|svg|csv)",
    "label": f"(?:_{LABEL})?",
}
DRAWN = {"form": "png", "label": ""}
"""Of a figure's three files, the one that its accessor names; of an analysis, the one that was given no name."""


class Part:
    """A folder whose files the table names. `words` fill the named fields of its patterns."""

    words: ClassVar[Mapping[str, str]] = {}

    @property
    def root(self) -> Path:
        """The folder itself."""
        raise NotImplementedError

    def named(self) -> Mapping[str, str]:
        """What the named fields of the patterns stand for here."""
        return self.words


@dataclass(frozen=True)
class Entry:
    """A file of the tree.

    pattern  path beneath the part's folder; {:04d} and {} are whole numbers, {name} a volume's name, {stage} a stage's,
             {form} the ending of a figure: .png, .svg, and its numbers as .csv
    stage    who writes it; "" for what every stage renews
    kind     under which of covaria.tree.inventory's kinds job.json lists it; "" where it does not
    meaning  for docs/outputs.md
    """

    pattern: str
    stage: str
    kind: str
    meaning: str

    @overload
    def __get__(self, part: None, owner: type) -> Self: ...

    @overload
    def __get__(self, part: Part, owner: type) -> Path: ...

    def __get__(self, part: Part | None, owner: type) -> Self | Path:
        return self if part is None else part.root / self.pattern.format(**DRAWN, **part.named())

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """Matches the paths that the pattern stands for."""
        text = ""
        for literal, field, width, _ in Formatter().parse(self.pattern):
            text += re.escape(literal)
            if field is not None:
                number = r"\d+" if not width else rf"\d{{{int(width[:-1])},}}"
                text += WORDS.get(field, number)
        return re.compile(text)

    @property
    def example(self) -> str:
        """The first path of the pattern, as the documentation shows it."""
        text = ""
        for literal, field, width, _ in Formatter().parse(self.pattern):
            text += literal
            if field is not None:
                number = f"{{:{width}}}".format(0) if width else "<n>"
                text += DRAWN.get(field, f"<{field}>" if field in WORDS else number)
        return text


class Numbered(Entry):
    """Files told apart by numbers: the accessor takes them, in the pattern's order."""

    @overload  # type: ignore[override]
    def __get__(self, part: None, owner: type) -> Self: ...

    @overload
    def __get__(self, part: Part, owner: type) -> Callable[..., Path]: ...

    def __get__(self, part: Part | None, owner: type) -> Self | Callable[..., Path]:
        if part is None:
            return self
        return lambda *numbers: part.root / self.pattern.format(*numbers, **DRAWN, **part.named())


class OfStage(Entry):
    """Files of Covaria's own state, one for each stage: the accessor takes the stage's name."""

    @overload  # type: ignore[override]
    def __get__(self, part: None, owner: type) -> Self: ...

    @overload
    def __get__(self, part: Part, owner: type) -> Callable[[str], Path]: ...

    def __get__(self, part: Part | None, owner: type) -> Self | Callable[[str], Path]:
        return self if part is None else lambda stage: part.root / self.pattern.format(stage=stage)


@dataclass(frozen=True)
class Mount:
    """Another part's files in a folder of this one."""

    folder: str
    part: type[Part]
    stage: str = ""
    """Who writes what the part leaves open."""


_tables: dict[type[Part], tuple[Entry, ...]] = {}


def rows(part: type[Part]) -> tuple[Entry, ...]:
    """Every line of a part's table, those of its mounted parts included, in the order in which they are declared."""
    if part not in _tables:
        _tables[part] = tuple(_rows(part))
    return _tables[part]


def find(part: type[Part], relative: str) -> Entry | None:
    """The line that names the file at `relative` (divided by /), or None."""
    return next((row for row in rows(part) if row.expression.fullmatch(relative)), None)


def owned(part: type[Part], root: Path) -> Iterator[Path]:
    """The entries of the folder `root` that the table of `part` names and that exist, sorted."""
    firsts = {Entry(row.pattern.split("/")[0], "", "", "").expression for row in rows(part)}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if any(first.fullmatch(path.name) for first in firsts):
            yield path


def _rows(part: type[Part]) -> Iterator[Entry]:
    for owner in reversed(part.__mro__):
        for value in vars(owner).values():
            if isinstance(value, Entry):
                yield value
            elif isinstance(value, Mount):
                prefix = f"{value.folder}/" if value.folder else ""
                for row in rows(value.part):
                    yield replace(row, pattern=prefix + row.pattern, stage=row.stage or value.stage)
