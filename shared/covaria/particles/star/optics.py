"""RELION's optics groups: for each particle its microscope, pixel size and box, and what the image model leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.aberrations import Aberration, Phase, beam_tilt, magnification, zernike
from covaria.particles.metadata import RowCheck
from covaria.particles.star.table import StarTable

MICROSCOPE = ("_rlnVoltage", "_rlnSphericalAberration", "_rlnAmplitudeContrast")
PIXEL_SIZE, BOX, GROUP = "_rlnImagePixelSize", "_rlnImageSize", "_rlnOpticsGroup"
DETECTOR, MAGNIFICATION = "_rlnDetectorPixelSize", "_rlnMagnification"
NOT_THE_MODEL = {
    "_rlnCtfDataAreCtfPremultiplied": (
        "the images are multiplied by their CTF, which the image model here does not know",
        "extract the particles again without CTF premultiplication",
    ),
    "_rlnCtfDataArePhaseFlipped": (
        "the images are phase-flipped, which the image model here does not know",
        "extract the particles again without phase flipping",
    ),
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
NEUTRAL = ((BEAM_TILT, (0.0, 0.0), beam_tilt), (MAGNIFICATION_MATRIX, (1.0, 0.0, 0.0, 1.0), magnification))
ZERNIKE = {"_rlnOddZernike": zernike(odd=True), "_rlnEvenZernike": zernike(odd=False)}
MOST_TERMS = 100
IN_OPTICS = (*MICROSCOPE, PIXEL_SIZE, BOX, DIMENSIONS, *NOT_THE_MODEL, *BEAM_TILT, *MAGNIFICATION_MATRIX)
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


def aberrations(optics: Optics, source: Path) -> list[Aberration]:
    """Beam tilt, Zernike terms and magnification that are not neutral. Raises InvalidInput for what is no list."""
    count = len(optics.of_row)
    own = np.arange(count)
    found = []
    for labels, neutral, phase in NEUTRAL:
        deviation = np.zeros((count, len(labels)))
        for place, (label, value) in enumerate(zip(labels, neutral, strict=True)):
            if label in optics.columns:
                deviation[:, place] = optics.columns[label] - value
        named = [label for label, values in zip(labels, deviation.T, strict=True) if np.any(values != 0)]
        if named:
            found.append(Aberration(", ".join(named), deviation, own, phase))
    found += [
        aberration
        for label, phase in ZERNIKE.items()
        if label in optics.texts and (aberration := _zernike(label, optics, phase, source)) is not None
    ]
    return found


def _zernike(label: str, optics: Optics, phase: Phase, source: Path) -> Aberration | None:
    lists = [_coefficients(str(text), label, row, source) for row, text in enumerate(optics.texts[label], start=1)]
    values = np.zeros((len(lists), max(map(len, lists))))
    for row, numbers in enumerate(lists):
        values[row, : len(numbers)] = numbers
    return Aberration(label, values, optics.of_row, phase) if values.any() else None


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
