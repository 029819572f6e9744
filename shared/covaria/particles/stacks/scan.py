"""One pass over every image: find those that hold nothing, and write the downsampled stack."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.model import ImageStack, Particles
from covaria.particles.stacks.downsample import downsample_images
from covaria.particles.stacks.images import read_ahead
from covaria.particles.stacks.mrc import HEADER_BYTES, write_header

Progress = Callable[[int, int], None]
BATCH_BYTES = 32 * 2**20
LISTED = 20


def write_downsampled_stack(
    images: ImageStack, box: int, pixel_size_angstrom: float, path: Path, progress: Progress
) -> NDArray[np.int64]:
    """Write every image at `box` (float32 MRC, `pixel_size_angstrom` is the new one); `progress(done, total)` is told.

    Returns the rows whose images are constant or not finite; the stack has zeros there.
    """
    count = len(images)
    unusable: list[NDArray[np.int64]] = []
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    workers = len(os.sched_getaffinity(0))
    with path.open("wb") as file:
        file.write(bytes(HEADER_BYTES))
        for rows, batch in _batches(images, np.arange(count)):
            bad = unusable_images(batch)
            unusable.append(rows[bad])
            batch[bad] = 0.0
            small = downsample_images(batch, box, workers=workers)
            file.write(np.ascontiguousarray(small, dtype="<f4").data)
            low, high = min(low, float(small.min())), max(high, float(small.max()))
            total += float(small.sum(dtype=np.float64))
            squares += float(np.square(small, dtype=np.float64).sum())
            progress(int(rows[-1]) + 1, count)
        values = count * box * box
        mean = total / values
        rms = float(np.sqrt(max(squares / values - mean**2, 0.0)))
        file.seek(0)
        file.write(write_header(count, box, pixel_size_angstrom, (low, high, mean, rms)))
    return np.concatenate(unusable)


def find_unusable(images: ImageStack, rows: NDArray[np.int64], progress: Progress) -> NDArray[np.int64]:
    """Read these rows once; returns those whose images are constant or not finite."""
    unusable = [np.empty(0, dtype=np.int64)]
    done = 0
    for batch_rows, batch in _batches(images, rows):
        unusable.append(batch_rows[unusable_images(batch)])
        done += len(batch_rows)
        progress(done, len(rows))
    return np.concatenate(unusable)


def without(particles: Particles, rows: NDArray[np.int64]) -> Particles:
    """The particles with `rows` no longer in use, and a note that lists them. Raises InvalidInput when none is left."""
    rows = rows[particles.used[rows]]
    if not len(rows):
        return particles
    used = particles.used.copy()
    used[rows] = False
    if not used.any():
        raise InvalidInput(
            "every image in use is constant or not finite", file=particles.source, hint="check the stacks"
        )
    listed = ", ".join(str(row) for row in rows[:LISTED].tolist()) + (", ..." if len(rows) > LISTED else "")
    note = f"{len(rows)} images are constant or not finite and were left out: rows (from 0) {listed}"
    return replace(particles, used=used, notes=(*particles.notes, note))


def unusable_images(images: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(n,) True for images with a NaN or infinity, or with all pixels equal."""
    flat = images.reshape(len(images), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)  # a NaN or an infinity survives into one of these
    result: NDArray[np.bool_] = np.logical_not(np.isfinite(low) & np.isfinite(high)) | (low == high)
    return result


def _batches(images: ImageStack, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    size = max(1, BATCH_BYTES // (images.box**2 * 4))
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    yield from zip(batches, read_ahead(images, batches), strict=True)
