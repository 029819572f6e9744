"""The images' part of the stage: downsampled/, or one look at every image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from covaria.particles import Particles, StackImages
from covaria.particles.read import Described
from covaria.particles.stacks.mrc import read_header
from covaria.particles.stacks.scan import measure_spread, without_unusable, write_downsampled_stack
from covaria.particles.star.write import write_star_for
from covaria.stage import Context
from covaria.tree import Tree


def publish_downsampled(
    particles: Particles, described: Described, box: int, tree: Tree, staged: Path, context: Context
) -> Particles:
    """Publish downsampled/particles.<box>.mrcs and .star with ALL rows; return the particles on that stack.

    Unusable images are left out; those that hold nothing are zeros in the stack.
    """
    assert isinstance(particles.images, StackImages)
    made = Tree(staged)
    made.downsampled.mkdir()
    stack = made.downsampled_stack(box)
    pixel_size = particles.pixel_size_angstrom * particles.box / box
    spread = write_downsampled_stack(
        particles.images,
        particles.images.readable,
        box,
        pixel_size,
        stack,
        lambda done, total: context.progress("downsample", done, total),
    )
    small = particles.with_images(_images(stack, len(particles), box), pixel_size)
    write_star_for(made.downsampled_star(box), described, small, stack)
    tree.publish(made.downsampled, tree.downsampled)
    small = replace(small, images=_images(tree.downsampled_stack(box), len(particles), box))
    return without_unusable(small, spread)


def leave_out_unusable(particles: Particles, context: Context) -> Particles:
    """Read every image in use once; those that hold nothing or are far from all others are left out and noted."""
    spread = measure_spread(
        particles.images, particles.rows, lambda done, total: context.progress("check images", done, total)
    )
    return without_unusable(particles, spread)


def _images(stack: Path, count: int, box: int) -> StackImages:
    return StackImages((stack,), np.zeros(count, dtype=np.int64), np.arange(count), box, {0: read_header(stack)})
