"""RELION 5's particles of tomograms, a stack of their visible tilts each, as one row for each image.

    pose      A_tilt A_subtomogram A(rot, tilt, psi),   A_tilt = Rz(ZRot) Ry(YTilt) Rx(XTilt)
    origin    (A_tilt A_subtomogram origin), its x and y
    defocus   that of the tilt + hand x depth, depth = z of A_tilt position
    damping   exp(-dose / (2 Nc)), or exp(-B s^2 / 4) with B = rlnCtfBfactorPerElectronDose x dose
(RELION 5, src/exp_model.cpp and src/jaz/tomography/tomogram.cpp, in words. Rotations are active, positions in angstrom
from the tomogram's centre.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput, MissingFile
from covaria.opening import ANYWHERE, Roots
from covaria.particles.paths import ImagePathResolver
from covaria.particles.rotations import euler_from_matrices, matrices_from_euler
from covaria.particles.star.grammar import read_star
from covaria.particles.star.table import StarTable

NAME, VISIBLE, IMAGE, PARTICLE = "_rlnTomoName", "_rlnTomoVisibleFrames", "_rlnImageName", "_rlnTomoParticleName"
PLACE = tuple(f"_rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
ORIGIN = tuple(f"_rlnOrigin{axis}Angst" for axis in "XYZ")
ANGLES = ("_rlnAngleRot", "_rlnAngleTilt", "_rlnAnglePsi")
SUBTOMOGRAM = tuple(f"_rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi"))
SERIES, HAND, B_PER_DOSE = "_rlnTomoTiltSeriesStarFile", "_rlnTomoHand", "_rlnCtfBfactorPerElectronDose"
TILT = ("_rlnTomoXTilt", "_rlnTomoYTilt", "_rlnTomoZRot")
DEFOCUS = ("_rlnDefocusU", "_rlnDefocusV", "_rlnDefocusAngle")
DOSE, SCALE, B_FACTOR = "_rlnMicrographPreExposure", "_rlnCtfScalefactor", "_rlnCtfBfactor"

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class TiltImages:
    """One tomogram's tilts (T): rotations (T, 3, 3), and the columns of `DEFOCUS`, `DOSE`, `SCALE` (T,) each."""

    rotations: Numbers
    columns: dict[str, Numbers]
    hand: float
    b_factor_per_dose: float


@dataclass(frozen=True)
class Tomograms:
    """What tomograms.star says of each tomogram, by name."""

    source: Path
    tilts: dict[str, TiltImages]


def read_tomograms(path: Path, roots: Roots = ANYWHERE) -> Tomograms:
    """tomograms.star and the files of its tilt series. Raises InvalidInput, MissingFile."""
    tables = [table for table in read_star(path, roots) if NAME in table and SERIES in table]
    if not tables:
        raise InvalidInput("no table names tilt series", file=path, column=SERIES, hint="give RELION's tomograms.star")
    table = tables[0]
    _require(table, (HAND,), path)
    numbers = [label for label in (HAND, B_PER_DOSE) if label in table]
    columns = table.columns([NAME, SERIES], numbers)
    resolver = ImagePathResolver(path.absolute().parent, None, None, roots)
    tilts = {}
    for row, (name, file) in enumerate(zip(columns[NAME], columns[SERIES], strict=True)):
        found = resolver.find(str(file))
        if found is None:
            raise MissingFile(f"{file} is not there", file=path, row=row + 1, column=SERIES,
                              hint="keep tomograms.star in its project's folder")  # fmt: skip
        per_dose = float(columns[B_PER_DOSE][row]) if B_PER_DOSE in columns else 0.0
        tilts[str(name)] = _tilt_images(found, float(columns[HAND][row]), per_dose, roots)
    return Tomograms(path, tilts)


def _tilt_images(path: Path, hand: float, b_factor_per_dose: float, roots: Roots) -> TiltImages:
    tables = [table for table in read_star(path, roots) if TILT[1] in table]
    if not tables:
        raise InvalidInput("no table has the tilts' angles", file=path, column=TILT[1],
                           hint="give tilt series that RELION 5 has aligned")  # fmt: skip
    table = tables[0]
    _require(table, (*TILT[1:], *DEFOCUS, DOSE), path)
    columns = table.columns([], [label for label in (*TILT, *DEFOCUS, DOSE, SCALE) if label in table])
    for label, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values) | ((values < 0) & (label == DOSE)))
        if len(bad):
            raise InvalidInput(f"{values[bad[0]]:g}", file=path, row=int(bad[0]) + 1, column=label, hint="correct it")
    x, y, z = (columns.get(label, np.zeros(len(columns[DOSE]))) for label in TILT)
    kept = {label: columns.get(label, np.ones(len(y))) for label in (*DEFOCUS, DOSE, SCALE)}
    return TiltImages(about(2, z) @ about(1, y) @ about(0, x), kept, hand, b_factor_per_dose)


