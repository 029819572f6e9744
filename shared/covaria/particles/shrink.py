"""A data set on a smaller box, as files of its own."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from covaria.errors import InvalidInput, RefusedOutput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.assemble import assemble, checked_box
from covaria.particles.cryodrgn.export import missing_for_ctf, missing_for_poses
from covaria.particles.read import read_metadata
from covaria.particles.stacks.images import StackImages
from covaria.particles.stacks.locate import locate_stacks
from covaria.particles.stacks.scan import Progress, without_unusable, write_downsampled_stack
from covaria.particles.star.write import write_star_for
from covaria.request.model import IngestOptions
from covaria.tree.publish import publish


@dataclass(frozen=True)
class Shrunk:
    """What was written; `missing` says why there is no STAR."""

    stack: Path
    star: Path | None
    missing: tuple[str, ...]
    notes: tuple[str, ...]


def shrink(
    options: IngestOptions,
    box: int,
    out: Path,
    *,
    progress: Progress,
    overwrite: bool = False,
    roots: Roots = ANYWHERE,
) -> Shrunk:
    """Write out/particles.<box>.mrcs and, where poses and CTF are known, the .star beside it; each whole or absent.

    Raises InvalidInput (also for a box that is odd or not smaller) and RefusedOutput for files that are there already.
    """
    described = read_metadata(options, roots=roots)
    stacks = described.stacks or locate_stacks(described.metadata, described.used, options, roots)
    if box % 2 or not 0 < box < stacks.box:
        largest = (stacks.box - 1) // 2 * 2
        raise InvalidInput(f"cannot downsample images of {stacks.box} pixels to {box}", file=options.particles,
                           hint=f"give an even number up to {largest}")  # fmt: skip
    checked_box(described.metadata, stacks)
    stack, star = out / f"particles.{box}.mrcs", out / f"particles.{box}.star"
    for path in (stack, star):
        if path.exists() and not overwrite:
            raise RefusedOutput("is there already", file=path, hint="give --overwrite or another folder")
    # What a CTF leaves out stays in the columns of the new STAR: it is no reason not to make smaller images.
    metadata = replace(described.metadata, aberrations=())
    described = replace(described, metadata=metadata, stacks=stacks)
    missing = tuple(missing_for_poses(metadata, stacks.box) + missing_for_ctf(metadata, stacks.box))
    particles = None if missing else assemble(described, options, roots)
    pixel_size = (metadata.pixel_size_angstrom or stacks.pixel_size_angstrom) * stacks.box / box
    work = out / f".shrink-{secrets.token_hex(4)}"
    work.mkdir(parents=True)
    try:
        images = stacks.images(stacks.box, metadata.gain)
        spread = write_downsampled_stack(images, images.readable, box, pixel_size, work / stack.name, progress)
        if particles is not None:
            count = len(particles)
            small = StackImages((work / stack.name,), np.zeros(count, dtype=np.int64), np.arange(count), box)
            particles = without_unusable(particles.with_images(small, pixel_size), spread)
            write_star_for(work / star.name, described, particles, work / stack.name)
        publish(work / stack.name, stack, work)
        if particles is not None:
            publish(work / star.name, star, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    notes = particles.notes if particles is not None else stacks.notes
    return Shrunk(stack, star if particles is not None else None, missing, notes)
