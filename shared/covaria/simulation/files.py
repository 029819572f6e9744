"""Writes a simulated set as a facility would hand it over, and its truth beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import mrcfile
import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput, MissingFile
from covaria.particles.model import ContrastTransfer
from covaria.tree import atomic

STACK = "particles.mrcs"
STAR = "particles.star"
POSES = "poses.pkl"
CTF = "ctf.pkl"
COLUMNS = (
    "ImageName", "MicrographName", "OpticsGroup", "RandomSubset", "AngleRot", "AngleTilt", "AnglePsi",
    "OriginXAngst", "OriginYAngst", "DefocusU", "DefocusV", "DefocusAngle", "PhaseShift",
)  # fmt: skip
"""Of the STAR file's particle table, in order."""


class StackWriter:
    """An .mrcs of float32 images, filled in any order."""

    def __init__(self, path: Path, count: int, box: int, pixel_size_angstrom: float) -> None:
        self._file = mrcfile.new_mmap(path, shape=(count, box, box), mrc_mode=2, overwrite=True)
        self._file.set_image_stack()
        self._file.voxel_size = pixel_size_angstrom

    def write(self, rows: NDArray[np.int64], images: NDArray[np.float32]) -> None:
        self._file.data[rows] = images

    def close(self) -> None:
        self._file.update_header_stats()
        self._file.close()


def write_volume(path: Path, volume: NDArray[np.float32], pixel_size_angstrom: float) -> None:
    """float32 [z, y, x] as MRC2014."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mrcfile.write(path, volume.astype(np.float32), overwrite=True, voxel_size=pixel_size_angstrom)


def volume_geometry(path: Path) -> tuple[int, float | None]:
    """Box in voxels and voxel size in angstrom (None where the header has none). Raises MissingFile, InvalidInput."""
    if not path.is_file():
        raise MissingFile("no such volume", file=path, hint="give an .mrc file")
    try:
        with mrcfile.open(path, header_only=True) as header:
            box, size = int(header.header.nx), float(header.voxel_size.x)
    except ValueError as error:
        raise InvalidInput(f"no readable MRC volume: {error}", file=path, hint="give an MRC2014 file") from error
    return box, size if size > 0 else None


def read_volume(path: Path, box: int) -> NDArray[np.float32]:
    """A cubic float volume [z, y, x] of `box` voxels. Raises MissingFile, InvalidInput."""
    if not path.is_file():
        raise MissingFile("no such volume", file=path, hint="give an .mrc file")
    try:
        volume = np.asarray(mrcfile.read(path), dtype=np.float32)
    except ValueError as error:
        raise InvalidInput(f"no readable MRC volume: {error}", file=path, hint="give an MRC2014 file") from error
    if volume.shape != (box,) * 3:
        raise InvalidInput(f"volume of {volume.shape} voxels", file=path, hint=f"give cubes of {box}, or another --box")
    return volume


def write_pickles(
    out: Path,
    rotations: NDArray[np.float64],
    translations: NDArray[np.float64],
    ctf: ContrastTransfer,
    box: int,
    pixel_size_angstrom: float,
) -> None:
    """poses.pkl and ctf.pkl in cryoDRGN's layout: translations as a fraction of the box, degrees, nine columns."""
    atomic.write_pickle(out / POSES, (rotations.astype(np.float32), (translations / box).astype(np.float32)))
    count = len(rotations)
    columns = [
        np.full(count, box),
        np.full(count, pixel_size_angstrom),
        ctf.defocus_u_angstrom,
        ctf.defocus_v_angstrom,
        np.rad2deg(ctf.defocus_angle_rad),
        ctf.voltage_kv,
        ctf.spherical_aberration_mm,
        ctf.amplitude_contrast,
        np.rad2deg(ctf.phase_shift_rad),
    ]
    atomic.write_pickle(out / CTF, np.stack(columns, axis=1).astype(np.float32))


def optics_table(ctf: ContrastTransfer, box: int, pixel_size_angstrom: float) -> str:
    """RELION 3.1's table of one optics group."""
    return loop(
        "optics",
        ["OpticsGroupName", "OpticsGroup", "ImagePixelSize", "ImageSize", "ImageDimensionality", "Voltage",
         "SphericalAberration", "AmplitudeContrast"],
        [["opticsGroup1", "1", f"{pixel_size_angstrom:.6f}", str(box), "2", f"{ctf.voltage_kv[0]:.6f}",
          f"{ctf.spherical_aberration_mm[0]:.6f}", f"{ctf.amplitude_contrast[0]:.6f}"]],
    )  # fmt: skip


def write_star(
    out: Path,
    angles_deg: NDArray[np.float64],
    translations: NDArray[np.float64],
    ctf: ContrastTransfer,
    micrograph: NDArray[np.int64],
    half_set: NDArray[np.int64],
    box: int,
    pixel_size_angstrom: float,
    more: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """RELION 3.1 with one optics group; image names relative to the STAR's folder; origins in angstrom.

    more: columns besides, or in place of those of `COLUMNS`, a value for each image.
    """
    origin = translations * pixel_size_angstrom
    rows = [
        [f"{i + 1:06d}@{STACK}", f"micrograph{micrograph[i]:04d}.mrc", "1", str(half_set[i] + 1),
         *(f"{a:.6f}" for a in angles_deg[i]), *(f"{t:.6f}" for t in origin[i]),
         f"{ctf.defocus_u_angstrom[i]:.6f}", f"{ctf.defocus_v_angstrom[i]:.6f}",
         f"{np.rad2deg(ctf.defocus_angle_rad[i]):.6f}", f"{np.rad2deg(ctf.phase_shift_rad[i]):.6f}"]
        for i in range(len(angles_deg))
    ]  # fmt: skip
    names = [*COLUMNS, *(name for name in more if name not in COLUMNS)]
    for name, values in more.items():
        place = names.index(name)
        for row, value in zip(rows, values, strict=True):
            row[place : place + 1] = [value]
    optics = optics_table(ctf, box, pixel_size_angstrom)
    atomic.write_text(
        out / STAR, "\n# version 30001\n" + optics + "\n\n# version 30001\n" + loop("particles", names, rows)
    )


def loop(block: str, names: Sequence[str], rows: list[list[str]]) -> str:
    """A table of a STAR file."""
    header = "\n".join(f"_rln{name} #{number}" for number, name in enumerate(names, start=1))
    return f"\ndata_{block}\n\nloop_\n{header}\n" + "".join(" ".join(row) + "\n" for row in rows)
