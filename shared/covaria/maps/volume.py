"""Volumes on disk: MRC2014 in and out."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.maps.eight_bit import ByteKind, stamped_kind, wraps
from covaria.opening import ANYWHERE, Roots


def write_volume(path: str | Path, array: NDArray[np.floating], pixel_size_angstrom: float) -> None:
    """Write a density as MRC2014, float32, cubic voxels, statistics filled in; a reader never meets half a file.

    array                (z, y, x)
    pixel_size_angstrom  edge of a voxel

    Raises ValueError for an array that is not three-dimensional or a pixel size that is not positive.
    """
    volume = np.ascontiguousarray(array, dtype=np.float32)
    if volume.ndim != 3:
        raise ValueError(f"a volume has three axes, not {volume.ndim}")
    if not (np.isfinite(pixel_size_angstrom) and pixel_size_angstrom > 0):
        raise ValueError(f"pixel size {pixel_size_angstrom} angstrom is not a positive number")
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with mrcfile.new(unfinished, overwrite=True) as file:
            file.set_data(volume)
            file.voxel_size = pixel_size_angstrom
            file.update_header_stats()
            file.header.label[0] = b"covaria"  # mrcfile's own label carries the time: equal maps would differ in bytes
        with unfinished.open("rb+") as stream:
            os.fsync(stream.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _bytes_as_values(file: mrcfile.mrcfile.MrcFile) -> NDArray[np.float32] | None:
    """The values of a volume of bytes (MRC mode 0), which mrcfile takes as signed whatever IMOD's stamp says."""
    if file.data is None:
        return None
    stored = np.ascontiguousarray(file.data).view(np.uint8)
    order = ">" if file.header.mode.dtype.byteorder == ">" else "<"
    kind = stamped_kind(file.header.tobytes(), order)
    if kind is None:
        kind = ByteKind.UNSIGNED if wraps(stored) else ByteKind.SIGNED
    return stored.view(kind.dtype).astype(np.float32) + np.float32(kind.offset)


def read_volume(path: str | Path, roots: Roots = ANYWHERE) -> tuple[NDArray[np.float32], float]:
    """A cubic density (z, y, x) float32 and its pixel size in angstrom (0.0 where the header leaves it open).

    Raises MissingFile, and InvalidInput for a file that is not a single cubic, finite volume.
    """
    source = Path(path)
    try:
        with warnings.catch_warnings(), roots.open(source, hint="Give the path of an .mrc file.") as stream:
            warnings.simplefilter("ignore")
            # By the handle, not by the name: a name may mean another file by now.
            with mrcfile.open(f"/dev/fd/{stream.fileno()}", mode="r") as file:
                data = _bytes_as_values(file) if int(file.header.mode) == 0 else file.data
                sizes = [float(file.voxel_size[axis]) for axis in "xyz"]
    except (ValueError, OSError, EOFError, OverflowError, MemoryError) as error:
        raise InvalidInput(
            f"this is not a readable MRC volume ({error})", file=source, hint="Give an .mrc file in MRC2014 format."
        ) from error
    if data is None or data.ndim != 3 or len(set(data.shape)) != 1:
        found = "no data" if data is None else " x ".join(str(n) for n in data.shape)
        raise InvalidInput(
            f"a cubic volume is needed, found {found}", file=source, hint="Give a single volume with three equal sides."
        )
    if np.iscomplexobj(data):
        raise InvalidInput("the volume is complex (MRC mode 4)", file=source, hint="Give the map in real space.")
    volume = np.array(data, dtype=np.float32)
    if not np.isfinite(volume).all():
        raise InvalidInput("the volume holds values that are not finite numbers", file=source)
    if max(sizes) - min(sizes) > 1e-3 * max(sizes):
        raise InvalidInput(
            f"voxels must be cubes, the header says {' x '.join(f'{s:g}' for s in sizes)} angstrom",
            file=source,
            hint="Resample the map to cubic voxels.",
        )
    return volume, max(sizes[0], 0.0)


def read_origin(path: Path, roots: Roots = ANYWHERE) -> NDArray[np.float64]:
    """Where the first voxel lies, angstrom (x, y, z): the header's origin, else its start in voxels, as ChimeraX reads.

    Of a file that `read_volume` has read.
    """
    with warnings.catch_warnings(), roots.open(path) as stream:
        warnings.simplefilter("ignore")
        with mrcfile.open(f"/dev/fd/{stream.fileno()}", mode="r", header_only=True) as file:
            header, voxel = file.header, file.voxel_size
            origin = np.array([float(header.origin[axis]) for axis in "xyz"])
            start = np.array([int(header[f"n{axis}start"]) * float(voxel[axis]) for axis in "xyz"])
    return origin if origin.any() else start
