"""Which files may be read, and where an image path written by another program really lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from covaria.errors import InvalidInput, MissingFile
from covaria.opening import ANYWHERE, Roots

SWAPPED_SUFFIX = {".mrc": ".mrcs", ".mrcs": ".mrc"}


class PathGuard:
    """Allows only paths that lie, with every symbolic link followed, beneath one of `roots`.

    A service gets the roots from its settings; the command line has no guard and relies on the user's permissions.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        self.roots = tuple(Path(root).resolve() for root in roots)
        if not self.roots:
            raise ValueError("a path guard without roots would refuse everything")

    def allows(self, path: Path) -> bool:
        """Whether `path`, links followed, lies beneath a root. Does not say whether it exists."""
        real = path.resolve()
        return any(real.is_relative_to(root) for root in self.roots)

    def check(self, path: Path) -> Path:
        """The real path. Raises InvalidInput when it lies outside the roots."""
        if not self.allows(path):
            raise InvalidInput(
                "lies outside the folders that this service may read",
                file=path,
                hint=f"move it beneath {' or '.join(map(str, self.roots))}, or ask the operator to add its folder",
            )
        return path.resolve()


def roots_of(guard: PathGuard | None) -> Roots:
    """What a guard allows, to open files by."""
    return ANYWHERE if guard is None else Roots(guard.roots)


def is_file(path: Path) -> bool:
    """Whether a regular file is there; a name that no filesystem could hold is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def checked_file(path: Path, guard: PathGuard | None, *, what: str) -> Path:
    """`path` as an existing, allowed regular file. Raises InvalidInput or MissingFile."""
    if "\0" in str(path):
        raise InvalidInput(f"{what}: a path cannot hold a NUL byte", hint="correct the path")
    real = guard.check(path) if guard else path
    try:
        there = real.exists()
    except OSError as error:
        raise InvalidInput(f"{what} cannot be looked at ({error.strerror})", file=path, hint="check the path") from None
    if not there:
        raise MissingFile(f"{what} is not there", file=path, hint="check the path and its spelling")
    if not is_file(real):
        raise InvalidInput(f"{what} is not a regular file", file=path, hint="give the file itself")
    return real


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
    guard: PathGuard | None = None
    rules: Counter[str] = field(default_factory=Counter)

    def find(self, name: str) -> Path | None:
        """The existing, allowed file that `name` stands for, or None. InvalidInput for a forbidden absolute one."""
        forbidden: Path | None = None
        for rule, candidate in self._candidates(name):
            if self.guard and not self.guard.allows(candidate):
                forbidden = forbidden or candidate
                continue
            if is_file(candidate):
                self.rules[rule] += 1
                return candidate.resolve() if self.guard else candidate
        if forbidden is not None and self.guard and Path(name).is_absolute():
            self.guard.check(forbidden)
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
