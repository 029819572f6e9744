"""Values that no microscope has: what each quantity can be, and which unit a value outside was probably written in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from covaria.particles.metadata import RowCheck, not_finite

TURN = 2 * np.pi
MANY = 10
"""So many rows tell radians from small angles."""
ASTIGMATIC = 50.0
"""Angstrom; below, the angle of astigmatism hardly matters."""
METRES = (2.7e-3, 2.62e-3, 2.26e-3)
"""The Cs of common microscopes in metres; in millimetres nobody has these."""
Values = NDArray[np.float64]
Bad = NDArray[np.bool_]


@dataclass(frozen=True)
class Bound:
    """lowest <= value <= highest, and what to say otherwise."""

    lowest: float
    highest: float
    unit: str
    hint: str


CTF = {
    "voltage_kv": Bound(
        30, 3000, "kV", "an acceleration voltage is 60 to 1000 kV; a value in volts is divided by 1000"
    ),
    "spherical_aberration_mm": Bound(
        0, 20, "mm", "Cs is 0 to 10 mm; a value in micrometres is divided by 1000, one in angstrom by 10^7"
    ),
    "amplitude_contrast": Bound(
        0, 1, "", "amplitude contrast is a fraction, about 0.07 to 0.1; a value in percent is divided by 100"
    ),
    "b_factor_angstrom2": Bound(-500, 5000, "A^2", "correct the B-factor"),
}
UNDERFOCUS = Bound(100, 200_000, "A", "")
RADIANS = {"defocus_angle_rad": 2 * TURN, "phase_shift_rad": TURN}
"""The largest angle, where a file says radians; degrees are larger."""
PIXEL_SIZE = Bound(0.1, 200, "A", "a pixel size is given in angstrom; a value in nanometre is multiplied by 10")


def ctf_checks(
    ctf: dict[str, Values], source: Path, names: dict[str, str], *, angles: Literal["degree", "radian"]
) -> list[RowCheck]:
    """Checks of CTF columns (our units) that a file calls `names` and whose angles it writes in `angles`."""
    checks = [
        RowCheck(not_finite(values), source, names.get(name, name), "the value is not finite",
                 "correct it, or leave these rows out with --ind", "ctf")
        for name, values in ctf.items()
    ]  # fmt: skip
    for name, bound in CTF.items():
        if name in ctf:
            checks.append(outside(ctf[name], bound, source, names.get(name, name), "ctf"))
    checks += _defocus_checks(ctf, source, names)
    cs = ctf.get("spherical_aberration_mm")
    if cs is not None:
        metres = np.asarray(np.isclose(cs[:, None], METRES, rtol=1e-6).any(axis=1))
        checks.append(_check(metres, cs, source, names.get("spherical_aberration_mm", "Cs"), "mm",
                             "this looks like metres: multiply by 1000", "ctf"))  # fmt: skip
    if "scale" in ctf:
        wrong: Bad = ~(ctf["scale"] > 0)
        checks.append(_check(wrong, ctf["scale"], source, names.get("scale", "scale"), "",
                             "a scale must be positive", "ctf"))  # fmt: skip
    if angles == "degree":
        checks += _written_in_radians(ctf, source, names)
    for name, largest in RADIANS.items():
        if angles == "radian" and name in ctf:
            checks.append(_check(np.abs(ctf[name]) > largest * 1.01, ctf[name], source, names.get(name, name), "radian",
                                 "this column is in radians; these look like degrees", "ctf"))  # fmt: skip
    return checks


def _written_in_radians(ctf: dict[str, Values], source: Path, names: dict[str, str]) -> list[RowCheck]:
    """Every row, where a column said to be degrees lies within one turn of radians although it varies, or is a phase
    plate's. A turn more means the same angle and is let pass.
    """
    checks = []
    angle, phase = ctf.get("defocus_angle_rad"), ctf.get("phase_shift_rad")
    if angle is not None and {"defocus_u_angstrom", "defocus_v_angstrom"} <= set(ctf):
        as_written = np.rad2deg(angle[np.isfinite(angle)])
        astigmatism = np.abs(ctf["defocus_u_angstrom"] - ctf["defocus_v_angstrom"])
        small = len(as_written) >= MANY and bool(np.all(np.abs(as_written) <= TURN * 1.001))
        varied = small and float(np.ptp(as_written)) > np.pi / 2 and len(np.unique(as_written)) >= MANY
        if varied and float(np.nanmedian(astigmatism)) > ASTIGMATIC:
            checks.append(_all_rows(len(angle), source, names.get("defocus_angle_rad", "defocus angle"), "180"))
    if phase is not None:
        as_written = np.rad2deg(phase[np.isfinite(phase)])
        small = len(as_written) >= MANY and bool(np.all(np.abs(as_written) <= np.pi * 1.001))
        if small and float(np.median(np.abs(as_written))) > 0.2:
            checks.append(_all_rows(len(phase), source, names.get("phase_shift_rad", "phase shift"), "360"))
    return checks


def _all_rows(count: int, source: Path, column: str, turn: str) -> RowCheck:
    found = f"all {count} rows lie within 6.3"
    hint = f"angles here are in degrees; these look like radians: multiply by 180/pi (if they are right, add {turn})"
    return RowCheck(np.ones(count, dtype=bool), source, column, found, hint, "ctf")


def _defocus_checks(ctf: dict[str, Values], source: Path, names: dict[str, str]) -> list[RowCheck]:
    """Underfocus is positive and some hundred angstrom at least; 0 belongs to a phase plate, or to no CTF at all."""
    checks = []
    in_focus = np.zeros(len(next(iter(ctf.values()))) if ctf else 0, dtype=bool)
    if "phase_shift_rad" in ctf:
        in_focus |= ctf["phase_shift_rad"] != 0
    if "amplitude_contrast" in ctf:
        in_focus |= ctf["amplitude_contrast"] == 1
    for name in ("defocus_u_angstrom", "defocus_v_angstrom"):
        values = ctf.get(name)
        if values is None:
            continue
        column = names.get(name, name)
        small = (np.abs(values) < UNDERFOCUS.lowest) & ~in_focus
        cases = (
            (values <= -UNDERFOCUS.lowest, "underfocus is positive, as in RELION and cryoSPARC: change the sign"),
            (
                small,
                "defocus is given in angstrom; a value in micrometres is multiplied by 10000; images without a CTF "
                "take --no-ctf",
            ),
            (values > UNDERFOCUS.highest, "defocus is given in angstrom"),
        )
        checks += [_check(bad, values, source, column, "A", hint, "ctf") for bad, hint in cases]
    return checks


def euler_check(angles: Values, source: Path, columns: tuple[str, str, str]) -> RowCheck:
    """Every row, where all three angles (N, 3), said to be degrees, lie within one turn of radians and differ."""
    finite = angles[np.isfinite(angles).all(axis=1)]
    radians = (
        len(finite) >= MANY
        and bool(np.all(np.abs(finite) <= TURN * 1.001))
        and len(np.unique(finite[:, 2])) >= MANY
        and float(np.ptp(finite[:, 2])) > np.pi / 2
        and float(np.abs(finite[:, 1]).max()) > 0.5
    )
    found = f"all {len(angles)} rows have rot, tilt and psi within 6.3"
    hint = "angles are in degrees; these look like radians: multiply by 180/pi"
    return RowCheck(np.full(len(angles), radians), source, columns[0], found, hint, "poses")


def rotation_vector_check(vectors: Values, source: Path, column: str) -> RowCheck:
    """Rows whose rotation vector (N, 3) is longer than a turn of 2 pi: degrees."""
    length = np.linalg.norm(vectors, axis=1)
    hint = "a pose here is an axis times an angle in radians, at most 2 pi long; these look like degrees"
    return _check(length > TURN * 1.01, length, source, column, "long", hint, "poses")


def outside(
    values: Values, bound: Bound, source: Path, column: str, about: Literal["poses", "ctf", "image"] = "image"
) -> RowCheck:
    """The rows whose value lies outside `bound`."""
    bad = (values < bound.lowest) | (values > bound.highest)
    return _check(bad, values, source, column, bound.unit, bound.hint, about)


def _check(
    bad: Bad, values: Values, source: Path, column: str, unit: str, hint: str, about: Literal["poses", "ctf", "image"]
) -> RowCheck:
    return RowCheck(
        bad, source, column, lambda row: f"{f'{values[row]:g} {unit}'.strip()}: no microscope has this", hint, about
    )
