"""Point groups and helices: what brings one asymmetric unit of a map onto the others."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.request.model import IngestOptions

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


@dataclass(frozen=True)
class Operators:
    """A point x of one asymmetric unit lies at rotation_g x + shift_g in unit g; the first is the unit itself.

    rotations (n, 3, 3); shifts_angstrom (n, 3)
    """

    name: str
    rotations: NDArray[np.float64]
    shifts_angstrom: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rotations)


def symmetry_of(options: IngestOptions) -> Operators | None:
    """The symmetry of the consensus map; None where it has none. Raises InvalidInput.

    Helical: unit h lies `twist` h degrees further about +z (right-handed) and `rise` h along it, h = 0, 1, -1, 2, ..
    as many as there are between neighbouring segments; a point group Cn or Dn about the axis comes on top.
    """
    helix = {"rise": options.helical_rise, "twist": options.helical_twist, "units": options.helical_units}
    missing = [f"--helical-{name}" for name, value in helix.items() if value is None]
    if missing and len(missing) < len(helix):
        raise InvalidInput(
            f"{' and '.join(missing)} must be given too", hint="a helix has a rise, a twist and units for each segment"
        )
    group = point_group(options.symmetry or "C1")
    name = (options.symmetry or "").strip().upper()
    if missing:
        return Operators(name, group, np.zeros((len(group), 3))) if len(group) > 1 else None
    if name[:1] not in ("", "C", "D"):
        raise InvalidInput(f"a helix has no symmetry {name}", hint="give Cn or Dn about its axis, or none")
    assert options.helical_rise is not None and options.helical_twist is not None and options.helical_units is not None
    steps = np.array([(number + 1) // 2 * (1 if number % 2 else -1) for number in range(options.helical_units)])
    turns = [_about(Z_AXIS, np.deg2rad(options.helical_twist) * step) for step in steps]
    rotations = np.concatenate([turn @ group for turn in turns])
    shifts = np.zeros((len(rotations), 3))
    shifts[:, 2] = np.repeat(options.helical_rise * steps, len(group))
    helical = f"helix of {options.helical_rise:g} A and {options.helical_twist:g} degrees"
    if len(rotations) == 1:
        return None
    return Operators(f"{helical}, {name}" if name else helical, rotations, shifts)


def copies_of(options: IngestOptions) -> int:
    """How many rows of a run each row of its source becomes."""
    operators = symmetry_of(options)
    return 1 if operators is None else len(operators)


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
