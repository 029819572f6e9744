"""RELION STAR files, 3.0 (one table, origins in pixels) to 5 (optics groups, angstroms), as `Metadata`; cisTEM too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.bounds import ctf_checks, euler_check
from covaria.particles.columns import unknown_note, unknown_relion
from covaria.particles.metadata import (
    Grouping,
    Metadata,
    RowCheck,
    Shifts,
    codes_of,
    not_finite,
    of_images,
    whole_numbers,
    without_neutral,
)  # fmt: skip
from covaria.particles.rotations import matrices_from_euler
from covaria.particles.star import optics as optics_groups
from covaria.particles.star.cistem import POSITION, read_cistem
from covaria.particles.star.grammar import read_star
from covaria.particles.star.optics import Optics, applied, magnification, phases, read_optics
from covaria.particles.star.rows import half_sets, norm_gain
from covaria.particles.star.table import StarTable, shorten
from covaria.particles.star.tilts import EXPOSURE, PARTICLE, TiltSeries, refuse_tomography, tilt_series
from covaria.particles.star.tomograms import Tomograms, images_of

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
    "b_factor_angstrom2": "_rlnCtfBfactor",
    "scale": "_rlnCtfScalefactor",
}
IN_DEGREES = ("defocus_angle_rad", "phase_shift_rad")
NOT_SET = -999.0
IMAGE, MICROGRAPH, TUBE, SUBSET = "_rlnImageName", "_rlnMicrographName", "_rlnHelicalTubeID", "_rlnRandomSubset"
CLASS, NORM, PLACES = "_rlnClassNumber", "_rlnNormCorrection", ("_rlnCoordinateX", "_rlnCoordinateY")
COLUMNS = {
    **CTF_COLUMNS,
    "image": IMAGE,
    "shifts": " or ".join((", ".join(ORIGINS_ANGSTROM), ", ".join(ORIGINS_PIXEL))),
    "pixel_size_angstrom": optics_groups.PIXEL_SIZE,
    "odd_phase": ", ".join((*optics_groups.BEAM_TILT, optics_groups.ODD_ZERNIKE)),
    "even_phase": optics_groups.EVEN_ZERNIKE,
    "magnification": ", ".join(optics_groups.MAGNIFICATION_MATRIX),
    "box": optics_groups.BOX,
}
"""How the file calls our fields."""
TEXTS = (IMAGE, MICROGRAPH, PARTICLE)
NUMBERS = (
    *ANGLES, *ORIGINS_ANGSTROM, *ORIGINS_PIXEL, *CTF_COLUMNS.values(), *optics_groups.IN_PARTICLES, SUBSET, CLASS, NORM,
    EXPOSURE,
)  # fmt: skip
LOOKED_AT = 1 << 16
AGAIN = "correct it, or leave these rows out with --ind"


@dataclass(frozen=True)
class StarParticles:
    """The tables that matter in a particle STAR file."""

    particles: StarTable
    optics: StarTable | None


def find_tables(tables: list[StarTable], source: Path) -> StarParticles:
    """The particle table (with image names or cisTEM's places in a stack; data_particles or data_images first, else the
    largest) and data_optics."""
    optics = [table for table in tables if table.block.lower() == "optics"]
    if len(optics) > 1:
        raise InvalidInput("holds two data_optics tables", file=source, hint="keep one optics table")
    named = [table for table in tables if (IMAGE in table or POSITION in table) and table.block.lower() != "optics"]
    if not named:
        blocks = ", ".join(f"data_{table.block}" for table in tables) or "no table"
        raise InvalidInput(
            f"no table has the column (found: {blocks})", file=source, column=IMAGE, hint="give a particle STAR file"
        )
    preferred = [table for table in named if table.block.lower() in ("particles", "images")] or named
    table = preferred[0] if len(preferred) == 1 else max(preferred, key=len)
    return StarParticles(table, optics[0] if optics else None)


def read_relion(source: Path, roots: Roots = ANYWHERE, tomograms: Tomograms | None = None) -> Metadata:
    """A particle STAR file's metadata, of `tomograms` a row for each image. Raises InvalidInput."""
    tables = read_star(source, roots)
    found = find_tables(tables, source)
    table = found.particles
    if IMAGE not in table:
        return read_cistem(table, source)
    if tomograms is None:
        refuse_tomography(tables, table, source)
    faults: list[RowCheck] = []
    columns, file_row = _columns(table, faults, tomograms, source)
    count = len(columns[IMAGE])
    optics = read_optics(found.optics, columns, count, source)
    odd_phase, even_phase = phases(optics, source)
    stacks = _image_names(columns[IMAGE], source)
    rotations, shifts, pose_checks, pose_notes = _poses(columns, source)
    ctf = _ctf(columns, optics)
    tilts = tilt_series(columns, ctf, source) if file_row is None else TiltSeries(file_row, columns[EXPOSURE], ())
    half_set, half_checks = half_sets(columns.get(SUBSET), source, SUBSET)
    micrograph, micrograph_names = codes_of(columns[MICROGRAPH]) if MICROGRAPH in columns else (None, ())
    gain, gain_checks = norm_gain(columns.get(NORM), source, NORM)
    labels = [*table.labels, *(found.optics.labels if found.optics is not None else ())]
    return Metadata(
        source=source,
        count=count,
        boxes=optics.columns.get(optics_groups.BOX),
        pixel_sizes_angstrom=optics.pixel_sizes_angstrom,
        rotations=rotations,
        shifts=shifts,
        ctf=ctf,
        column_names=COLUMNS | {"rotations": ", ".join(label for label in ANGLES if label not in columns)},
        optics_group=optics.of_row,
        optics_names=optics.names,
        in_optics_groups=file_row is None and found.optics is not None and optics_groups.PIXEL_SIZE in found.optics,
        half_set=half_set,
        micrograph=micrograph,
        micrograph_names=micrograph_names,
        stack_names=stacks.names,
        stack_of_row=stacks.stack,
        image_of_row=stacks.image,
        unnumbered=stacks.unnumbered,
        gain=gain,
        class_of_row=_whole(columns.get(CLASS)),
        class_column=CLASS if CLASS in columns else "",
        objects=_filaments(columns.get(TUBE), micrograph),
        places_pixels=_places(columns),
        odd_phase=odd_phase,
        even_phase=even_phase,
        applied=applied(optics),
        dose=tilts.dose if tilts else None,
        particle=tilts.particle if tilts else None,
        magnification=magnification(optics),
        file_row=file_row,
        checks=of_images(file_row, faults, (
            *optics.checks, stacks.check, *pose_checks,
            *ctf_checks(ctf, source, CTF_COLUMNS, angles="degree"), *half_checks, *gain_checks,
            *(tilts.checks if tilts else ()),
        )),
        notes=(*optics.notes, *pose_notes, *unknown_note(unknown_relion(labels), source.name)),
    )  # fmt: skip


