"""The paths of a request: one walk over its fields, and the guard of a service, which works beneath its roots only."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from covaria.errors import CovariaError
from covaria.request.model import Request
from covaria.request.options import Kind, Part, paths_and_parts


class PathRefused(CovariaError):
    """A path of a request that a service may not use."""

    exit_code = 2


class NamedPath(NamedTuple):
    """A path that a request names."""

    option: str
    """part.field, or the field of the request itself."""
    path: Path
    kind: Kind

    @property
    def part(self) -> str:
        """The part of the request that the option belongs to; "" for the request's own."""
        return self.option.rpartition(".")[0]


P = TypeVar("P", bound=Part)
INPUTS = (Kind.INPUT_FILE, Kind.INPUT_FOLDER)


def map_paths(part: P, change: Callable[[NamedPath], Path], prefix: str = "") -> P:
    """`part` with every path in it replaced by what `change` makes of it, in the order of the fields."""
    changed: dict[str, Any] = {}
    for name, kind in paths_and_parts(type(part)).items():
        value, option = getattr(part, name), f"{prefix}{name}"
        if isinstance(value, Part):
            changed[name] = map_paths(value, change, f"{option}.")
        elif kind is not None and isinstance(value, tuple):
            changed[name] = tuple(change(NamedPath(option, path, kind)) for path in value)
        elif kind is not None and isinstance(value, Path):
            changed[name] = change(NamedPath(option, value, kind))
    return part.model_copy(update=changed)


def named_paths(request: Part) -> list[NamedPath]:
    """Every path that the request names."""
    found: list[NamedPath] = []

    def note(named: NamedPath) -> Path:
        found.append(named)
        return named.path

    map_paths(request, note)
    return found


def input_files(request: Part) -> list[NamedPath]:
    """The files that the request names as its input."""
    return [named for named in named_paths(request) if named.kind is Kind.INPUT_FILE]


def absolute(request: P, kinds: Sequence[Kind] = tuple(Kind)) -> P:
    """The request with every path of these kinds made absolute against the current folder, as a service needs it."""
    return map_paths(request, lambda named: named.path.absolute() if named.kind in kinds else named.path)


def refuse_outside(request: Request, roots: Sequence[Path]) -> None:
    """Raise PathRefused unless every path is absolute and lies beneath one of `roots`, links resolved."""
    for option, path, _ in named_paths(request):
        refuse_path_outside(option, path, roots)


def refuse_path_outside(option: str, path: Path, roots: Sequence[Path]) -> None:
    """The same of one path; `out` may not be a root itself."""
    resolved = [root.resolve() for root in roots]
    text = str(path)
    if not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text):
        raise PathRefused(f"{option}: a path with control characters")
    if not path.is_absolute():
        raise PathRefused(f"{option}: {text[:200]!r} is not an absolute path")
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise PathRefused(f"{option}: {text[:200]!r} cannot be resolved: {error}") from None
    if not any(real.is_relative_to(root) for root in resolved):
        allowed = ", ".join(map(str, resolved)) or "none: COVARIA_ROOTS is empty"
        raise PathRefused(f"{option}: {text[:200]!r} lies outside the allowed roots ({allowed})")
    if option == "out" and real in resolved:
        raise PathRefused(f"{option}: {text[:200]!r} is a root itself; give a folder beneath it")
