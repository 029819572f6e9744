"""What is possible and still unlikely: values that a person should look at before a run. Nothing is refused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from covaria.particles.metadata import Metadata

VOLTAGES_KV = (80, 100, 120, 200, 300)
CS_MM = (0.001, 0.01, 0.1, 1.2, 1.3, 1.4, 2.0, 2.26, 2.62, 2.7)
"""Of microscopes that are in use; the first three with a corrector."""
DEFOCUS_ANGSTROM = (2_000.0, 50_000.0)
ASTIGMATISM = 0.2
"""Of the defocus."""
AMPLITUDE_CONTRAST = (0.04, 0.2)
UNEVEN = 1.5
"""Ratio of the half-sets' sizes."""
LEAST_IMAGES = 10
RARE = 0.01

Values = NDArray[np.float64]


def doubts(metadata: Metadata, used: NDArray[np.bool_], *, no_ctf: bool = False) -> list[str]:
    """What looks wrong about the rows in use, a sentence each."""
    found = [] if no_ctf else [*_of_ctf({name: values[used] for name, values in metadata.ctf.items()})]
    if metadata.half_set is not None:
        found += _of_half_sets([int(np.sum(metadata.half_set[used] == half)) for half in (0, 1)])
    return found


def _of_ctf(ctf: dict[str, Values]) -> Iterator[str]:
    for name, common, unit, what in (
        ("voltage_kv", VOLTAGES_KV, "kV", "voltage"),
        ("spherical_aberration_mm", CS_MM, "mm", "Cs"),
    ):
        for value in np.unique(ctf.get(name, np.zeros(0)))[:4]:
            if not np.isclose(value, common, rtol=0.01).any():
                yield f"{what} {value:g} {unit} is that of no common microscope ({', '.join(map(str, common))})"
    contrast = ctf.get("amplitude_contrast", np.zeros(0))
    if len(contrast) and not AMPLITUDE_CONTRAST[0] <= np.median(contrast) <= AMPLITUDE_CONTRAST[1]:
        yield f"amplitude contrast {np.median(contrast):g}: 0.07 to 0.1 is usual"
    yield from _of_defocus(ctf)
    yield from _of_phase_shift(np.rad2deg(ctf.get("phase_shift_rad", np.zeros(0))))


def _of_defocus(ctf: dict[str, Values]) -> Iterator[str]:
    if not {"defocus_u_angstrom", "defocus_v_angstrom"} <= ctf.keys():
        return
    first, second = ctf["defocus_u_angstrom"], ctf["defocus_v_angstrom"]
    mean = (first + second) / 2
    low, high = DEFOCUS_ANGSTROM
    outside = int(np.sum((mean < low) | (mean > high)))
    if outside > RARE * len(mean):
        yield f"defocus outside {low / 1e4:g} to {high / 1e4:g} micrometres in {outside:,} particles"
    if len(mean) > 100 and np.ptp(mean) == 0:
        yield f"one defocus, {mean[0]:g} angstrom, for all particles: was the CTF estimated?"
    stretched = int(np.sum(np.abs(first - second) > ASTIGMATISM * np.abs(mean)))
    if stretched > RARE * len(mean):
        yield f"astigmatism above {100 * ASTIGMATISM:.0f} % of the defocus in {stretched:,} particles"


def _of_phase_shift(degrees: Values) -> Iterator[str]:
    shifted = int(np.sum(degrees != 0))
    if 0 < shifted < len(degrees):
        without = len(degrees) - shifted
        yield f"a phase shift in {shifted:,} particles and none in {without:,}: sets with and without a plate"
    elif shifted and np.median(np.abs(degrees)) < 10:
        yield f"phase shifts of {np.median(degrees):.3g} degrees in the median: a phase plate gives 30 to 150"


def _of_half_sets(sizes: list[int]) -> Iterator[str]:
    smaller = 1 + int(np.argmin(sizes))
    if min(sizes) == 0 and max(sizes) > 0:
        yield f"half-set {smaller} is empty: the halves will be drawn at random instead"
    elif 0 < min(sizes) < LEAST_IMAGES:
        yield f"half-set {smaller} has {min(sizes)} particles, {LEAST_IMAGES} are needed: give --halfsets"
    elif max(sizes) > UNEVEN * min(sizes) > 0:
        yield f"half-sets of {sizes[0]:,} and {sizes[1]:,} particles: the smaller one limits what is confirmed"
