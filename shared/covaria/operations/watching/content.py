"""What a particle set holds, told apart: its rows, their poses, their CTF. A file rewritten as it was is no news.

The digests go over the rows in the file's order, so that a version can be compared with the first rows of a later one:
a set that has grown is known from one that is another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.metadata import Metadata
from covaria.particles.paths import missing_stacks
from covaria.particles.read import read_metadata
from covaria.particles.stacks.locate import search_stacks
from covaria.request.model import IngestOptions

Stamps = tuple[tuple[str, int, int], ...]
"""Path, size, modification time (ns) of each file."""


class Version(BaseModel):
    """What a set held when it was taken: how many rows, and digests of them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rows: int
    images: str
    poses: str
    ctf: str


@dataclass(frozen=True)
class Content:
    """What a particle file says: N rows as they stand, and the stacks that it names."""

    images: NDArray[np.uint64]
    """(N, 2) hash of the stack's name, place in it."""
    poses: NDArray[np.float32]
    """(N, 11) rotation matrix and shift."""
    ctf: NDArray[np.float32]
    """(N, K)"""
    stacks: tuple[Path, ...]
    options: IngestOptions
    """As it was read."""

    def version(self, rows: int | None = None) -> Version:
        """Of the first `rows` of them."""
        rows = len(self.images) if rows is None else rows
        return Version(
            rows=rows,
            images=_digest(self.images[:rows]),
            poses=_digest(self.poses[:rows]),
            ctf=_digest(self.ctf[:rows]),
        )

    def news(self, before: Version) -> str:
        """What is new since `before`, in words; "" where nothing is."""
        if len(self.images) < before.rows:
            return f"{before.rows - len(self.images)} rows fewer"
        same, added = self.version(before.rows), len(self.images) - before.rows
        if same.images != before.images:
            return "other rows"
        words = [f"{added} new rows"] if added else []
        words += ["changed poses"] if same.poses != before.poses else []
        words += ["changed CTF"] if same.ctf != before.ctf else []
        return " and ".join(words)

    def stamps(self) -> Stamps:
        """Size and time of every stack, as the disk says now. Raises OSError."""
        return stamps_of(self.stacks)


def read_content(options: IngestOptions, roots: Roots = ANYWHERE) -> Content:
    """Read a particle file as these options say. Raises InvalidInput; MissingFile where stacks are not there yet."""
    described = read_metadata(options, roots=roots)
    metadata = described.metadata
    lacking = metadata.missing_pose() or metadata.missing_ctf()
    if lacking:
        raise InvalidInput("says nothing of its images' pose or CTF", file=options.particles, column=lacking[0],
                           hint="watch for the files that a refinement writes")  # fmt: skip
    assert metadata.rotations is not None and metadata.shifts is not None
    count = metadata.count
    if described.stacks is not None:
        stacks = tuple(header.path for header in described.stacks.headers)
        images = _named([str(path) for path in stacks], described.stacks.stack_of_row, described.stacks.image_of_row)
    else:
        search = search_stacks(metadata, described.used, options, roots)
        if search.absent:
            raise missing_stacks(metadata.source, search.absent, search.resolver)
        assert metadata.stack_of_row is not None and metadata.image_of_row is not None
        stacks = tuple(path for path in search.paths if path is not None)
        images = _named(list(metadata.stack_names), metadata.stack_of_row, metadata.image_of_row)
    poses = np.concatenate([metadata.rotations.reshape(count, 9), metadata.shifts.values.reshape(count, 2)], axis=1)
    return Content(images, poses.astype(np.float32), _ctf(metadata), stacks, options)


def stamps_of(paths: tuple[Path, ...]) -> Stamps:
    """Size and time of files, as the disk says now. Raises OSError."""
    found = []
    for path in paths:
        status = path.stat()
        found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def _named(names: list[str], stack: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.uint64]:
    """(N, 2); the last name stands for a row that names none (stack -1)."""
    codes = [int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8]) for name in names]
    return np.stack([np.array([*codes, 0], dtype=np.uint64)[stack], place.astype(np.uint64)], axis=1)


def _ctf(metadata: Metadata) -> NDArray[np.float32]:
    columns = [metadata.ctf[name] for name in sorted(metadata.ctf)]
    return np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros((metadata.count, 0), np.float32)


def _digest(values: NDArray[np.uint64] | NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:32]
