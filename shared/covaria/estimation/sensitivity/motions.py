"""Known motions of a map: a part that turns about its joint, a part that is there or not.

A part is what lies beyond a plane: the outermost share of the mass in some direction, with a soft border. It turns
about the middle of the border, so that its centre of mass goes a given way; the motion is the turned part minus the
part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

Array = NDArray[np.float64]
Volume = NDArray[np.floating]

DIRECTIONS = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
"""From the centre of mass, z y x: the corners of a tetrahedron."""
BORDER = 0.7
"""Width of the soft border, voxels."""
LEAST_DENSITY = 0.2
"""Of the map's high densities: below, there is no mass."""
LEAST_LEVER = 1.0
"""Voxels between joint and centre of mass, at least."""


@dataclass(frozen=True)
class Part:
    """Of a map (d, d, d): its share at each voxel, 0 .. 1; centre of mass and joint (3,), voxels from the origin."""

    weight: Array
    centre: Array
    joint: Array


def cut(volume: Volume, mask: Volume, share: float, direction: Array) -> Part:
    """The outermost `share` of the mass of `volume` (d, d, d) inside `mask`, in `direction` (3,)."""
    places = np.stack(np.meshgrid(*[np.arange(n) - n // 2 for n in volume.shape], indexing="ij")).astype(float)
    mass = np.maximum(volume * (mask > 0.5), 0)
    if not mass.any():
        return Part(mass, np.zeros(3), np.zeros(3))
    mass = np.where(mass > LEAST_DENSITY * np.quantile(mass[mass > 0], 0.95), mass, 0)
    middle = _centre(mass, places)
    height = np.einsum("a,azyx->zyx", direction, places - middle[:, None, None, None])
    order = np.argsort(-height, axis=None)
    border = height.ravel()[order][np.searchsorted(np.cumsum(mass.ravel()[order]), share * mass.sum())]
    weight: Array = 1 / (1 + np.exp(np.clip((border - height) / BORDER, -50, 50)))
    return Part(weight, _centre(weight * mass, places), _centre(np.exp(-0.5 * (height - border) ** 2) * mass, places))


def leaving(volume: Volume, part: Part) -> Array:
    """What a map loses when the part is not there."""
    gone: Array = -volume * part.weight
    return gone


def turning(volume: Volume, part: Part, way: float) -> Array:
    """What changes when the part turns about its joint until its centre of mass has gone `way` voxels."""
    lever = part.centre - part.joint
    length = max(float(np.linalg.norm(lever)), LEAST_LEVER)
    across = np.cross(lever, np.eye(3)[np.argmin(np.abs(lever))])
    rotation = _rotation(across / max(np.linalg.norm(across), 1e-12), 2 * np.arcsin(min(way / (2 * length), 1.0)))
    centre = part.joint + len(volume) // 2
    there = volume * part.weight
    # The turned part at x is the part at R^T (x - centre) + centre.
    turned: Array = affine_transform(there, rotation.T, offset=centre - rotation.T @ centre, order=3)
    return turned - there


def _centre(mass: Array, places: Array) -> Array:
    centre: Array = np.einsum("zyx,azyx->a", mass, places) / mass.sum()
    return centre


def _rotation(axis: Array, angle: float) -> Array:
    """Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: Array = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return rotation
