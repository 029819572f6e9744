"""One pass over every image: find those that hold nothing or are far from all others, write the downsampled stack."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
FAR = 8.0
"""An image whose spread is so many times the set's median, or its inverse, is of another kind than the others."""
ONE_PIXEL, AS_OTHERS = 0.1, 5.0
"""The share of an image's variance that one pixel may hold, or so many times the median image's where that is more."""
CLIPPED = 0.05
"""The share of the pixels that are all equal to the image's largest, or smallest, from which it is clipped."""
FEW = 0.2
"""Where more than this share of the images is far from the median, they are a second set, not outliers."""


@dataclass(frozen=True)
class Spread:
    """How grey levels vary within each image: NaN in both where pixels are not finite, 0 and 0 where all are equal.

    deviation  (N,) standard deviation of the pixels
    peak       (N,) share of the variance that the most extreme pixel holds
    clipped    (N,) share of the pixels at the largest or at the smallest grey level, whichever are more
    """

    deviation: NDArray[np.float64]
    peak: NDArray[np.float64]
    clipped: NDArray[np.float64]

    @staticmethod
    def unknown(count: int) -> Spread:
        """Nothing looked at yet."""
        return Spread(*(np.full(count, np.nan) for _ in range(3)))

    def look(self, rows: NDArray[np.int64], images: NDArray[np.float32]) -> None:
        """Note the images (n, D, D) of `rows`."""
        flat = images.reshape(len(images), -1).astype(np.float64)  # squares of float32 fit
        with np.errstate(invalid="ignore", divide="ignore"):
            largest, smallest, mean = flat.max(axis=1), flat.min(axis=1), flat.mean(axis=1)
            extreme = np.maximum(largest - mean, mean - smallest)
            variance = flat.var(axis=1)
            constant = largest == smallest
            ends = [(flat == end[:, None]).mean(axis=1) for end in (largest, smallest)]
            self.clipped[rows] = np.where(constant, 0.0, np.maximum(*ends))
            self.deviation[rows] = np.where(constant, 0.0, np.sqrt(variance))
            self.peak[rows] = np.where(constant, 0.0, extreme**2 / (variance * flat.shape[1]))

    @property
    def empty(self) -> NDArray[np.bool_]:
        """(N,) images that are constant or not finite (or were not looked at)."""
        return ~(np.isfinite(self.deviation) & (self.deviation > 0))


def write_downsampled_stack(
    images: ImageStack,
    readable: NDArray[np.bool_],
    box: int,
    pixel_size_angstrom: float,
    path: Path,
    progress: Progress,
) -> Spread:
    """Write every image at `box` (float32 MRC, `pixel_size_angstrom` is the new one); `progress(done, total)` is told.

    Rows that are not `readable` (N,), constant, not finite or too large for float32 are zeros in the stack.
    """
    count = len(images)
    spread = Spread.unknown(count)
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    workers = len(os.sched_getaffinity(0))
    with path.open("wb") as file:
        file.write(bytes(HEADER_BYTES))
        for rows, batch in _batches(images, np.arange(count), readable):
            spread.look(rows[readable[rows]], batch[readable[rows]])
            batch[spread.empty[rows]] = 0.0
            with np.errstate(over="ignore", invalid="ignore"):
                small = downsample_images(batch, box, workers=workers)
            small[~np.isfinite(small).all(axis=(1, 2))] = 0.0
            file.write(np.ascontiguousarray(small, dtype="<f4").data)
            low, high = min(low, float(small.min())), max(high, float(small.max()))
            total += float(small.sum(dtype=np.float64))
            squares += float(np.square(small, dtype=np.float64).sum())
            progress(int(rows[-1]) + 1, count)
        values = count * box * box
        mean = total / values
        rms = float(np.sqrt(max(squares / values - mean**2, 0.0)))
        file.seek(0)
        file.write(write_header(count, box, pixel_size_angstrom, (low, high, mean, min(rms, 3e38))))
    return spread


def measure_spread(images: ImageStack, rows: NDArray[np.int64], progress: Progress) -> Spread:
    """Read these rows once."""
    spread = Spread.unknown(len(images))
    done = 0
    for batch_rows, batch in _batches(images, rows, np.ones(len(images), dtype=bool)):
        spread.look(batch_rows, batch)
        done += len(batch_rows)
        progress(done, len(rows))
    return spread


def without_unusable(particles: Particles, spread: Spread) -> Particles:
    """The particles without the images that hold nothing or are far from all others, and notes that list them.

    Raises InvalidInput when none is left.
    """
    particles = _without(particles, spread.empty, "are constant or not finite")
    used = particles.used
    median = float(np.median(spread.deviation[used]))
    ratio = np.where(spread.empty, 1.0, spread.deviation / median)
    far = (ratio > FAR) | (ratio < 1 / FAR)
    wide = f"have grey levels more than {FAR:g} times wider or narrower than the median image"
    particles = _few_or_told(particles, far, wide, "were all normalised alike?")
    clipped = spread.clipped > CLIPPED
    saturated = f"seem saturated: more than {CLIPPED:.0%} of their pixels have the largest or the smallest grey level"
    particles = _few_or_told(particles, clipped, saturated, "look at how the stack was written")
    most = max(ONE_PIXEL, AS_OTHERS * float(np.median(spread.peak[particles.used])))
    return _without(
        particles, spread.peak > most, f"hold more than {min(most, 1.0):.0%} of their variance in one pixel"
    )


def _few_or_told(particles: Particles, bad: NDArray[np.bool_], what: str, advice: str) -> Particles:
    """Without the `bad` images where they are few; where not, they are a second set, which a note tells."""
    if np.mean(bad[particles.used]) <= FEW:
        return _without(particles, bad, what)
    note = f"{int(bad[particles.used].sum())} of {int(particles.used.sum())} images {what}: {advice}"
    return replace(particles, notes=(*particles.notes, note))


def _without(particles: Particles, bad: NDArray[np.bool_], what: str) -> Particles:
    rows = np.flatnonzero(bad & particles.used)
    if not len(rows):
        return particles
    used = particles.used & ~bad
    if not used.any():
        raise InvalidInput(f"every image in use is unusable: they {what}", file=particles.source,
                           hint="check the stacks")  # fmt: skip
    listed = ", ".join(str(row) for row in rows[:LISTED].tolist()) + (", ..." if len(rows) > LISTED else "")
    note = f"{len(rows)} images {what} and were left out: rows (from 0) {listed}"
    left = replace(particles, used=used, notes=(*particles.notes, note))
    lost = len(particles.leads) - len(left.leads)
    return replace(left, set_aside=dict(particles.set_aside) | ({f"their images {what}": lost} if lost else {}))


def _batches(
    images: ImageStack, rows: NDArray[np.int64], readable: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Batches of rows and their images; zeros where a row cannot be read."""
    size = max(1, BATCH_BYTES // (images.box**2 * 4))
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    for batch, found in zip(batches, read_ahead(images, [b[readable[b]] for b in batches]), strict=True):
        if len(found) == len(batch):
            yield batch, found
            continue
        block = np.zeros((len(batch), images.box, images.box), dtype=np.float32)
        block[readable[batch]] = found
        yield batch, block
