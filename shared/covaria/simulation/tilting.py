"""Tilt series: every particle seen at each tilt of its stage, with RELION 5's geometry, dose and thinning signal.

With A_t = Rz(ZRot) Ry(YTilt) Rx(XTilt), active, the image of tilt t has the pose A_t R, the origin (A_t origin)_xy and
the defocus of its tilt + hand x (A_t place)_z; its signal is cos(tilt) exp(-dose s^2) times as strong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput

Layout = Literal["warp", "relion5"]
HAND = -1.0
AXIS_DEG, AXIS_SD_DEG, PITCH_SD_DEG = 85.0, 0.3, 0.5
PLACE_SD_ANGSTROM = (1500.0, 1500.0, 200.0)
B_PER_DOSE = 4.0
"""Angstrom^2 of B-factor for each e/A^2, as Warp and M have it."""


@dataclass(frozen=True)
class TiltScheme:
    """Tilts in the order of exposure: 0, +step, -step, +2 step .. each after one more dose in e/A^2."""

    count: int
    step_deg: float = 3.0
    dose: float = 3.0
    layout: Layout = "warp"

    def __post_init__(self) -> None:
        if self.count < 2 or not 0 < self.step_deg <= 30 or self.dose <= 0:
            raise InvalidInput(
                "a tilt series", hint="give at least 2 tilts, a step up to 30 degrees and a dose above 0"
            )
        if np.abs(self.angles_deg).max() > 75:
            raise InvalidInput(
                f"tilts of up to {np.abs(self.angles_deg).max():g} degrees", hint="give fewer tilts or a smaller step"
            )

    @property
    def angles_deg(self) -> NDArray[np.float64]:
        """(T,)"""
        number = np.arange(self.count)
        signed = ((number + 1) // 2) * np.where(number % 2, 1, -1)
        return np.asarray(self.step_deg * signed, np.float64)


@dataclass(frozen=True)
class Tilted:
    """What the files say of the series: of P particles in tomograms of T tilts.

    tomogram (P,); x, y, z (tomograms, T) the stage's angles in degrees; angles_deg (P, 3) RELION's; origin (P, 3) and
    place (P, 3) in angstrom; defocus (tomograms, T, 2) u and v in angstrom, angle (tomograms,) radian
    """

    scheme: TiltScheme
    tomogram: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    angles_deg: NDArray[np.float64]
    origin: NDArray[np.float64]
    place: NDArray[np.float64]
    defocus: NDArray[np.float64]
    angle: NDArray[np.float64]

    @property
    def particle(self) -> NDArray[np.int64]:
        """(P T,) of each image, particle by particle."""
        return np.repeat(np.arange(len(self.tomogram)), self.scheme.count)

    @property
    def stage(self) -> NDArray[np.float64]:
        """(tomograms, T, 3, 3) what the stage turns."""
        return about(2, self.z) @ about(1, self.y) @ about(0, self.x)


def about(axis: int, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Active rotations (..., 3, 3) about x, y or z."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out = np.zeros((*degrees.shape, 3, 3))
    out[..., axis, axis] = 1
    out[..., i, i] = out[..., j, j] = c
    out[..., i, j], out[..., j, i] = -s, s
    return out
