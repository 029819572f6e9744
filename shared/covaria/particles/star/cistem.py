"""cisTEM's particle STAR files: an image is a place in a stack, shifts in angstrom bring it back to the centre.

Labels, units and signs are those of cisTEM's own export to RELION: rot, tilt, psi = phi, theta, psi; an origin is minus
the shift; a phase shift is in radians.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.bounds import ctf_checks, euler_check
from covaria.particles.metadata import Metadata, RowCheck, Shifts, codes_of, not_finite
from covaria.particles.rotations import matrices_from_euler
from covaria.particles.star.rows import half_sets
from covaria.particles.star.table import StarTable

POSITION = "_cisTEMPositionInStack"
STACK, MICROGRAPH, SUBSET = "_cisTEMStackFilename", "_cisTEMOriginalImageFilename", "_cisTEMAssignedSubset"
ANGLES = ("_cisTEMAnglePhi", "_cisTEMAngleTheta", "_cisTEMAnglePsi")
"""Rot, tilt and psi, degrees."""
SHIFTS = ("_cisTEMXShift", "_cisTEMYShift")
CTF_COLUMNS = {
    "defocus_u_angstrom": "_cisTEMDefocus1",
    "defocus_v_angstrom": "_cisTEMDefocus2",
    "defocus_angle_rad": "_cisTEMDefocusAngle",
    "voltage_kv": "_cisTEMMicroscopeVoltagekV",
    "spherical_aberration_mm": "_cisTEMMicroscopeCsMM",
    "amplitude_contrast": "_cisTEMAmplitudeContrast",
    "phase_shift_rad": "_cisTEMPhaseShift",
}
PIXEL_SIZE, OCCUPANCY, ACTIVE = "_cisTEMPixelSize", "_cisTEMOccupancy", "_cisTEMImageActivity"
BEAM_TILT = ("_cisTEMBeamTiltX", "_cisTEMBeamTiltY")
NUMBERS = (POSITION, *ANGLES, *SHIFTS, *CTF_COLUMNS.values(), PIXEL_SIZE, OCCUPANCY, ACTIVE, SUBSET, *BEAM_TILT)
MOST_IMAGES = 1e12
HALF = 50.0
"""Per cent of an occupancy."""
AGAIN = "correct it, or leave these rows out with --ind"


def read_cistem(table: StarTable, source: Path) -> Metadata:
    """The metadata of one table. Raises InvalidInput.

    Where it names no stack, the images are those of the .mrc or .mrcs file of the same name beside it.
    """
    faults: list[RowCheck] = []
    columns = table.columns(
        [label for label in (STACK, MICROGRAPH) if label in table],
        [label for label in NUMBERS if label in table],
        faults,
    )
    count = len(columns[POSITION])
    if not count:
        raise InvalidInput("holds no particles", file=source, hint="the selection that wrote it was empty")
    stacks = columns.get(STACK, np.full(count, source.with_suffix(".mrc").name, dtype=object))
    stack, names = codes_of(stacks)
    micrograph, micrograph_names = codes_of(columns[MICROGRAPH]) if MICROGRAPH in columns else (None, ())
    rotations, shifts, poses = _poses(columns, source)
    ctf = {name: columns[label] for name, label in CTF_COLUMNS.items() if label in columns}
    if "defocus_angle_rad" in ctf:
        ctf["defocus_angle_rad"] = np.deg2rad(ctf["defocus_angle_rad"])
    subset = columns.get(SUBSET)
    half_set, halves = half_sets(None if subset is None or not subset.any() else subset, source, SUBSET)
    return Metadata(
        source=source,
        count=count,
        pixel_sizes_angstrom=columns.get(PIXEL_SIZE),
        rotations=rotations,
        shifts=shifts,
        ctf=ctf,
        column_names=CTF_COLUMNS | {
            "rotations": ", ".join(label for label in ANGLES if label not in columns),
            "shifts": ", ".join(SHIFTS), "pixel_size_angstrom": PIXEL_SIZE, "image": POSITION,
        },
        optics_group=np.zeros(count, dtype=np.int64),
        optics_names=("1",),
        half_set=half_set,
        micrograph=micrograph,
        micrograph_names=micrograph_names,
        stack_names=names,
        stack_of_row=stack,
        image_of_row=_places(columns[POSITION]),
        unnumbered=np.zeros(count, dtype=bool),
        checks=(
            *faults, _position_check(columns[POSITION], source), *poses,
            *ctf_checks(ctf, source, CTF_COLUMNS, angles="degree"), *halves, *_tilt_checks(columns, source),
        ),
        notes=_notes(table, columns, source),
    )  # fmt: skip


def _poses(
    columns: dict[str, NDArray[Any]], source: Path
) -> tuple[NDArray[np.float64] | None, Shifts | None, list[RowCheck]]:
    checks = [
        RowCheck(not_finite(columns[label]), source, label, "the value is not finite", AGAIN, "poses")
        for label in (*ANGLES, *SHIFTS)
        if label in columns
    ]
    rotations = shifts = None
    if all(label in columns for label in ANGLES):
        angles = np.stack([columns[label] for label in ANGLES], axis=1)
        rotations = matrices_from_euler(angles)
        checks.append(euler_check(angles, source, ANGLES))
    if all(label in columns for label in SHIFTS):
        shifts = Shifts(-np.stack([columns[label] for label in SHIFTS], axis=1), "angstrom")
    return rotations, shifts, checks


def _places(position: NDArray[np.float64]) -> NDArray[np.int64]:
    """From 0; -1 where the position makes no sense."""
    with np.errstate(invalid="ignore"):
        return np.where(_sensible(position), position - 1, -1).astype(np.int64)


def _sensible(position: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((position >= 1) & (position < MOST_IMAGES) & (position == np.floor(position)))


def _position_check(position: NDArray[np.float64], source: Path) -> RowCheck:
    return RowCheck(
        ~_sensible(position), source, POSITION, lambda row: f"{position[row]:g} is no place in a stack",
        "places count from 1",
    )  # fmt: skip


def _tilt_checks(columns: dict[str, NDArray[Any]], source: Path) -> list[RowCheck]:
    return [
        RowCheck(columns[label] != 0, source, label, "a beam tilt, which is not read from cisTEM's files",
                 "export the package to RELION, or correct the column to 0", "ctf")
        for label in BEAM_TILT
        if label in columns
    ]  # fmt: skip


def _notes(table: StarTable, columns: dict[str, NDArray[Any]], source: Path) -> tuple[str, ...]:
    notes = []
    if STACK not in table:
        notes.append(f"{source.name} names no stack: the images are those of {source.stem}.mrc")
    inactive = int((columns[ACTIVE] < 0).sum()) if ACTIVE in columns else 0
    if inactive:
        notes.append(f"{inactive} rows are not active in cisTEM ({ACTIVE} below 0) and are used: --ind leaves them out")
    elsewhere = int((columns[OCCUPANCY] < HALF).sum()) if OCCUPANCY in columns else 0
    if elsewhere:
        notes.append(
            f"{elsewhere} rows have an occupancy below {HALF:g} and may belong to another class: --ind leaves them out"
        )
    return tuple(notes)
