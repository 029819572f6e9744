"""RELION's optics groups: for each particle its microscope, pixel size and box, and what the image model leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.metadata import RowCheck, not_finite
from covaria.particles.phases import added, of_beam_tilt, of_zernike
from covaria.particles.star.table import StarTable

MICROSCOPE = ("_rlnVoltage", "_rlnSphericalAberration", "_rlnAmplitudeContrast")
PIXEL_SIZE, BOX, GROUP = "_rlnImagePixelSize", "_rlnImageSize", "_rlnOpticsGroup"
DETECTOR, MAGNIFICATION = "_rlnDetectorPixelSize", "_rlnMagnification"
NOT_THE_MODEL = {
    "_rlnMagnificationCorrection": (
        "RELION 2's correction of anisotropic magnification is not modelled",
        "extract the particles again from corrected micrographs",
    ),
    "_rlnOriginZAngst": ("an origin has a depth: this is a sub-tomogram", "give 2-D particle images"),
    "_rlnOriginZ": ("an origin has a depth: this is a sub-tomogram", "give 2-D particle images"),
}
"""Columns that must be 0 in every row in use."""
DIMENSIONS = "_rlnImageDimensionality"
BEAM_TILT = ("_rlnBeamTiltX", "_rlnBeamTiltY")
MAGNIFICATION_MATRIX = ("_rlnMagMat00", "_rlnMagMat01", "_rlnMagMat10", "_rlnMagMat11")
ODD_ZERNIKE, EVEN_ZERNIKE = ZERNIKE = ("_rlnOddZernike", "_rlnEvenZernike")
PHASE_FLIPPED, PREMULTIPLIED = APPLIED = ("_rlnCtfDataArePhaseFlipped", "_rlnCtfDataAreCtfPremultiplied")
"""`ContrastTransfer.applied` is 1 and 2 where they are 1."""
MOST_TERMS = 100
IN_OPTICS = (*MICROSCOPE, PIXEL_SIZE, BOX, DIMENSIONS, *NOT_THE_MODEL, *APPLIED, *BEAM_TILT, *MAGNIFICATION_MATRIX)
IN_PARTICLES = (*IN_OPTICS, DETECTOR, MAGNIFICATION, GROUP)


@dataclass(frozen=True)
class Optics:
    """`of_row` (N,) 0-based group of each particle; `columns` numbers for each particle, the optics table's first."""

    of_row: NDArray[np.int64]
    names: tuple[str, ...]
    columns: dict[str, NDArray[np.float64]]
    texts: dict[str, NDArray[Any]]
    """The Zernike coefficients of each group, as text."""
    checks: tuple[RowCheck, ...]
    notes: tuple[str, ...]

    @property
    def pixel_sizes_angstrom(self) -> NDArray[np.float64] | None:
        """_rlnImagePixelSize, else RELION 3.0's detector pixel (micrometre) / magnification."""
        if PIXEL_SIZE in self.columns or DETECTOR not in self.columns or MAGNIFICATION not in self.columns:
            return self.columns.get(PIXEL_SIZE)
        with np.errstate(divide="ignore", invalid="ignore"):
            sizes: NDArray[np.float64] = self.columns[DETECTOR] * 1e4 / self.columns[MAGNIFICATION]
        return sizes


def read_optics(table: StarTable | None, particles: dict[str, NDArray[Any]], count: int, source: Path) -> Optics:
    """Groups and microscope values of the particles. Raises InvalidInput for an optics table that makes no sense."""
    checks: list[RowCheck] = []
    notes: list[str] = []
    texts: dict[str, NDArray[Any]] = {}
    in_particles = {label: particles[label] for label in IN_PARTICLES if label in particles}
    if table is None:
        groups = np.zeros(count, dtype=np.int64)
        names: tuple[str, ...] = ("1",)
        if GROUP in particles:
            values, groups = np.unique(particles[GROUP], return_inverse=True)
            names = tuple(f"{value:g}" for value in values)
        columns = in_particles
    else:
        in_table = table.columns([label for label in ZERNIKE if label in table], _numbers_in(table))
        ids = _ids(in_table.get(GROUP), len(table), source)
        names = tuple(f"{value:g}" for value in ids)
        groups, checks = _groups_of_rows(ids, particles.get(GROUP), count, source)
        in_optics = {label: in_table[label][groups] for label in IN_OPTICS if label in in_table}
        notes = [
            f"{label} differs between data_optics and the particles; data_optics is used, as RELION does"
            for label, ours in in_optics.items()
            if label in in_particles and not np.allclose(in_particles[label], ours, 1e-3, 1e-9, equal_nan=True)
        ]
        columns = in_particles | in_optics
        texts = {label: in_table[label] for label in ZERNIKE if label in in_table}
    return Optics(
        groups.astype(np.int64), names, columns, texts, (*checks, *_model_checks(columns, source)), tuple(notes)
    )


def magnification(optics: Optics) -> NDArray[np.float64] | None:
    """(N, 2, 2) RELION's matrix; None where it is 1 in every row."""
    deviation = _stacked(optics, MAGNIFICATION_MATRIX, (1.0, 0.0, 0.0, 1.0))
    return None if deviation is None else deviation.reshape(-1, 2, 2) + np.eye(2)


