"""From stack names to opened headers: where the images are, how large, and by which rule they were found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.metadata import Metadata
from covaria.particles.paths import ImagePathResolver, PathGuard, missing_stacks
from covaria.particles.stacks.images import StackImages
from covaria.particles.stacks.mrc import StackHeader, read_header
from covaria.request.model import IngestOptions


@dataclass(frozen=True)
class LocatedStacks:
    """Opened headers and, for each row, which image of which stack."""

    headers: tuple[StackHeader, ...]
    stack_of_row: NDArray[np.int64]
    image_of_row: NDArray[np.int64]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.stack_of_row)

    @property
    def first(self) -> Path:
        return self.headers[0].path

    @property
    def box(self) -> int:
        return self.headers[0].width

    @property
    def pixel_size_angstrom(self) -> float:
        return self.headers[0].pixel_size_angstrom

    def images(self, box: int) -> StackImages:
        paths = tuple(header.path for header in self.headers)
        return StackImages(paths, self.stack_of_row, self.image_of_row, box, dict(enumerate(self.headers)))


def resolver_for(metadata_file: Path, options: IngestOptions, guard: PathGuard | None) -> ImagePathResolver:
    return ImagePathResolver(metadata_file.absolute().parent, options.datadir, options.strip_prefix, guard)


@dataclass(frozen=True)
class StackSearch:
    """Where each stack that the metadata name was found, if it was."""

    names: tuple[str, ...]
    paths: tuple[Path | None, ...]
    resolver: ImagePathResolver

    @property
    def absent(self) -> list[str]:
        return [name for name, path in zip(self.names, self.paths, strict=True) if path is None]


def search_stacks(metadata: Metadata, options: IngestOptions, guard: PathGuard | None) -> StackSearch:
    """Look for every stack that the metadata name. Raises InvalidInput for a forbidden one."""
    resolver = resolver_for(options.particles, options, guard)
    return StackSearch(metadata.stack_names, tuple(resolver.find(name) for name in metadata.stack_names), resolver)


def locate_stacks(metadata: Metadata, options: IngestOptions, guard: PathGuard | None) -> LocatedStacks:
    """Find and open every stack that the metadata name. Raises MissingFile or InvalidInput."""
    assert metadata.stack_of_row is not None
    assert metadata.image_of_row is not None
    search = search_stacks(metadata, options, guard)
    if search.absent:
        raise missing_stacks(metadata.source, search.absent, search.resolver)
    headers = tuple(read_header(path) for path in search.paths if path is not None)
    _refuse_different_boxes(headers)
    counts = np.array([header.count for header in headers])
    beyond = np.flatnonzero((metadata.image_of_row < 0) | (metadata.image_of_row >= counts[metadata.stack_of_row]))
    if len(beyond):
        row = int(beyond[0])
        header = headers[metadata.stack_of_row[row]]
        raise InvalidInput(
            f"image {metadata.image_of_row[row] + 1} of {header.path.name} is asked for, which has {header.count}",
            file=metadata.source,
            row=row + 1,
            column=metadata.column_names.get(
                "image", "_rlnImageName" if metadata.source.suffix == ".star" else "blob/idx"
            ),
            hint="give the stack that belongs to this file",
        )
    note = f"image stacks found: {search.resolver.report()}"
    return LocatedStacks(headers, metadata.stack_of_row, metadata.image_of_row, (note,))


def plain_stacks(path: Path, options: IngestOptions, guard: PathGuard | None) -> LocatedStacks:
    """The images of one stack, or of those that a .txt lists (one path a line), in order. Raises InvalidInput."""
    notes: tuple[str, ...] = ()
    paths = [path]
    if path.suffix.lower() == ".txt":
        names = [line.strip() for line in _lines(path, options.particles) if line.strip()]
        if not names:
            raise InvalidInput("lists no stacks", file=options.particles, hint="one stack path a line")
        resolver = resolver_for(options.particles, options, guard)
        found = [resolver.find(name) for name in names]
        absent = [name for name, place in zip(names, found, strict=True) if place is None]
        if absent:
            raise missing_stacks(options.particles, absent, resolver)
        paths = [place for place in found if place is not None]
        notes = (f"image stacks found: {resolver.report()}",)
    headers = tuple(read_header(place) for place in paths)
    _refuse_different_boxes(headers)
    counts = np.array([header.count for header in headers], dtype=np.int64)
    if counts.sum() == 0:
        raise InvalidInput("holds no images", file=options.particles, hint="give a stack with images")
    stack = np.repeat(np.arange(len(headers)), counts)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return LocatedStacks(headers, stack, np.arange(len(stack)) - first[stack], notes)


def _lines(path: Path, shown: Path) -> list[str]:
    if path.stat().st_size > 2**28:
        raise InvalidInput("is too large for a list of stacks", file=shown, hint="one stack path a line")
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InvalidInput("is not text", file=shown, hint="one stack path a line") from None


def _refuse_different_boxes(headers: tuple[StackHeader, ...]) -> None:
    first = headers[0]
    for header in headers:
        if header.width != header.height:
            raise InvalidInput(
                f"images of {header.width} x {header.height} are not square",
                file=header.path,
                hint="extract square images",
            )
        if header.width != first.width:
            raise InvalidInput(
                f"images of {header.width} x {header.width}, but {first.path.name} has {first.width} x {first.width}",
                file=header.path,
                hint="all particles must share one box: extract them again, or split the set",
            )
