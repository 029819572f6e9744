"""A built-in particle of several domains: an arm on a hinge, a head that turns, a part that is there or not.

Sizes are those of a protein complex of about 1,300 residues, one Gaussian for each residue: 150 angstrom long, the same
at every box. Domains are packed at a protein's density and carry cavities: maps have features at all resolutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from covaria.simulation.atoms import Atoms

RESIDUE_VOLUME_ANGSTROM3 = 135.0
RESIDUE_WEIGHT = 54.0
"""Electrons of a mean residue."""
CAVITY_WAVELENGTH_ANGSTROM = 22.0

HINGE_ANGSTROM = np.array([26.0, 4.0, 6.0])
HEAD_AXIS_ANGSTROM = np.array([-8.0, -4.0, 26.0])


@dataclass(frozen=True)
class Conformation:
    """One state of the phantom. Angles in degrees; `occupancy` of the extra part between 0 and 1."""

    hinge_deg: float = 0.0
    swing_deg: float = 0.0
    rotation_deg: float = 0.0
    occupancy: float = 1.0


def phantom(state: Conformation) -> Atoms:
    """The phantom's atoms in `state`; the same atoms in the same order for every state."""
    body, arm, head, part = _domains()
    hinge = _turn((0.0, 1.0, 0.0), state.hinge_deg) @ _turn((0.0, 0.0, 1.0), state.swing_deg)
    arm = (arm - HINGE_ANGSTROM) @ hinge.T + HINGE_ANGSTROM
    head = (head - HEAD_AXIS_ANGSTROM) @ _turn((0.0, 0.0, 1.0), state.rotation_deg).T + HEAD_AXIS_ANGSTROM
    weights = np.full(len(body) + len(arm) + len(head), RESIDUE_WEIGHT)
    weights = np.concatenate([weights, np.full(len(part), RESIDUE_WEIGHT * state.occupancy)])
    return Atoms(np.concatenate([body, arm, head, part]), weights)


@lru_cache(maxsize=1)
def _domains() -> tuple[NDArray[np.float64], ...]:
    """Body, arm, head, part at rest, in angstrom about the centre of rotation."""
    rng = np.random.default_rng(1887)
    body = _packed(rng, centre=(-6.0, 0.0, -4.0), semi_axes=(36.0, 28.0, 26.0))
    arm = _packed(rng, centre=(54.0, 4.0, 8.0), semi_axes=(30.0, 16.0, 17.0))
    head = _packed(rng, centre=(-2.0, 6.0, 38.0), semi_axes=(27.0, 12.0, 14.0))
    part = _packed(rng, centre=(-32.0, -26.0, -22.0), semi_axes=(15.0, 14.0, 13.0))
    return body, arm, head, part


def _packed(
    rng: np.random.Generator, centre: tuple[float, float, float], semi_axes: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Residues in an ellipsoid: random points pushed apart (best of several candidates), none in the cavities."""
    axes = np.array(semi_axes)
    count = int(4 / 3 * np.pi * axes.prod() / RESIDUE_VOLUME_ANGSTROM3)
    wave = rng.normal(size=(12, 3))
    wave *= 2 * np.pi / CAVITY_WAVELENGTH_ANGSTROM / np.linalg.norm(wave, axis=1, keepdims=True)
    phase = rng.uniform(0, 2 * np.pi, 12)

    def solid(points: NDArray[np.float64]) -> NDArray[np.bool_]:
        field = np.cos(points @ wave.T + phase).sum(1) / np.sqrt(6)
        result: NDArray[np.bool_] = (((points / axes) ** 2).sum(1) < 1) & (field > -0.6)
        return result

    chosen = np.empty((0, 3))
    while len(chosen) < count:
        candidates = rng.uniform(-1, 1, size=(400, 3)) * axes
        candidates = candidates[solid(candidates)]
        for group in np.array_split(candidates, max(1, len(candidates) // 8)):
            if len(chosen):
                gaps = ((group[:, None] - chosen[None]) ** 2).sum(-1).min(1)
                group = group[[int(gaps.argmax())]]
            chosen = np.concatenate([chosen, group[:1]])
    result: NDArray[np.float64] = chosen[:count] + np.array(centre)
    return result


def _turn(axis: tuple[float, float, float], angle_deg: float) -> NDArray[np.float64]:
    """Rotation about a unit axis (Rodrigues' formula)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(angle_deg)
    result: NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return result
