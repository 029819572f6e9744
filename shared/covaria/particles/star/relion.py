"""RELION STAR files, 3.0 (one table, origins in pixels) to 5 (optics groups, angstroms), as `Metadata`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.metadata import Metadata, RowCheck, Shifts, codes_of, not_finite
from covaria.particles.rotations import matrices_from_euler
from covaria.particles.star.grammar import read_star
from covaria.particles.star.optics import Optics, read_optics, refuse_processed_images
from covaria.particles.star.table import StarTable, shorten

ANGLES = ("_rlnAngleRot", "_rlnAngleTilt", "_rlnAnglePsi")
ORIGINS_ANGSTROM = ("_rlnOriginXAngst", "_rlnOriginYAngst")
ORIGINS_PIXEL = ("_rlnOriginX", "_rlnOriginY")
CTF_COLUMNS = {
    "defocus_u_angstrom": "_rlnDefocusU",
    "defocus_v_angstrom": "_rlnDefocusV",
    "defocus_angle_rad": "_rlnDefocusAngle",
    "voltage_kv": "_rlnVoltage",
    "spherical_aberration_mm": "_rlnSphericalAberration",
    "amplitude_contrast": "_rlnAmplitudeContrast",
    "phase_shift_rad": "_rlnPhaseShift",
}
IN_DEGREES = ("defocus_angle_rad", "phase_shift_rad")
NOT_SET = -999.0
TEXTS = ("_rlnImageName", "_rlnMicrographName")
PER_PARTICLE_PIXEL = ("_rlnImagePixelSize", "_rlnDetectorPixelSize", "_rlnMagnification", "_rlnImageSize")


@dataclass(frozen=True)
class StarParticles:
    """The tables that matter in a particle STAR file."""

    particles: StarTable
    optics: StarTable | None


def find_tables(tables: list[StarTable], source: Path) -> StarParticles:
    """The particle table (with image names; data_particles or data_images first, else the largest) and data_optics."""
    optics = [table for table in tables if table.block.lower() == "optics"]
    if len(optics) > 1:
        raise InvalidInput("holds two data_optics tables", file=source, hint="keep one optics table")
    named = [table for table in tables if "_rlnImageName" in table and table.block.lower() != "optics"]
    if not named:
        blocks = ", ".join(f"data_{table.block}" for table in tables) or "no table"
        raise InvalidInput(
            f"no table has the column (found: {blocks})",
            file=source,
            column="_rlnImageName",
            hint="give a particle STAR file",
        )
    preferred = [table for table in named if table.block.lower() in ("particles", "images")] or named
    table = preferred[0] if len(preferred) == 1 else max(preferred, key=len)
    return StarParticles(table, optics[0] if optics else None)


def read_relion(path: Path, *, source: Path | None = None) -> Metadata:
    """A particle STAR file's metadata. `source` is the name used in messages. Raises InvalidInput."""
    source = source or path
    found = find_tables(read_star(path), source)
    table = found.particles
    numbers = [
        label
        for label in (*ANGLES, *ORIGINS_ANGSTROM, *ORIGINS_PIXEL, *CTF_COLUMNS.values(), *PER_PARTICLE_PIXEL)
        if label in table
    ]
    numbers += [
        label for label in ("_rlnOpticsGroup", "_rlnRandomSubset", "_rlnBeamTiltX", "_rlnBeamTiltY") if label in table
    ]
    flags = [label for label in ("_rlnCtfDataAreCtfPremultiplied", "_rlnCtfDataArePhaseFlipped") if label in table]
    columns = table.columns([label for label in TEXTS if label in table], numbers + flags)
    count = len(columns["_rlnImageName"])
    if count == 0:
        raise InvalidInput("holds no particles", file=source, hint="the selection that wrote it was empty")
    refuse_processed_images({label: columns[label] for label in flags}, source)
    optics = read_optics(found.optics, columns, count, source)
    stacks = _image_names(columns["_rlnImageName"], source)
    rotations, shifts, checks = _poses(columns, source)
    ctf, ctf_checks, ctf_notes = _ctf(columns, optics, source)
    half_set, half_checks = _half_sets(columns.get("_rlnRandomSubset"), source)
    micrograph: NDArray[np.int64] | None = None
    micrograph_names: tuple[str, ...] = ()
    if "_rlnMicrographName" in columns:
        micrograph, micrograph_names = codes_of(columns["_rlnMicrographName"])
    return Metadata(
        source=source,
        count=count,
        box=optics.box,
        pixel_size_angstrom=optics.pixel_size_angstrom,
        rotations=rotations,
        shifts=shifts,
        ctf=ctf,
        column_names={
            **CTF_COLUMNS,
            "rotations": ", ".join(label for label in ANGLES if label not in columns),
            "shifts": " or ".join((", ".join(ORIGINS_ANGSTROM), ", ".join(ORIGINS_PIXEL))),
            "pixel_size_angstrom": "_rlnImagePixelSize",
            "box": "_rlnImageSize",
        },
        optics_group=optics.of_row,
        optics_names=optics.names,
        in_optics_groups=found.optics is not None and "_rlnImagePixelSize" in found.optics,
        half_set=half_set,
        micrograph=micrograph,
        micrograph_names=micrograph_names,
        stack_names=stacks[2],
        stack_of_row=stacks[1],
        image_of_row=stacks[0],
        checks=(*checks, *ctf_checks, *half_checks),
        notes=(*optics.notes, *ctf_notes, *_beam_tilt_note(columns)),
    )


