"""Particles as a RELION 3.1 STAR file, in words that RELION and cryoDRGN read back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.particles.metadata import Metadata
from covaria.particles.model import ContrastTransfer, Particles
from covaria.particles.phases import to_zernike
from covaria.particles.read import Described
from covaria.particles.rotations import euler_from_matrices
from covaria.particles.stacks.images import StackImages
from covaria.particles.star.grammar import read_star
from covaria.particles.star.optics import APPLIED, EVEN_ZERNIKE, MAGNIFICATION_MATRIX, ODD_ZERNIKE
from covaria.particles.star.relion import CTF_COLUMNS, NORM, ORIGINS_ANGSTROM, ORIGINS_PIXEL, find_tables
from covaria.particles.star.table import StarTable
from covaria.particles.star.tilts import EXPOSURE, PARTICLE

OPTICS_LABELS = (
    "_rlnOpticsGroup", "_rlnOpticsGroupName", "_rlnAmplitudeContrast", "_rlnSphericalAberration", "_rlnVoltage",
    "_rlnImagePixelSize", "_rlnImageSize", "_rlnImageDimensionality",
)  # fmt: skip
UNMAGNIFIED = dict(zip(MAGNIFICATION_MATRIX, ("1", "0", "0", "1"), strict=True))


def write_star_for(path: Path, described: Described, particles: Particles, stack: Path) -> None:
    """The STAR for a new `stack` of all rows: the original's columns where it is RELION 3.1+, else our own."""
    if described.star is not None:
        rewrite_particle_star(path, described, particles, stack)
    else:
        write_particle_star(path, particles, described.metadata, stack)


def write_particle_star(path: Path, particles: Particles, metadata: Metadata, stack: Path) -> None:
    """One row for each particle, image i+1 of `stack` (named relative to the STAR's folder); origins in angstrom.

    Optics groups are one for each combination of group, voltage, Cs, amplitude contrast and aberrations.
    """
    ctf = particles.ctf
    microscope = np.stack(
        [particles.optics_group, ctf.voltage_kv, ctf.spherical_aberration_mm, ctf.amplitude_contrast], axis=1
    )
    aberrations = _aberrations(ctf)
    microscope = np.concatenate([microscope, *aberrations.values()], axis=1)
    combinations, first, group = np.unique(microscope, axis=0, return_index=True, return_inverse=True)
    with path.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write("# version 30001\n\ndata_optics\n\n")
        file.write(_loop((*OPTICS_LABELS, *aberrations)))
        for number, (row, values) in enumerate(zip(first.tolist(), combinations, strict=True), start=1):
            original, voltage, cs, contrast = values[:4]
            name = f"opticsGroup{number}"
            if len(combinations) == len(metadata.optics_names):
                name = f"opticsGroup{metadata.optics_names[int(original)]}"
            file.write(
                f"{number} {name} {contrast:.6f} {cs:.6f} {voltage:.6f} "
                f"{particles.pixel_size_angstrom:.9g} {particles.box} 2"
                + "".join(f" {_value(columns[row])}" for columns in aberrations.values())
                + "\n"
            )
        file.write("\n\n# version 30001\n\ndata_particles\n\n")
        columns = _columns(particles, metadata, group.reshape(-1), stack, path.parent)
        file.write(_loop(tuple(columns)))
        file.writelines(_rows(list(columns.values())))
        file.write("\n")


def _aberrations(ctf: ContrastTransfer) -> dict[str, NDArray[np.float64]]:
    """RELION's columns (N, k) for the phases and for what the images were multiplied by, where there are any."""
    found = {}
    if ctf.odd_phase is not None:
        found[ODD_ZERNIKE] = to_zernike(ctf.odd_phase, odd=True)
    if ctf.even_phase is not None:
        found[EVEN_ZERNIKE] = to_zernike(ctf.even_phase, odd=False)
    if ctf.applied is not None:
        found |= {label: ctf.applied[:, None] == number for number, label in enumerate(APPLIED, start=1)}
    return found


