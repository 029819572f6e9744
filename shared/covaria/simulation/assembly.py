"""Symmetric particles: units about an axis, or along a helix, each in a state of its own.

A unit's point x lies at rotation_g x + shift_g. A helix goes on beyond the image: it is projected in a larger box, of
which the image is cut out. Rotations of point groups are RELION's (tests/particles/test_symmetry.py); all else is the
physics written out once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.symmetry import point_group
from covaria.simulation.atoms import Atoms
from covaria.simulation.ensemble import Ensemble

ROOM_ANGSTROM = 100.0
"""Half the width that the built-in units share."""
UNIT_RADIUS_ANGSTROM = 85.0
"""Of the built-in particle."""
LARGEST, HELICAL = 0.6, 0.4
"""Of the built-in particle's size, as a unit."""
AXIAL, GENERAL = (1.0, 0.0, 0.0), (0.80, 0.36, 0.48)
"""Where a unit lies: beside one axis, or off the many axes of a group."""


@dataclass(frozen=True)
class Assembly:
    """rotations (G, 3, 3) and shifts_angstrom (G, 3) of the units, the first as it is: of a helix the middle one."""

    name: str
    rotations: NDArray[np.float64]
    shifts_angstrom: NDArray[np.float64]
    helical: bool = False

    def __len__(self) -> int:
        return len(self.rotations)

    def whole(self, unit: Atoms) -> Atoms:
        """All units in one state."""
        places = np.einsum("gij,aj->gai", self.rotations, unit.positions_angstrom) + self.shifts_angstrom[:, None]
        return Atoms(places.reshape(-1, 3), np.tile(unit.weights, len(self)))


def of_point_group(name: str) -> Assembly:
    """Raises InvalidInput for an unknown group."""
    rotations = point_group(name)
    return Assembly(name.strip().upper(), rotations, np.zeros((len(rotations), 3)))


def of_helix(rise_angstrom: float, twist_deg: float, length_angstrom: float) -> Assembly:
    """The units of a helix along z, right-handed for twist > 0, that lie within a length, from the middle outwards."""
    if abs(rise_angstrom) < 1:
        raise InvalidInput(f"a rise of {rise_angstrom:g} A", hint="give at least 1 A for each unit")
    most = int(length_angstrom / 2 / abs(rise_angstrom))
    steps = np.array(sorted(range(-most, most + 1), key=lambda step: (abs(step), -step)))
    turn = np.deg2rad(twist_deg) * steps
    rotations = np.zeros((len(steps), 3, 3))
    rotations[:, 0, 0] = rotations[:, 1, 1] = np.cos(turn)
    rotations[:, 1, 0] = np.sin(turn)
    rotations[:, 0, 1] = -rotations[:, 1, 0]
    rotations[:, 2, 2] = 1
    shifts = np.zeros((len(steps), 3))
    shifts[:, 2] = rise_angstrom * steps
    return Assembly(f"helix {rise_angstrom:g} A {twist_deg:g} degrees", rotations, shifts, helical=True)


def of_units(ensemble: Ensemble, assembly: Assembly) -> Ensemble:
    """The built-in particle's states made as small as a unit is, and put where the first unit lies."""
    order = len(assembly)
    size = HELICAL if assembly.helical else min(LARGEST, (2 / order) ** (1 / 3))
    axial = assembly.helical or assembly.name.startswith("C")
    place = np.array(AXIAL if axial else GENERAL) * (ROOM_ANGSTROM - size * UNIT_RADIUS_ANGSTROM)
    units = []
    for structure in ensemble.structures:
        if not isinstance(structure, Atoms):
            raise InvalidInput("--symmetry is for the built-in particle", hint="leave --structure out")
        units.append(Atoms(size * structure.positions_angstrom + place, size**3 * structure.weights))
    return replace(ensemble, structures=tuple(units))