def phases(optics: Optics, source: Path) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Odd and even phases (N, T), None where there are none. Raises InvalidInput for what is no list."""
    odd, even = (_zernike(label, optics, source, odd=label == ODD_ZERNIKE) for label in ZERNIKE)
    tilt = _stacked(optics, BEAM_TILT, (0.0, 0.0))
    voltage, cs = (optics.columns.get(label) for label in MICROSCOPE[:2])
    if tilt is None or voltage is None or cs is None:
        return odd, even
    with np.errstate(all="ignore"):  # a row that is not used may hold anything
        return added(odd, of_beam_tilt(tilt, voltage, cs)), even


def applied(optics: Optics) -> NDArray[np.int8] | None:
    """(N,) what the images have been multiplied by, as in `ContrastTransfer`; None: nothing."""
    found = np.zeros(len(optics.of_row), dtype=np.int8)
    for number, label in enumerate(APPLIED, start=1):
        if label in optics.columns:
            found[optics.columns[label] == 1] = number
    return found if found.any() else None


def _stacked(optics: Optics, labels: tuple[str, ...], neutral: tuple[float, ...]) -> NDArray[np.float64] | None:
    """(N, k) less what is neutral; None where nothing is left in any row."""
    values = np.zeros((len(optics.of_row), len(labels)))
    for place, (label, without) in enumerate(zip(labels, neutral, strict=True)):
        if label in optics.columns:
            values[:, place] = optics.columns[label] - without
    return values if np.any(values != 0) else None


def _zernike(label: str, optics: Optics, source: Path, *, odd: bool) -> NDArray[np.float64] | None:
    if label not in optics.texts:
        return None
    lists = [_coefficients(str(text), label, row, source) for row, text in enumerate(optics.texts[label], start=1)]
    values = np.zeros((len(lists), max(map(len, lists), default=0)))
    for row, numbers in enumerate(lists):
        values[row, : len(numbers)] = numbers
    polynomial: NDArray[np.float64] | None = of_zernike(values, odd=odd)[optics.of_row] if values.any() else None
    return polynomial


def _coefficients(text: str, label: str, row: int, source: Path) -> list[float]:
    try:
        numbers = [float(word) for word in text.strip("[]").replace(",", " ").split()]
    except ValueError:
        numbers = [np.nan]
    if len(numbers) > MOST_TERMS or not np.isfinite(numbers).all():
        raise InvalidInput(
            f"data_optics, row {row}: {text[:60]!r} is not a list of coefficients",
            file=source,
            column=label,
            hint="as [0.1,0.2,...]",
        )
    return numbers


def _numbers_in(table: StarTable) -> list[str]:
    return [label for label in (GROUP, *IN_OPTICS) if label in table]


def _ids(ids: NDArray[Any] | None, rows: int, source: Path) -> NDArray[Any]:
    """The number of each optics group."""
    if rows == 0:
        raise InvalidInput("data_optics has no rows", file=source, hint="the optics table is cut off")
    if ids is None:
        if rows > 1:
            raise InvalidInput("data_optics has several rows but no such column", file=source, column=GROUP)
        return np.ones(1)
    values, times = np.unique(ids, return_counts=True)
    if np.any(times > 1):
        raise InvalidInput(
            f"optics group {values[times > 1][0]:g} is defined twice in data_optics",
            file=source,
            column=GROUP,
            hint="renumber the groups",
        )
    return ids


def _groups_of_rows(
    ids: NDArray[Any], of_particles: NDArray[Any] | None, count: int, source: Path
) -> tuple[NDArray[np.int64], list[RowCheck]]:
    if of_particles is None:
        if len(ids) > 1:
            raise InvalidInput(
                f"{len(ids)} optics groups, but the particles do not say which is theirs", file=source, column=GROUP
            )
        return np.zeros(count, dtype=np.int64), []
    order = np.argsort(ids)
    place = np.minimum(np.searchsorted(ids[order], of_particles), len(ids) - 1)
    groups = order[place]
    unknown = RowCheck(
        ~(ids[groups] == of_particles),
        source,
        GROUP,
        lambda row: f"optics group {of_particles[row]:g} is not in data_optics",
        "add the group to data_optics",
    )
    return groups.astype(np.int64), [unknown]


def _model_checks(columns: dict[str, NDArray[np.float64]], source: Path) -> list[RowCheck]:
    """Rows whose images are of another kind than the model's."""
    checks = [
        RowCheck(columns[label] != 0, source, label, found, hint)
        for label, (found, hint) in NOT_THE_MODEL.items()
        if label in columns
    ]
    checks += [
        RowCheck(not_finite(columns[label]), source, label, "the value is not finite", "correct it")
        for label in (*BEAM_TILT, *MAGNIFICATION_MATRIX)
        if label in columns
    ]
    checks += _applied_checks(columns, source)
    dimensions = columns.get(DIMENSIONS)
    if dimensions is not None:
        checks.append(
            RowCheck(
                dimensions != 2,
                source,
                DIMENSIONS,
                lambda row: f"{dimensions[row]:g}-dimensional images, only 2 is read",
                "give 2-D particle images",
            )
        )
    return checks


def _applied_checks(columns: dict[str, NDArray[np.float64]], source: Path) -> list[RowCheck]:
    """Rows whose images are said to be neither or both, phase-flipped and multiplied by the CTF."""
    there = [(label, columns[label]) for label in APPLIED if label in columns]
    checks = [
        RowCheck(~np.isin(values, (0, 1)), source, label, "is neither 0 nor 1", "correct it", "ctf")
        for label, values in there
    ]
    if len(there) == 2:
        both = (there[0][1] == 1) & (there[1][1] == 1)
        found = "the images are said to be phase-flipped and multiplied by their CTF"
        checks.append(RowCheck(both, source, PREMULTIPLIED, found, "set one of the two columns to 0", "ctf"))
    return checks
