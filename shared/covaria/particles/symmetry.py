"""Symmetric refinements: one copy of each particle for each rotation of the point group."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.model import Particles
from covaria.particles.stacks.images import StackImages

MAX_FOLD = 100
GOLDEN = (1 + 5**0.5) / 2
Z_AXIS = (0.0, 0.0, 1.0)
POLYHEDRAL = {
    "T": (12, ((3, Z_AXIS), (2, (0.0, 2**0.5, 1.0)))),
    "O": (24, ((4, Z_AXIS), (3, (1.0, 1.0, 1.0)))),
    "I1": (60, ((2, Z_AXIS), (5, (0.0, 1.0, GOLDEN)))),
    "I2": (60, ((2, Z_AXIS), (5, (1.0, 0.0, GOLDEN)))),
    "I3": (60, ((5, Z_AXIS), (2, (-1.0, 0.0, GOLDEN)))),
    "I4": (60, ((5, Z_AXIS), (2, (1.0, 0.0, GOLDEN)))),
}
"""Order and generating axes (fold, direction) in RELION's settings.

I1 and I2 have 2-fold axes on x, y and z, the 5-folds nearest z in the yz plane (I1) or the xz plane (I2); I3 and I4
have a 5-fold on z. RELION's T has a 3-fold on z, unlike Heymann et al. 2005.
"""


def point_group(name: str) -> NDArray[np.float64]:
    """The rotations (n, 3, 3) of a point group, the identity first. Raises InvalidInput.

    RELION's settings: Cn about z; Dn with another 2-fold on x; T, O, I1, I2, I3, I4 as `POLYHEDRAL` says.
    """
    text = name.strip().upper()
    if text in POLYHEDRAL:
        order, axes = POLYHEDRAL[text]
        return _generated([_about(direction, 2 * np.pi / fold) for fold, direction in axes], order)
    match = re.fullmatch(r"([CD])([1-9][0-9]{0,2})", text)
    if match is None or int(match.group(2)) > MAX_FOLD:
        raise InvalidInput(
            f"symmetry {name[:20]!r} is not known", hint="give Cn or Dn (n up to 100), T, O, I1, I2, I3 or I4"
        )
    fold = int(match.group(2))
    rotations = np.stack([_about(Z_AXIS, 2 * np.pi * step / fold) for step in range(fold)])
    if match.group(1) == "D":
        rotations = np.concatenate([rotations, rotations @ _about((1.0, 0.0, 0.0), np.pi)])
    return rotations


def expand(particles: Particles, name: str) -> Particles:
    """N x n particles: copy g of particle i is row g * N + i, with pose R_i S_g; the first N rows are the input's own.

    A copy keeps its particle's image, CTF, shift and half-set (so no half-set sees the other's particles). Raises
    InvalidInput for an unknown group.
    """
    group = point_group(name)
    count, order = len(particles), len(group)
    if order == 1:
        return particles
    if not isinstance(particles.images, StackImages):
        raise TypeError("only particles whose images are stacks on disk can be expanded")
    rows = np.tile(np.arange(count), order)
    note = (
        f"symmetry {name.strip().upper()}: {count} particles became {count * order} rows; "
        f"row g x {count} + i is copy g of particle i"
    )
    return replace(
        particles,
        rotations=np.concatenate([particles.rotations @ rotation for rotation in group]),
        translations=particles.translations[rows],
        ctf=particles.ctf.take(rows),
        optics_group=particles.optics_group[rows],
        half_set=particles.half_set[rows],
        micrograph=particles.micrograph[rows],
        used=particles.used[rows],
        images=particles.images.take(rows),
        particle=None if particles.particle is None else _copied(particles.particle, order),
        together=None if particles.together is None else particles.together[rows],
        notes=(*particles.notes, note),
    )


def _copied(codes: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Codes of every copy: copy g of a particle is a particle of its own."""
    count = int(codes.max()) + 1
    return np.concatenate([codes + number * count for number in range(order)])


def _about(axis: tuple[float, float, float], angle: float) -> NDArray[np.float64]:
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    result: NDArray[np.float64] = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)
    return result


def _generated(generators: list[NDArray[np.float64]], order: int) -> NDArray[np.float64]:
    """Every product of the generators, found once each."""
    elements = [np.eye(3)]
    for element in elements:  # grows while it is walked through
        for generator in generators:
            product = element @ generator
            if all(np.abs(product - known).max() > 1e-6 for known in elements):
                elements.append(product)
    if len(elements) != order:
        raise AssertionError(f"{len(elements)} rotations where the group has {order}")
    return np.stack(elements)