def _value(values: NDArray[np.float64]) -> str:
    """A flag, or a list of coefficients."""
    return str(int(values[0])) if len(values) == 1 else "[" + ",".join(f"{value:.9g}" for value in values) + "]"


def rewrite_particle_star(path: Path, described: Described, particles: Particles, stack: Path) -> None:
    """A RELION 3.1+ file again, every column kept, with what a new stack changes: image names, pixel size, image size,
    origins in pixels, half-sets (where known), normalisation. `particles` are on the new stack.

    Other tables than data_optics and the particles are left behind.
    """
    original, before = described.star, described.metadata.pixel_size_angstrom
    if original is None or before is None:
        raise ValueError("only a RELION 3.1+ file can be written again")
    found = find_tables(read_star(original), original)
    if found.optics is None:
        raise ValueError(f"{original} has no data_optics")
    with path.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write("# version 30001\n\ndata_optics\n\n")
        added = () if "_rlnImageSize" in found.optics else ("_rlnImageSize",)
        labels = found.optics.labels + added
        file.write(_loop(labels))
        sizes = found.optics.columns([], ["_rlnImagePixelSize"])["_rlnImagePixelSize"]
        for values, size in zip(found.optics.rows(), sizes.tolist(), strict=True):
            row = dict(zip(found.optics.labels, values, strict=True))
            if described.metadata.resampling is not None:
                size = before
            row["_rlnImagePixelSize"] = f"{size * (particles.pixel_size_angstrom / before):.9g}"
            row["_rlnImageSize"] = str(particles.box)
            row |= {label: value for label, value in UNMAGNIFIED.items() if label in row}
            file.write(" ".join(quoted(row[label]) for label in labels) + "\n")
        file.write("\n\n# version 30001\n\ndata_particles\n\n")
        columns = _changed_columns(found.particles, described.metadata, particles, stack, path.parent)
        labels = found.particles.labels + tuple(label for label in columns if label not in found.particles)
        file.write(_loop(labels))
        file.writelines(_changed_rows(found.particles, columns, labels))
        file.write("\n")


def _changed_columns(
    table: StarTable, metadata: Metadata, particles: Particles, stack: Path, folder: Path
) -> dict[str, list[str]]:
    columns = {"_rlnImageName": _image_names(particles, stack, folder)}
    for place, label in enumerate(ORIGINS_PIXEL):
        if label in table:
            columns[label] = [f"{value:.6f}" for value in particles.translations[:, place].tolist()]
    if metadata.resampling is not None:  # images were moved, and are no longer magnified
        for place, label in enumerate(ORIGINS_ANGSTROM):
            if label in table:
                origins = particles.translations[:, place] * particles.pixel_size_angstrom
                columns[label] = [f"{value:.6f}" for value in origins.tolist()]
        columns |= {label: [value] * len(particles) for label, value in UNMAGNIFIED.items() if label in table}
    if np.all(particles.half_set >= 0):
        columns["_rlnRandomSubset"] = [str(half + 1) for half in particles.half_set.tolist()]
    if metadata.gain is not None:  # the new stack's grey levels are normalised
        columns[NORM] = ["1.000000"] * len(particles)
    for label, text in (
        ("_rlnImagePixelSize", f"{particles.pixel_size_angstrom:.9g}"),
        ("_rlnImageSize", str(particles.box)),
    ):
        if label in table:
            columns[label] = [text] * len(particles)
    if "_rlnImageOriginalName" not in table:
        columns["_rlnImageOriginalName"] = [
            quoted(name) for name in table.columns(["_rlnImageName"], [])["_rlnImageName"]
        ]
    return columns