def _columns(
    table: StarTable, faults: list[RowCheck], tomograms: Tomograms | None, source: Path
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64] | None]:
    """The columns that are read, of `tomograms` a row for each image and the file's row of each."""
    columns = table.columns(_texts(table), _numbers(table), faults)
    if not len(columns[IMAGE]):
        raise InvalidInput("holds no particles", file=source, hint="the selection that wrote it was empty")
    return (columns, None) if tomograms is None else images_of(tomograms, table, columns, source)


def _texts(table: StarTable) -> list[str]:
    """The group names matter only where they may be those of particles that were tilted."""
    wanted = [label for label in TEXTS if label in table]
    weighed = EXPOSURE in table or all(CTF_COLUMNS[name] in table for name in ("b_factor_angstrom2", "scale"))
    if not weighed and b".tomostar" not in table.body[:LOOKED_AT]:
        wanted = [label for label in wanted if label != PARTICLE]
    return wanted


def _numbers(table: StarTable) -> list[str]:
    """Where particles lie matters only where half-sets have to be drawn."""
    wanted = (*NUMBERS, TUBE) if SUBSET in table else (*NUMBERS, TUBE, *PLACES)
    return list(dict.fromkeys(label for label in wanted if label in table))


@dataclass(frozen=True)
class ImageNames:
    """0-based place in the stack and stack of each row (-1 where the name makes no sense), and the stacks' names."""

    image: NDArray[np.int64]
    stack: NDArray[np.int64]
    names: tuple[str, ...]
    unnumbered: NDArray[np.bool_]
    check: RowCheck


