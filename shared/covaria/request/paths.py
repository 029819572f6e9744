"""A service works beneath its allowed roots only: every path of a request, links resolved, must lie there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from covaria.errors import CovariaError
from covaria.request.model import Request


class PathRefused(CovariaError):
    """A path of a request that a service may not use."""

    exit_code = 2


MASK_WORDS = ("from_halfmaps", "sphere", "none")


def named_paths(request: Request) -> Iterator[tuple[str, Path]]:
    """(option, path) of every path that the request names."""
    ingest, analysis = request.ingest, request.analysis
    yield "out", request.out
    for name in ("particles", "poses", "ctf", "ind", "halfsets", "datadir"):
        path = getattr(ingest, name)
        if path is not None:
            yield f"ingest.{name}", path
    for path in ingest.passthrough:
        yield "ingest.passthrough", path
    if request.reconstruction.mask not in MASK_WORDS:
        yield "reconstruction.mask", Path(request.reconstruction.mask)
    if request.reconstruction.focus_mask is not None:
        yield "reconstruction.focus_mask", request.reconstruction.focus_mask
    for name in ("density", "output"):
        path = getattr(analysis, name)
        if path is not None:
            yield f"analysis.{name}", path


def refuse_outside(request: Request, roots: Sequence[Path]) -> None:
    """Raise PathRefused unless every path is absolute and lies beneath one of `roots`."""
    resolved = [root.resolve() for root in roots]
    for option, path in named_paths(request):
        text = str(path)
        if any(ord(character) < 32 or ord(character) == 127 for character in text):
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


def absolute(request: Request) -> Request:
    """The request with every path made absolute against the current folder, as a service needs it."""
    values = request.model_dump()
    values["out"] = request.out.absolute()
    ingest, reconstruction, analysis = values["ingest"], values["reconstruction"], values["analysis"]
    for part, names in (
        (ingest, ("particles", "poses", "ctf", "ind", "halfsets", "datadir")),
        (reconstruction, ("focus_mask",)),
        (analysis, ("density", "output")),
    ):
        for name in names:
            if part[name] is not None:
                part[name] = part[name].absolute()
    ingest["passthrough"] = tuple(path.absolute() for path in ingest["passthrough"])
    if reconstruction["mask"] not in MASK_WORDS:
        reconstruction["mask"] = str(Path(reconstruction["mask"]).absolute())
    return Request.model_validate(values)
