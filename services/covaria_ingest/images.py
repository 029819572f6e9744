"""One pass over every image: find those that hold nothing, and write the downsampled stack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles import Particles, StackImages, read_ahead
from covaria.particles.downsample import downsample_images
from covaria.particles.mrc import HEADER_BYTES, read_header, write_header
from covaria.particles.read import Described
from covaria.particles.star_write import rewrite_particle_star, write_particle_star
from covaria.stage import Context
from covaria.tree import Tree

BATCH_BYTES = 32 * 2**20
LISTED = 20


def write_downsampled(
    particles: Particles,
    described: Described,
    box: int,
    tree: Tree,
    staged: Path,
    context: Context,
) -> Particles:
    """Publish downsampled/particles.<box>.mrcs and .star with ALL rows; return the particles on that stack.

    Unusable images are left out; in the stack they are zeros.
    """
    made = Tree(staged)
    made.downsampled.mkdir()
    stack = made.downsampled_stack(box)
    pixel_size = particles.pixel_size_angstrom * particles.box / box
    unusable = write_downsampled_stack(particles, box, pixel_size, stack, context)
    small = particles.with_images(_images(stack, len(particles), box), pixel_size)
    star = made.downsampled_star(box)
    if described.star is not None:
        rewrite_particle_star(star, described.star, small, stack)
    else:
        write_particle_star(star, small, described.metadata, stack)
    tree.publish(made.downsampled, tree.downsampled)
    small = replace(small, images=_images(tree.downsampled_stack(box), len(particles), box))
    return without(small, unusable)


def write_downsampled_stack(
    particles: Particles, box: int, pixel_size: float, stack: Path, context: Context
) -> NDArray[np.int64]:
    """Write every image at `box` as float32; returns the rows whose images are constant or not finite."""
    count = len(particles)
    unusable: list[NDArray[np.int64]] = []
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    workers = len(os.sched_getaffinity(0))
    with stack.open("wb") as file:
        file.write(bytes(HEADER_BYTES))
        for rows, images in _batches(particles, np.arange(count)):
            bad = unusable_images(images)
            unusable.append(rows[bad])
            small = downsample_images(images, box, workers=workers)
            small[bad] = 0.0
            file.write(small.astype("<f4", copy=False).data)
            low, high = min(low, float(small.min())), max(high, float(small.max()))
            total += float(small.sum(dtype=np.float64))
            squares += float(np.square(small, dtype=np.float64).sum())
            context.progress("downsample", int(rows[-1]) + 1, count)
        values = count * box * box
        mean = total / values
        rms = float(np.sqrt(max(squares / values - mean**2, 0.0)))
        file.seek(0)
        file.write(write_header(count, box, pixel_size, (low, high, mean, rms)))
    return np.concatenate(unusable)


def leave_out_unusable(particles: Particles, context: Context) -> Particles:
    """Read every image in use once; constant ones and those that are not finite are left out and noted."""
    rows_in_use = particles.rows
    unusable = [np.empty(0, dtype=np.int64)]
    done = 0
    for rows, images in _batches(particles, rows_in_use):
        unusable.append(rows[unusable_images(images)])
        done += len(rows)
        context.progress("check images", done, len(rows_in_use))
    return without(particles, np.concatenate(unusable))


def without(particles: Particles, rows: NDArray[np.int64]) -> Particles:
    """The particles with `rows` no longer in use, and a note that lists them."""
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
    low, high = flat.min(axis=1), flat.max(axis=1)  # NaN and infinity survive into these
    return ~(np.isfinite(low) & np.isfinite(high)) | (low == high)


def _batches(particles: Particles, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    size = max(1, BATCH_BYTES // (particles.box**2 * 4))
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    yield from zip(batches, read_ahead(particles.images, batches), strict=True)


def _images(stack: Path, count: int, box: int) -> StackImages:
    return StackImages(
        (stack,),
        np.zeros(count, dtype=np.int64),
        np.arange(count),
        box,
        {0: read_header(stack)} if stack.exists() else {},
    )
