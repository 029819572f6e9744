"""Symmetric maps: a row for each asymmetric unit that an image shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covaria.particles.model import Particles
from covaria.particles.stacks.images import StackImages
from covaria.particles.symmetry import symmetry_of
from covaria.request.model import IngestOptions


def expanded(particles: Particles, options: IngestOptions) -> Particles:
    """N x n rows for the n operators of the map's symmetry: copy g of row i is row g N + i, the first N as they were.

    A copy sees unit g where the input sees the first: its pose is R_i S_g, its centre lies where R_i shift_g projects
    to. It keeps image, CTF and half-set; all copies of a row are one measurement (`Particles.together`). Raises
    InvalidInput for an unknown symmetry.
    """
    operators = symmetry_of(options)
    if operators is None:
        return particles
    if not isinstance(particles.images, StackImages):
        raise TypeError("only particles whose images are stacks on disk can be expanded")
    count, order = len(particles), len(operators)
    rows = np.tile(np.arange(count), order)
    centres = np.einsum("nij,gj->gni", particles.rotations[:, :2], operators.shifts_angstrom)
    shifts = particles.translations - centres / particles.pixel_size_angstrom
    note = (
        f"symmetry {operators.name}: {count} particles became {count * order} rows; "
        f"row g x {count} + i is copy g of particle i, and all copies of an image count as one image"
    )
    return replace(
        particles,
        rotations=np.concatenate([particles.rotations @ rotation for rotation in operators.rotations]),
        translations=shifts.reshape(-1, 2),
        ctf=particles.ctf.take(rows),
        optics_group=particles.optics_group[rows],
        half_set=particles.half_set[rows],
        micrograph=particles.micrograph[rows],
        used=particles.used[rows],
        images=particles.images.take(rows),
        particle=None if particles.particle is None else _copied(particles.particle, order),
        together=(np.arange(count) if particles.together is None else particles.together)[rows],
        copies=order,
        notes=(*particles.notes, note),
    )


def _copied(codes: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Codes of every copy: copy g of a particle is a particle of its own."""
    count = int(codes.max()) + 1
    return np.concatenate([codes + number * count for number in range(order)])