def _image_names(names: NDArray[Any], source: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """`000001@stack.mrcs` -> 0-based places, stack codes, stack names. Without @ the first image is meant."""
    seen: dict[str, int] = {}
    index = np.empty(len(names), dtype=np.int64)
    stack = np.empty(len(names), dtype=np.int64)
    for row, name in enumerate(names):
        number, at, path = name.partition("@")
        if not at:
            number, path = "1", name
        if not (number.isascii() and number.isdigit() and len(number) <= 12) or int(number) < 1 or not path:
            raise InvalidInput(
                f"{shorten(name)!r} is not NUMBER@STACK with NUMBER from 1",
                file=source,
                row=row + 1,
                column="_rlnImageName",
                hint="image numbers in STAR files count from 1",
            )
        index[row] = int(number) - 1
        stack[row] = seen.setdefault(path, len(seen))
    return index, stack, tuple(seen)


def _poses(
    columns: dict[str, NDArray[Any]], source: Path
) -> tuple[NDArray[np.float64] | None, Shifts | None, list[RowCheck]]:
    checks = []
    rotations = None
    if all(label in columns for label in ANGLES):
        rotations = matrices_from_euler(np.stack([columns[label] for label in ANGLES], axis=1))
    for label in ANGLES:
        if label in columns:
            hint = "align these particles first (Refine3D), or leave them out with --ind"
            checks.append(
                RowCheck(columns[label] == NOT_SET, source, label, "-999 is RELION's mark for 'not set'", hint)
            )
            checks.append(_finite_check(columns[label], source, label))
    shifts = None
    for labels, unit in ((ORIGINS_ANGSTROM, "angstrom"), (ORIGINS_PIXEL, "pixel")):
        if shifts is None and all(label in columns for label in labels):
            shifts = Shifts(np.stack([columns[label] for label in labels], axis=1), unit)  # type: ignore[arg-type]
            checks += [_finite_check(columns[label], source, label) for label in labels]
    return rotations, shifts, checks


def _ctf(
    columns: dict[str, NDArray[Any]], optics: Optics, source: Path
) -> tuple[dict[str, NDArray[np.float64]], list[RowCheck], list[str]]:
    ctf: dict[str, NDArray[np.float64]] = {}
    checks, notes = [], []
    for name, label in CTF_COLUMNS.items():
        values = columns.get(label)
        if label in optics.columns:
            from_optics = optics.columns[label]
            if values is not None and not np.allclose(values, from_optics, rtol=1e-3, atol=1e-9, equal_nan=True):
                notes.append(
                    f"{label} differs between data_optics and the particles; data_optics is used, as RELION does"
                )
            values = from_optics
        if values is None:
            continue
        checks.append(_finite_check(values, source, label))
        ctf[name] = np.deg2rad(values) if name in IN_DEGREES else values
    return ctf, checks, notes


def _half_sets(subset: NDArray[np.float64] | None, source: Path) -> tuple[NDArray[np.int8] | None, list[RowCheck]]:
    if subset is None:
        return None, []
    known = (subset == 1) | (subset == 2)
    check = RowCheck(
        ~known,
        source,
        "_rlnRandomSubset",
        "a half-set is neither 1 nor 2",
        "correct it, remove the column, or give --halfsets",
    )
    return np.where(known, subset - 1, -1).astype(np.int8), [check]


def _finite_check(values: NDArray[np.float64], source: Path, label: str) -> RowCheck:
    return RowCheck(
        not_finite(values), source, label, "the value is not finite", "correct it, or leave these rows out with --ind"
    )


def _beam_tilt_note(columns: dict[str, NDArray[Any]]) -> list[str]:
    tilted = [label for label in ("_rlnBeamTiltX", "_rlnBeamTiltY") if label in columns and np.any(columns[label] != 0)]
    return [f"beam tilt ({', '.join(tilted)}) is not modelled and was ignored"] if tilted else []