def about(axis: int, degrees: Numbers) -> Numbers:
    """Active rotations (n, 3, 3) about x, y or z."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out = np.zeros((len(c), 3, 3))
    out[:, axis, axis] = 1
    out[:, i, i] = out[:, j, j] = c
    out[:, i, j], out[:, j, i] = -s, s
    return out


def images_of(
    tomograms: Tomograms, table: StarTable, columns: dict[str, NDArray[Any]], source: Path
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """The particles' columns (P) as those of their images (N), and the particle's row of each image.

    Raises InvalidInput for a particle whose tomogram, place or visible tilts make no sense.
    """
    _require(table, (NAME, VISIBLE, *PLACE, *ANGLES), source)
    texts = table.columns([NAME, VISIBLE], [label for label in (*PLACE, *SUBTOMOGRAM, *ORIGIN) if label in table])
    names = texts[NAME]
    frames = [_visible(str(text), row, source) for row, text in enumerate(texts[VISIBLE])]
    for row, (name, seen) in enumerate(zip(names, frames, strict=True)):
        tilts = tomograms.tilts.get(str(name))
        if tilts is None or len(seen) != len(tilts.rotations) or not seen.any():
            found = (
                f"tomogram {name} is not in {tomograms.source.name}" if tilts is None
                else f"{len(seen)} frames, {int(seen.sum())} of them visible; {name} has {len(tilts.rotations)} tilts"
            )  # fmt: skip
            raise InvalidInput(found, file=source, row=row + 1, column=NAME if tilts is None else VISIBLE,
                               hint="give the tomograms.star of these particles")  # fmt: skip
    file_row = np.repeat(np.arange(len(names)), [int(seen.sum()) for seen in frames])
    tilt = np.concatenate([np.flatnonzero(seen) for seen in frames])
    place_in_stack = np.concatenate([np.arange(1, int(seen.sum()) + 1) for seen in frames])
    out = {label: values[file_row] for label, values in columns.items() if label not in ORIGIN}
    stacks = out[IMAGE]
    out[IMAGE] = np.array([f"{k}@{stack}" for k, stack in zip(place_in_stack, stacks, strict=True)], dtype=object)
    out["_rlnMicrographName"] = names[file_row]
    own = {label: np.empty(len(file_row)) for label in (*DEFOCUS, DOSE, SCALE, B_FACTOR)}
    rotations, hand = np.empty((len(file_row), 3, 3)), np.empty(len(file_row))
    for name in set(names):
        mine, tilts = names[file_row] == name, tomograms.tilts[str(name)]
        rotations[mine], hand[mine] = tilts.rotations[tilt[mine]], tilts.hand
        for label, values in tilts.columns.items():
            own[label][mine] = values[tilt[mine]]
        own[B_FACTOR][mine] = tilts.b_factor_per_dose * own[DOSE][mine]
    position = np.stack([texts[label] for label in PLACE], 1)[file_row]
    depth = hand * np.einsum("nj,nj->n", rotations[:, 2], position)
    own[DEFOCUS[0]] += depth
    own[DEFOCUS[1]] += depth
    own[DOSE][own[B_FACTOR] > 0] = 0.0  # the B-factor says it
    return out | own | _poses(texts, columns, rotations, file_row), file_row


def _poses(
    texts: dict[str, NDArray[Any]], columns: dict[str, NDArray[Any]], rotations: Numbers, file_row: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """RELION's angles and origins of every image."""
    if SUBTOMOGRAM[0] in texts:
        rotations = rotations @ matrices_from_euler(np.stack([texts[label] for label in SUBTOMOGRAM], 1))[file_row]
    own = matrices_from_euler(np.stack([columns[label] for label in ANGLES], 1))[file_row]
    angles = euler_from_matrices(rotations @ own)
    zero = np.zeros(len(texts[NAME]))
    origin = np.stack([texts.get(label, zero) for label in ORIGIN], 1)[file_row]
    moved = np.einsum("nij,nj->ni", rotations, origin)
    return dict(zip((*ANGLES, *ORIGIN[:2]), (*angles.T, *moved.T[:2]), strict=True))


def _visible(text: str, row: int, source: Path) -> NDArray[np.bool_]:
    values = text.strip("[]").replace(",", " ").split()
    if not values or any(value not in ("0", "1") for value in values):
        raise InvalidInput(f"{text[:40]!r} is not a list of 0 and 1", file=source, row=row + 1, column=VISIBLE,
                           hint="as [1,1,0,...]")  # fmt: skip
    return np.array([value == "1" for value in values])


def _require(table: StarTable, labels: tuple[str, ...], source: Path) -> None:
    for label in labels:
        if label not in table:
            raise InvalidInput(
                "the column is missing", file=source, column=label,
                hint="give files of RELION 5: particles with centred coordinates, tilt series with angles",
            )  # fmt: skip