def _image_names(particles: Particles, stack: Path, folder: Path) -> list[str]:
    """Image i + 1 of `stack` for row i; where the images lie in several stacks of its folder, those."""
    name, images = quoted(str(stack.relative_to(folder))), particles.images
    if not isinstance(images, StackImages) or len(images.paths) < 2:
        return [f"{row:06d}@{name}" for row in range(1, len(particles) + 1)]
    names = [quoted(str(stack.with_name(path.name).relative_to(folder))) for path in images.paths]
    return [f"{i + 1:06d}@{names[k]}" for k, i in zip(images.file.tolist(), images.index.tolist(), strict=True)]


def _changed_rows(table: StarTable, columns: dict[str, list[str]], labels: tuple[str, ...]) -> Iterator[str]:
    changed = [(labels.index(label), values) for label, values in columns.items()]
    added = len(labels) - len(table.labels)
    for number, kept in table.numbered_rows():
        values = [*map(quoted, kept), *[""] * added]
        for place, new in changed:
            values[place] = new[number - 1]
        yield " ".join(values) + "\n"


def _loop(labels: tuple[str, ...]) -> str:
    return "loop_\n" + "".join(f"{label} #{number}\n" for number, label in enumerate(labels, start=1))


def _columns(
    particles: Particles, metadata: Metadata, group: NDArray[np.int64], stack: Path, folder: Path
) -> dict[str, list[str]]:
    ctf = particles.ctf
    angles = euler_from_matrices(particles.rotations)
    origins = particles.translations * particles.pixel_size_angstrom
    columns = {"_rlnImageName": _image_names(particles, stack, folder)}
    if metadata.micrograph is not None:
        columns["_rlnMicrographName"] = [quoted(metadata.micrograph_names[code]) for code in metadata.micrograph]
    numbers = {
        "_rlnAngleRot": angles[:, 0],
        "_rlnAngleTilt": angles[:, 1],
        "_rlnAnglePsi": angles[:, 2],
        "_rlnOriginXAngst": origins[:, 0],
        "_rlnOriginYAngst": origins[:, 1],
        "_rlnDefocusU": ctf.defocus_u_angstrom,
        "_rlnDefocusV": ctf.defocus_v_angstrom,
        "_rlnDefocusAngle": np.rad2deg(ctf.defocus_angle_rad),
        "_rlnPhaseShift": np.rad2deg(ctf.phase_shift_rad),
    }
    b_factor = ctf.b_factor_angstrom2
    if b_factor is not None and particles.particle is not None:
        b_factor = -b_factor  # as Warp writes those of tilts
    envelope = {"b_factor_angstrom2": b_factor, "scale": ctf.scale}
    numbers |= {CTF_COLUMNS[name]: values for name, values in envelope.items() if values is not None}
    columns |= {label: [f"{value:.6f}" for value in values.tolist()] for label, values in numbers.items()}
    if particles.particle is not None:
        columns[PARTICLE] = [f"particle{code:07d}" for code in particles.particle.tolist()]
    if ctf.dose is not None:
        columns[EXPOSURE] = [f"{value:.6f}" for value in ctf.dose.tolist()]
    columns["_rlnOpticsGroup"] = [str(code + 1) for code in group.tolist()]
    if np.all(particles.half_set >= 0):
        columns["_rlnRandomSubset"] = [str(half + 1) for half in particles.half_set.tolist()]
    if metadata.stack_of_row is not None and metadata.image_of_row is not None:
        names = metadata.stack_names
        pairs = zip(metadata.image_of_row.tolist(), metadata.stack_of_row.tolist(), strict=True)
        columns["_rlnImageOriginalName"] = [quoted(f"{image + 1:06d}@{names[code]}") for image, code in pairs]
    return columns


def quoted(text: str) -> str:
    """`text` as one STAR value."""
    if text and not any(mark in text for mark in " \t\r\n#'\"") and not text.startswith(("_", "data_", "loop_", ";")):
        return text
    return f"'{text}'" if "'" not in text else f'"{text}"'


def _rows(columns: list[list[str]]) -> Iterator[str]:
    for values in zip(*columns, strict=True):
        yield " ".join(values) + "\n"
