"""RELION's optics groups: one pixel size and box, microscope values for each particle, and what is not modelled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.star.table import StarTable

BROADCAST = ("_rlnVoltage", "_rlnSphericalAberration", "_rlnAmplitudeContrast")
FLAGS = {
    "_rlnCtfDataAreCtfPremultiplied": (
        "the images are multiplied by their CTF, which the image model here does not know",
        "extract the particles again without CTF premultiplication",
    ),
    "_rlnCtfDataArePhaseFlipped": (
        "the images are phase-flipped, which the image model here does not know",
        "extract the particles again without phase flipping",
    ),
}
BEAM_TILT = ("_rlnBeamTiltX", "_rlnBeamTiltY")
NUMBERS = (*BROADCAST, "_rlnImagePixelSize", "_rlnImageSize", "_rlnImageDimensionality", *FLAGS, *BEAM_TILT)
MAGNIFICATION_MATRIX = {"_rlnMagMat00": 1.0, "_rlnMagMat01": 0.0, "_rlnMagMat10": 0.0, "_rlnMagMat11": 1.0}
ZERNIKE = ("_rlnOddZernike", "_rlnEvenZernike")
SAME_PIXEL = 1e-4


@dataclass(frozen=True)
class Optics:
    """`of_row` (N,) 0-based group of each particle; `columns` microscope values for each particle."""

    of_row: NDArray[np.int64]
    names: tuple[str, ...]
    box: int | None
    pixel_size_angstrom: float | None
    columns: dict[str, NDArray[np.float64]]
    notes: tuple[str, ...] = ()


def read_optics(table: StarTable | None, particles: dict[str, NDArray[Any]], count: int, source: Path) -> Optics:
    """Groups, pixel size and box of the particles. Raises InvalidInput where groups in use differ in these."""
    if table is None:
        groups = np.zeros(count, dtype=np.int64)
        names: tuple[str, ...] = ("1",)
        group_values: dict[str, NDArray[Any]] = {}
        if "_rlnOpticsGroup" in particles:
            values, groups = np.unique(particles["_rlnOpticsGroup"], return_inverse=True)
            names = tuple(f"{value:g}" for value in values)
    else:
        labels = [label for label in NUMBERS if label in table]
        if "_rlnOpticsGroup" not in table and len(table) > 1:
            raise InvalidInput("data_optics has several rows but no such column", file=source, column="_rlnOpticsGroup")
        texts = [label for label in ("_rlnOpticsGroupName", *ZERNIKE) if label in table]
        key = ["_rlnOpticsGroup"] if "_rlnOpticsGroup" in table else []
        group_values = table.columns(texts, key + labels + [label for label in MAGNIFICATION_MATRIX if label in table])
        ids = group_values["_rlnOpticsGroup"] if key else np.ones(len(table))
        if len(ids) == 0:
            raise InvalidInput("data_optics has no rows", file=source, hint="the optics table is cut off")
        names = tuple(f"{value:g}" for value in ids)
        values, times = np.unique(ids, return_counts=True)
        if np.any(times > 1):
            raise InvalidInput(
                f"optics group {values[times > 1][0]:g} is defined twice in data_optics",
                file=source,
                column="_rlnOpticsGroup",
                hint="renumber the groups",
            )
        groups = _groups_of_rows(ids, particles.get("_rlnOpticsGroup"), count, source)
    in_use = np.unique(groups)
    refuse_processed_images({label: group_values[label][in_use] for label in FLAGS if label in group_values}, source)
    _refuse_volumes(group_values, in_use, names, source)
    pixel = _pixel_size(group_values, particles, groups, in_use, names, source)
    box = _single("box", "_rlnImageSize", group_values, particles, groups, in_use, names, source)
    if box is not None and (box != round(box) or not 0 < box < 65536):
        raise InvalidInput(f"an image size of {box:g} pixels makes no sense", file=source, column="_rlnImageSize")
    return Optics(
        of_row=groups.astype(np.int64),
        names=names,
        box=None if box is None else round(box),
        pixel_size_angstrom=pixel,
        columns={label: group_values[label][groups] for label in BROADCAST if label in group_values},
        notes=tuple(_ignored_aberrations(group_values, in_use)),
    )


def refuse_processed_images(flags: dict[str, NDArray[Any]], source: Path) -> None:
    """Raise InvalidInput for images that are CTF-premultiplied or phase-flipped."""
    for label, values in flags.items():
        if np.any(values != 0):
            found, hint = FLAGS[label]
            raise InvalidInput(found, file=source, column=label, hint=hint)


def _groups_of_rows(
    ids: NDArray[Any], of_particles: NDArray[Any] | None, count: int, source: Path
) -> NDArray[np.int64]:
    if of_particles is None:
        if len(ids) > 1:
            raise InvalidInput(
                f"{len(ids)} optics groups, but the particles do not say which is theirs",
                file=source,
                column="_rlnOpticsGroup",
            )
        return np.zeros(count, dtype=np.int64)
    order = np.argsort(ids)
    place = np.minimum(np.searchsorted(ids[order], of_particles), len(ids) - 1)
    groups = order[place]
    unknown = np.flatnonzero(~(ids[groups] == of_particles))
    if len(unknown):
        row = int(unknown[0])
        raise InvalidInput(
            f"optics group {of_particles[row]:g} is not in data_optics",
            file=source,
            row=row + 1,
            column="_rlnOpticsGroup",
            hint="add the group to data_optics",
        )
    return groups.astype(np.int64)


def _single(
    what: str,
    label: str,
    group_values: dict[str, NDArray[Any]],
    particles: dict[str, NDArray[Any]],
    groups: NDArray[np.int64],
    in_use: NDArray[np.int64],
    names: tuple[str, ...],
    source: Path,
) -> float | None:
    """The one value of `label` that all particles share, from the optics table first."""
    if label in group_values:
        values = group_values[label][in_use]
        labels = [f"optics group {names[group]} has {value:g}" for group, value in zip(in_use, values, strict=True)]
    elif label in particles:
        values, first = np.unique(particles[label], return_index=True)
        labels = [f"row {row + 1} has {value:g}" for value, row in zip(values, first, strict=True)]
    else:
        return None
    if not np.all(np.isfinite(values)) or np.any(values <= 0):
        raise InvalidInput(f"the {what} must be positive: {'; '.join(labels[:4])}", file=source, column=label)
    if np.ptp(values) > SAME_PIXEL * values[0]:
        raise InvalidInput(
            f"all particles must share one {what}, but {'; '.join(labels[:4])}",
            file=source,
            column=label,
            hint="rescale to one pixel size and box (RELION: relion_image_handler or extract again), or split the file",
        )
    return float(values[0])


def _pixel_size(
    group_values: dict[str, NDArray[Any]],
    particles: dict[str, NDArray[Any]],
    groups: NDArray[np.int64],
    in_use: NDArray[np.int64],
    names: tuple[str, ...],
    source: Path,
) -> float | None:
    """From _rlnImagePixelSize, else RELION 3.0's detector pixel (micrometre) / magnification."""
    direct = _single("pixel size", "_rlnImagePixelSize", group_values, particles, groups, in_use, names, source)
    if direct is not None or "_rlnDetectorPixelSize" not in particles or "_rlnMagnification" not in particles:
        return direct
    with np.errstate(divide="ignore", invalid="ignore"):
        derived = particles["_rlnDetectorPixelSize"] * 1e4 / particles["_rlnMagnification"]
    label = "_rlnDetectorPixelSize"
    return _single("pixel size", label, {}, {label: derived}, groups, in_use, names, source)


