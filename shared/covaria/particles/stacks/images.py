"""The images of a data set, wherever their stacks lie: read by contiguous runs through memory maps."""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.model import ImageStack
from covaria.particles.stacks.mrc import StackHeader, map_images, read_header
from covaria.particles.stacks.resampling import Resampling

OPEN_MAPS = 32
"""Each open map holds a file descriptor; data sets have tens of thousands of stacks."""


@dataclass
class StackImages:
    """Images of `box` x `box` in one or many MRC files: row i is image `index[i]` (from 0) of `paths[file[i]]`.

    With a `resampling` the files' images have other boxes and `read` brings them onto this one.
    A row whose file is -1 has no image and cannot be read. Grey levels are those of the file times `gain` (N,), if any.
    Headers are read when a stack is first opened, unless they are given. Not safe to share between threads.
    """

    paths: tuple[Path, ...]
    file: NDArray[np.int64]
    index: NDArray[np.int64]
    box: int
    headers: dict[int, StackHeader] = field(default_factory=dict, repr=False)
    gain: NDArray[np.float32] | None = None
    unsigned_bytes: bool = False
    """Bytes of which no stamp says whether they are signed are unsigned."""
    roots: Roots = ANYWHERE
    """Beneath which folders stacks are opened."""
    resampling: Resampling | None = None
    _maps: OrderedDict[int, NDArray[Any]] = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        return len(self.file)

    def take(self, rows: NDArray[np.int64]) -> StackImages:
        """The same stacks seen through other rows (repeats are fine)."""
        return replace(
            self,
            file=self.file[rows],
            index=self.index[rows],
            gain=None if self.gain is None else self.gain[rows],
            resampling=None if self.resampling is None else self.resampling.take(rows),
            _maps=OrderedDict(),
        )

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(N,) the rows that have an image."""
        return self.file >= 0

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 (len(rows), box, box) in the order asked for. Raises IndexError for a row without an image."""
        rows = np.asarray(rows, dtype=np.int64)
        if self.resampling is None:
            return self._recorded(rows, self.box)
        out = np.empty((len(rows), self.box, self.box), dtype=np.float32)
        for kind, places in self.resampling.recorded_of(rows):
            recorded = self._recorded(rows[places], int(self.resampling.recorded[kind]))
            out[places] = self.resampling.resample(recorded, kind)
        return out

    def _recorded(self, rows: NDArray[np.int64], box: int) -> NDArray[np.float32]:
        """The images as the files have them, `box` pixels each, times `gain`."""
        out = np.empty((len(rows), box, box), dtype=np.float32)
        if not len(rows):
            return out
        files, images = self.file[rows], self.index[rows]
        if files.min() < 0:
            raise IndexError(f"row {int(rows[np.argmin(files)])} has no image")
        runs = list(_runs(files, images, np.lexsort((images, files))))
        for start in range(0, len(runs), OPEN_MAPS):
            group = runs[start : start + OPEN_MAPS]
            for places in group:
                _will_need(self._map(int(files[places[0]]), box), int(images[places[0]]), len(places))
            for places in group:
                first = int(images[places[0]])
                block = self._map(int(files[places[0]]), box)[first : first + len(places)]
                if len(block) < len(places):
                    raise IndexError(f"{self.paths[int(files[places[0]])]} has no image {first + len(places) - 1}")
                if len(places) == 1 or bool(np.all(np.diff(places) == 1)):
                    out[places[0] : places[0] + len(places)] = block
                else:
                    out[places] = block
                offset = self.headers[int(files[places[0]])].value_offset
                if offset:
                    out[places] += np.float32(offset)
        if self.gain is not None:
            out *= self.gain[rows][:, None, None]
        return out

    def _map(self, file: int, box: int) -> NDArray[Any]:
        if file in self._maps:
            self._maps.move_to_end(file)
            return self._maps[file]
        header = self.headers.get(file)
        if header is None:
            header = read_header(self.paths[file], self.roots)
            if self.unsigned_bytes:
                header = header.as_unsigned()
            self.headers[file] = header
        if (header.height, header.width) != (box, box):
            raise InvalidInput(
                f"holds images of {header.width} x {header.height}, {box} x {box} expected",
                file=header.path,
                hint="the stack was changed since it was first read",
            )
        array = self._maps[file] = map_images(header)
        while len(self._maps) > OPEN_MAPS:
            self._maps.popitem(last=False)
        return array


def _will_need(images: NDArray[Any], first: int, count: int) -> None:
    """Tell the system that these images are wanted now: pages come in large pieces, of many runs at once.

    (Left to page faults alone, a cold stack is read at less than half of the disk's speed.)
    """
    underlying = getattr(images, "_mmap", None)
    if isinstance(underlying, mmap.mmap) and len(images):
        size = images.nbytes // len(images)
        start = len(underlying) - images.nbytes + first * size
        page = start - start % mmap.PAGESIZE
        length = min(start - page + count * size, len(underlying) - page)
        if page < len(underlying) and length > 0:
            underlying.madvise(mmap.MADV_WILLNEED, page, length)


def _runs(files: NDArray[np.int64], images: NDArray[np.int64], order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Groups of places (into the request) whose images follow one another in one file."""
    if not len(order):
        return
    breaks = (np.diff(files[order]) != 0) | (np.diff(images[order]) != 1)
    yield from np.split(order, np.flatnonzero(breaks) + 1)


def read_ahead(images: ImageStack, batches: Iterable[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
    """`images.read` of each batch, the next one being read while the caller works on this one."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as reader:
        waiting = None
        for rows in batches:
            coming = reader.submit(images.read, rows)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