def _image_names(names: NDArray[Any], source: Path) -> ImageNames:
    """`000001@stack.mrcs`, or the name of a file with one image."""
    seen: dict[str, int] = {}
    image = np.full(len(names), -1, dtype=np.int64)
    stack = np.full(len(names), -1, dtype=np.int64)
    unnumbered = np.zeros(len(names), dtype=bool)
    for row, name in enumerate(names):
        number, at, path = name.partition("@")
        if not at:
            number, path, unnumbered[row] = "1", name, True
        place = int(number) if number.isdigit() and number.isascii() and len(number) <= 12 else 0
        if place and path:
            image[row] = place - 1
            stack[row] = seen.setdefault(path, len(seen))
    check = RowCheck(
        stack < 0,
        source,
        IMAGE,
        lambda row: f"{shorten(names[row])!r} is not NUMBER@STACK with NUMBER from 1",
        "image numbers in STAR files count from 1",
    )
    return ImageNames(image, stack, tuple(seen), unnumbered, check)


def _poses(
    columns: dict[str, NDArray[Any]], source: Path
) -> tuple[NDArray[np.float64] | None, Shifts, list[RowCheck], list[str]]:
    checks: list[RowCheck] = []
    notes: list[str] = []
    rotations = None
    if all(label in columns for label in ANGLES):
        angles = np.stack([columns[label] for label in ANGLES], axis=1)
        rotations = matrices_from_euler(angles)
        checks.append(euler_check(angles, source, ANGLES))
    for label in ANGLES:
        if label in columns:
            hint = "align these particles first (Refine3D), or leave them out with --ind"
            found = "-999 is RELION's mark for 'not set'"
            checks.append(RowCheck(columns[label] == NOT_SET, source, label, found, hint, "poses"))
            checks.append(_finite_check(columns[label], source, label))
    for labels, unit in ((ORIGINS_ANGSTROM, "angstrom"), (ORIGINS_PIXEL, "pixel")):
        there = [label for label in labels if label in columns]
        if len(there) == 1:
            raise InvalidInput(
                f"{there[0]} is there without its other half",
                file=source,
                column=next(label for label in labels if label not in columns),
                hint="add the column, or remove both",
            )
        if there:
            checks += [_finite_check(columns[label], source, label) for label in labels]
            shifts = Shifts(np.stack([columns[label] for label in labels], axis=1), unit)  # type: ignore[arg-type]
            return rotations, shifts, checks, notes
    if rotations is not None:
        notes.append("no origins in the file: particles are taken as centred, as RELION does")
    return rotations, Shifts(np.zeros((len(columns[IMAGE]), 2)), "pixel"), checks, notes


def _ctf(columns: dict[str, NDArray[Any]], optics: Optics) -> dict[str, NDArray[np.float64]]:
    ctf: dict[str, NDArray[np.float64]] = {}
    for name, label in CTF_COLUMNS.items():
        values = optics.columns.get(label, columns.get(label))
        if values is not None:
            ctf[name] = np.deg2rad(values) if name in IN_DEGREES else values
    return without_neutral(ctf)


def _filaments(tube: NDArray[np.float64] | None, micrograph: NDArray[np.int64] | None) -> tuple[Grouping, ...]:
    """One code for each helical tube of each micrograph."""
    if tube is None:
        return ()
    keys = np.stack([np.zeros(len(tube)) if micrograph is None else micrograph, np.nan_to_num(tube, nan=-1.0)], axis=1)
    return (Grouping("helical tubes", np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)),)


def _places(columns: dict[str, NDArray[Any]]) -> NDArray[np.float64] | None:
    if not all(label in columns for label in PLACES):
        return None
    return np.stack([columns[label] for label in PLACES], axis=1)


def _whole(values: NDArray[np.float64] | None) -> NDArray[np.int64] | None:
    return None if values is None else whole_numbers(values)


def _finite_check(values: NDArray[np.float64], source: Path, label: str) -> RowCheck:
    return RowCheck(not_finite(values), source, label, "the value is not finite", AGAIN, "poses")
