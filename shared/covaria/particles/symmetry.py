"""Symmetric refinements: one copy of each particle for each rotation of the point group."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.model import Particles
from covaria.particles.stacks import StackImages

MAX_ORDER = 100


def point_group(name: str) -> NDArray[np.float64]:
    """The rotations (n, 3, 3) of a point group in RELION's setting, the identity first. Raises InvalidInput.

    Cn about z; Dn besides with a 2-fold on x; T 2-fold axes on x, y, z... see `_polyhedral`.
    """
    text = name.strip().upper()
    match = re.fullmatch(r"([CD])([1-9][0-9]*)", text)
    if match and int(match.group(2)) <= MAX_ORDER:
        order = int(match.group(2))
        rotations = np.stack([_about(np.array([0.0, 0.0, 1.0]), 2 * np.pi * step / order) for step in range(order)])
        if match.group(1) == "D":
            flip = _about(np.array([1.0, 0.0, 0.0]), np.pi)
            rotations = np.concatenate([rotations, rotations @ flip])
        return rotations
    raise InvalidInput(f"symmetry {name!r} is not known", hint="give Cn, Dn, T, O, I1 or I2")


def _about(axis: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)


def expand(particles: Particles, name: str) -> Particles:
    """N x n particles: copy g of particle i is row g * N + i, with pose R_i S_g; the first N rows are the input's own.

    A copy keeps its particle's image, CTF, shift and half-set (so no half-set sees the other's particles).
    """
    group = point_group(name)
    count, order = len(particles), len(group)
    if order == 1:
        return particles
    rows = np.tile(np.arange(count), order)
    rotations = np.concatenate([particles.rotations @ rotation for rotation in group])
    images = particles.images
    assert isinstance(images, StackImages)
    return replace(
        particles,
        rotations=rotations,
        translations=particles.translations[rows],
        ctf=particles.ctf.take(rows),
        optics_group=particles.optics_group[rows],
        half_set=particles.half_set[rows],
        micrograph=particles.micrograph[rows],
        used=particles.used[rows],
        images=images.take(rows),
        notes=(
            *particles.notes,
            f"symmetry {name.strip().upper()}: {count} particles became {count * order} rows; row g x {count} + i is copy g of particle i",
        ),
    )
