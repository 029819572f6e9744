"""From stack names to opened headers: where the images are, how large, and by which rule they were found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.maps.eight_bit import wraps
from covaria.opening import ANYWHERE, Roots
from covaria.particles.metadata import Metadata
from covaria.particles.paths import ImagePathResolver, missing_stacks
from covaria.particles.stacks.images import StackImages
from covaria.particles.stacks.mrc import StackHeader, first_bytes, read_header
from covaria.particles.stacks.resampling import Resampling
from covaria.request.model import IngestOptions

LOOKED_AT = 8
"""Stacks, and images of each, from which the kind of bytes is told."""

MOST_LIST_BYTES = 2**28


@dataclass(frozen=True)
class LocatedStacks:
    """Opened headers and, for each row, which image of which stack (-1: none, for a row that is not in use)."""

    headers: tuple[StackHeader, ...]
    stack_of_row: NDArray[np.int64]
    image_of_row: NDArray[np.int64]
    notes: tuple[str, ...]
    unsigned_bytes: bool = False
    lead: int = 0
    """A stack that is in use: the box is its, but where images are brought onto a common grid."""
    resampling: Resampling | None = None

    def __len__(self) -> int:
        return len(self.stack_of_row)

    def with_bytes_understood(self) -> LocatedStacks:
        """8-bit stacks without IMOD's stamp: unsigned where their values wrap; a note says which was taken."""
        unstamped = [header for header in self.headers if header.unstamped_bytes]
        if not unstamped:
            return self
        some = unstamped[:: max(1, len(unstamped) // LOOKED_AT)]
        unsigned = wraps(np.concatenate([first_bytes(header, LOOKED_AT) for header in some]))
        note = f"{len(unstamped)} stacks hold bytes, and no IMOD stamp says of which kind: taken as " + (
            "unsigned, because their values wrap at 128" if unsigned else "signed, as MRC2014 says"
        )
        headers = tuple(header.as_unsigned() for header in self.headers) if unsigned else self.headers
        return replace(self, headers=headers, unsigned_bytes=unsigned, notes=(*self.notes, note))

    def checked(self, used: NDArray[np.bool_]) -> LocatedStacks:
        """The same where the stacks of the rows in use share one box; rows of others have no image."""
        needed = np.unique(self.stack_of_row[used])
        _refuse_different_boxes(tuple(self.headers[number] for number in needed.tolist()))
        lead = int(needed[0])
        side = self.headers[lead].width
        alike = np.array([(header.width, header.height) == (side, side) for header in self.headers])
        return replace(self, lead=lead, stack_of_row=np.where(alike[self.stack_of_row], self.stack_of_row, -1))

    @property
    def first(self) -> Path:
        return self.headers[self.lead].path

    @property
    def box(self) -> int:
        return self.headers[self.lead].width if self.resampling is None else self.resampling.box

    @property
    def pixel_size_angstrom(self) -> float:
        """What the headers say; 0 where they do not, or where images are brought onto a common grid."""
        return self.headers[self.lead].pixel_size_angstrom if self.resampling is None else 0.0

    def images(self, box: int, gain: NDArray[np.float32] | None = None) -> StackImages:
        paths = tuple(header.path for header in self.headers)
        headers = dict(enumerate(self.headers))
        unsigned = self.unsigned_bytes
        return StackImages(
            paths, self.stack_of_row, self.image_of_row, box, headers, gain, unsigned, resampling=self.resampling
        )


def resolver_for(metadata_file: Path, options: IngestOptions, roots: Roots) -> ImagePathResolver:
    return ImagePathResolver(metadata_file.absolute().parent, options.datadir, options.strip_prefix, roots)


@dataclass(frozen=True)
class StackSearch:
    """Where each stack that rows in use name was found, if it was; other stacks were not looked for."""

    names: tuple[str, ...]
    paths: tuple[Path | None, ...]
    wanted: NDArray[np.bool_]
    resolver: ImagePathResolver

    @property
    def absent(self) -> list[str]:
        found = zip(self.names, self.paths, self.wanted, strict=True)
        return [name for name, path, wanted in found if wanted and path is None]


def search_stacks(metadata: Metadata, used: NDArray[np.bool_], options: IngestOptions, roots: Roots) -> StackSearch:
    """Look for every stack that the rows in use name, and for the others. Raises InvalidInput for a forbidden one."""
    assert metadata.stack_of_row is not None
    resolver = resolver_for(options.particles, options, roots)
    wanted = np.zeros(len(metadata.stack_names), dtype=bool)
    wanted[metadata.stack_of_row[used & (metadata.stack_of_row >= 0)]] = True
    paths = tuple(
        resolver.find(name) if needed else _found_quietly(resolver, name)
        for name, needed in zip(metadata.stack_names, wanted, strict=True)
    )
    return StackSearch(metadata.stack_names, paths, wanted, resolver)


def _found_quietly(resolver: ImagePathResolver, name: str) -> Path | None:
    try:
        return resolver.find(name)
    except InvalidInput:  # only rows that are not used name it
        return None


def locate_stacks(
    metadata: Metadata, used: NDArray[np.bool_], options: IngestOptions, roots: Roots = ANYWHERE
) -> LocatedStacks:
    """Find and open every stack that rows in use name. Raises MissingFile or InvalidInput.

    A row that is not in use has no image (stack -1) where its own is missing, unreadable or of another box.
    """
    assert metadata.stack_of_row is not None and metadata.image_of_row is not None
    search = search_stacks(metadata, used, options, roots)
    if search.absent:
        raise missing_stacks(metadata.source, search.absent, search.resolver)
    headers: list[StackHeader] = []
    place = np.full(len(search.names) + 1, -1)  # the last is that of rows without a name
    for number in np.argsort(~search.wanted, kind="stable").tolist():
        path = search.paths[number]
        like = headers[:1] if metadata.resampling is None else []
        header = None if path is None else _header(path, like, roots, wanted=bool(search.wanted[number]))
        if header is not None:
            place[number] = len(headers)
            headers.append(header)
    if not headers:
        raise InvalidInput("names no image stack", file=metadata.source, hint="give a particle file")
    stack = place[metadata.stack_of_row]
    counts = np.array([*(header.count for header in headers), 0])
    outside = (metadata.image_of_row < 0) | (metadata.image_of_row >= counts[stack])
    _refuse_beyond(metadata, headers, stack, outside & (stack >= 0) & used)
    if metadata.unnumbered is not None:
        _refuse_unnumbered(metadata, headers, np.unique(stack[used & (stack >= 0) & metadata.unnumbered]))
    stack[outside] = -1
    if metadata.resampling is not None:
        stack = _with_expected_boxes(metadata, metadata.resampling, headers, stack, used)
    note = f"image stacks found: {search.resolver.report()}"
    located = LocatedStacks(tuple(headers), stack, metadata.image_of_row, (note,), resampling=metadata.resampling)
    return located.with_bytes_understood()


def _with_expected_boxes(
    metadata: Metadata,
    resampling: Resampling,
    headers: list[StackHeader],
    stack: NDArray[np.int64],
    used: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """`stack` (N,) without the rows whose images have another box than the file says; such a row in use is refused."""
    widths = np.array([*(header.width for header in headers), 0])[stack]
    other = (stack >= 0) & ((widths != resampling.recorded[resampling.kind]) | (resampling.kind < 0))
    if np.any(other & used):
        row = int(np.flatnonzero(other & used)[0])
        said = int(resampling.recorded[resampling.kind[row]])
        raise InvalidInput(
            f"says {said} x {said} pixels, but the images in {headers[stack[row]].path.name} are "
            f"{widths[row]} x {widths[row]}",
            file=metadata.source,
            row=row + 1,
            column=metadata.named("box"),
            hint="give the stack that belongs to this file, or correct the image size",
        )
    return np.where(other, -1, stack)


def _header(path: Path, others: list[StackHeader], roots: Roots, *, wanted: bool) -> StackHeader | None:
    """The stack's header; None for one that no row in use needs and that is not like the others."""
    try:
        header = read_header(path, roots)
        _refuse_different_boxes((*others, header))
    except (InvalidInput, OSError):
        if wanted:
            raise
        return None
    return header


def _refuse_beyond(
    metadata: Metadata, headers: list[StackHeader], stack: NDArray[np.int64], beyond: NDArray[np.bool_]
) -> None:
    if not beyond.any():
        return
    assert metadata.image_of_row is not None
    row = int(np.flatnonzero(beyond)[0])
    header = headers[stack[row]]
    raise InvalidInput(
        f"image {metadata.image_of_row[row] + 1} of {header.path.name} is asked for, which has {header.count}",
        file=metadata.source,
        row=row + 1,
        column=metadata.named("image"),
        hint="give the stack that belongs to this file",
    )


def _refuse_unnumbered(metadata: Metadata, headers: list[StackHeader], stacks: NDArray[np.int64]) -> None:
    for number in stacks.tolist():
        if headers[number].count > 1:
            raise InvalidInput(
                f"{headers[number].path.name} is named without an image number (NUMBER@STACK), but holds "
                f"{headers[number].count} images",
                file=metadata.source,
                column=metadata.named("image"),
                hint="number the images; where they are stacks of tilts, give --tomograms",
            )


def plain_stacks(options: IngestOptions, roots: Roots = ANYWHERE) -> LocatedStacks:
    """The images of one stack, or of those that a .txt lists (one path a line), in order; boxes are not compared yet.

    Raises InvalidInput.
    """
    notes: tuple[str, ...] = ()
    path = options.particles
    paths = [path]
    if path.suffix.lower() == ".txt":
        names = [line.strip() for line in _lines(path, roots) if line.strip()]
        if not names:
            raise InvalidInput("lists no stacks", file=options.particles, hint="one stack path a line")
        resolver = resolver_for(options.particles, options, roots)
        found = [resolver.find(name) for name in names]
        absent = [name for name, place in zip(names, found, strict=True) if place is None]
        if absent:
            raise missing_stacks(options.particles, absent, resolver)
        paths = [place for place in found if place is not None]
        notes = (f"image stacks found: {resolver.report()}",)
    headers = tuple(read_header(place, roots) for place in paths)
    counts = np.array([header.count for header in headers], dtype=np.int64)
    if counts.sum() == 0:
        raise InvalidInput("holds no images", file=options.particles, hint="give a stack with images")
    stack = np.repeat(np.arange(len(headers)), counts)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return LocatedStacks(headers, stack, np.arange(len(stack)) - first[stack], notes).with_bytes_understood()


def _lines(path: Path, roots: Roots) -> list[str]:
    with roots.open(path, most_bytes=MOST_LIST_BYTES) as file:
        try:
            return file.read().decode("utf-8").splitlines()
        except UnicodeDecodeError:
            raise InvalidInput("is not text", file=path, hint="one stack path a line") from None


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