def _refuse_volumes(
    group_values: dict[str, NDArray[Any]], in_use: NDArray[np.int64], names: tuple[str, ...], source: Path
) -> None:
    dimensions = group_values.get("_rlnImageDimensionality")
    if dimensions is None:
        return
    for group in in_use:
        if dimensions[group] != 2:
            raise InvalidInput(
                f"optics group {names[group]} holds {dimensions[group]:g}-dimensional images, only 2 is read",
                file=source,
                column="_rlnImageDimensionality",
                hint="give 2-D particle images",
            )


def _ignored_aberrations(group_values: dict[str, NDArray[Any]], in_use: NDArray[np.int64]) -> list[str]:
    found = [label for label in BEAM_TILT if label in group_values and np.any(group_values[label][in_use] != 0)]
    found.extend(
        label
        for label in ZERNIKE
        if label in group_values and any(_has_non_zero(text) for text in group_values[label][in_use])
    )
    for label, ideal in MAGNIFICATION_MATRIX.items():
        if label in group_values and np.any(np.abs(group_values[label][in_use] - ideal) > 1e-6):
            found.append(label)
    if not found:
        return []
    return [
        f"beam tilt, higher aberrations and anisotropic magnification are not modelled; ignored: {', '.join(found)}"
    ]


def _has_non_zero(text: str) -> bool:
    for word in text.strip("[]").replace(",", " ").split():
        try:
            if float(word) != 0:
                return True
        except ValueError:
            return True
    return False
