"""Where an image path written by another program really lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from covaria.errors import MissingFile
from covaria.opening import ANYWHERE, Roots

SWAPPED_SUFFIX = {".mrc": ".mrcs", ".mrcs": ".mrc"}


def is_file(path: Path) -> bool:
    """Whether a regular file is there; a name that no filesystem could hold is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


@dataclass
class ImagePathResolver:
    """Finds the stacks that a STAR, .cs or .txt names.

    Tried in this order, each also with .mrc and .mrcs exchanged: the path as given (absolute), beneath --datadir
    (whole, then its file name alone), the metadata's folder, that folder's parents (RELION's and cryoSPARC's project
    root), the current directory. `--strip-prefix` is taken off before all but the first.
    `rules` counts which rule found how many.
    """

    metadata_folder: Path
    datadir: Path | None = None
    strip_prefix: str | None = None
    roots: Roots = ANYWHERE
    rules: Counter[str] = field(default_factory=Counter)

    def find(self, name: str) -> Path | None:
        """The existing, allowed file that `name` stands for, or None. InvalidInput for a forbidden absolute one."""
        forbidden: Path | None = None
        for rule, candidate in self._candidates(name):
            if not self.roots.allows(candidate):
                forbidden = forbidden or candidate
                continue
            if is_file(candidate):
                self.rules[rule] += 1
                return candidate
        if forbidden is not None and Path(name).is_absolute():
            raise self.roots.refusal(forbidden)
        return None

    def tried(self, name: str) -> list[Path]:
        """Every place where `name` was looked for."""
        return [candidate for _, candidate in self._candidates(name)]

    def _candidates(self, name: str) -> Iterator[tuple[str, Path]]:
        for rule, path in self._places(name):
            yield rule, path
            swapped = SWAPPED_SUFFIX.get(path.suffix)
            if swapped:
                yield f"{rule}, {path.suffix} exchanged for {swapped}", path.with_suffix(swapped)

    def _places(self, name: str) -> Iterator[tuple[str, Path]]:
        given = Path(name)
        if given.is_absolute():
            yield "as given", given
        stripped = name
        if self.strip_prefix and name.startswith(self.strip_prefix):
            stripped = name[len(self.strip_prefix) :].lstrip("/")
        relative = Path(stripped)
        note = " after --strip-prefix" if stripped != name else ""
        if self.datadir is not None:
            beneath = Path(*relative.parts[1:]) if relative.is_absolute() else relative
            yield f"beneath --datadir{note}", self.datadir / beneath
            yield "by file name in --datadir", self.datadir / relative.name
        if relative.is_absolute():
            if note:
                yield f"as given{note}", relative
            return
        folder = self.metadata_folder.absolute()
        yield f"beside the metadata{note}", folder / relative
        for parent in folder.parents:
            yield f"beneath a parent of the metadata's folder{note}", parent / relative
        yield f"beneath the current directory{note}", Path.cwd() / relative

    def report(self) -> str:
        """One line: how the stacks were found."""
        return "; ".join(f"{count} {rule}" for rule, count in self.rules.most_common())


def missing_stacks(source: Path, names: list[str], resolver: ImagePathResolver) -> MissingFile:
    """The refusal for stacks that are nowhere."""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    places = [str(path) for path in resolver.tried(names[0])]
    shown_places = ", ".join(places[:4]) + (f" and {len(places) - 4} other places" if len(places) > 4 else "")
    return MissingFile(
        f"{len(names)} image {'stack is' if len(names) == 1 else 'stacks are'} missing: {shown}",
        file=source,
        hint=f"looked for {shown_places}; give --datadir FOLDER (and --strip-prefix PREFIX)",
    )
