"""cryoDRGN's poses.pkl and ctf.pkl from metadata, whichever of the two they carry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.particles.metadata import CTF_FIELDS, Metadata
from covaria.tree.atomic import write_pickle

IN_DEGREES = ("defocus_angle_rad", "phase_shift_rad")


def pose_tables(metadata: Metadata, box: int, pixel_size_angstrom: float | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """rotations (N, 3, 3) and translations (N, 2) as fractions of the box, float64. Needs `missing_for_poses` empty."""
    if metadata.rotations is None or metadata.shifts is None:
        raise ValueError("the metadata carry no poses")
    return metadata.rotations, metadata.shifts.pixels(box, pixel_size_angstrom or 1.0) / box


def ctf_table(metadata: Metadata, box: float, pixel_size_angstrom: float) -> NDArray[np.float32]:
    """(N, 9) box, pixel size, defocus U and V, angle, voltage, Cs, amplitude contrast, phase shift; NaN where unknown.

    Angstrom, degrees, kV, mm. An absent phase shift is 0.
    """
    table = np.full((metadata.count, 9), np.nan, dtype=np.float32)
    table[:, 0], table[:, 1] = box, pixel_size_angstrom
    for place, name in enumerate(CTF_FIELDS, start=2):
        values = metadata.ctf.get(name)
        if values is not None:
            table[:, place] = np.rad2deg(values) if name in IN_DEGREES else values
        elif name == "phase_shift_rad":
            table[:, place] = 0.0
    return table


def missing_for_poses(metadata: Metadata, box: int | None) -> list[str]:
    """What poses.pkl needs and the metadata (with `box`, however known) lack."""
    missing = metadata.missing_pose()
    unit = metadata.shifts.unit if metadata.shifts is not None else "box"
    if box is None and unit != "box":
        missing.append(f"{metadata.named('box')} (or --box)")
    if metadata.pixel_size_angstrom is None and unit == "angstrom":
        missing.append(f"{metadata.named('pixel_size_angstrom')} (or --pixel-size)")
    return missing


def missing_for_ctf(metadata: Metadata, box: int | None) -> list[str]:
    """What ctf.pkl needs and the metadata (with `box`, however known) lack."""
    missing = metadata.missing_ctf()
    if box is None:
        missing.append(f"{metadata.named('box')} (or --box)")
    if metadata.pixel_size_angstrom is None:
        missing.append(f"{metadata.named('pixel_size_angstrom')} (or --pixel-size)")
    return missing


@dataclass(frozen=True)
class Exported:
    """Files written, and for each that was not, what was missing."""

    written: tuple[Path, ...]
    missing: dict[str, list[str]]


def export_pickles(metadata: Metadata, box: int | None, folder: Path) -> Exported:
    """Write poses.pkl and ctf.pkl into `folder`, each only if all it needs is there; rows in file order."""
    written: list[Path] = []
    missing: dict[str, list[str]] = {}
    if metadata.resampling is not None:
        one = ["one box and pixel size for all images (covaria downsample makes it)"]
        return Exported((), {"poses.pkl": one, "ctf.pkl": one})
    lacking = missing_for_poses(metadata, box)
    if lacking:
        missing["poses.pkl"] = lacking
    else:
        poses = pose_tables(metadata, box or 1, metadata.pixel_size_angstrom)
        written.append(folder / "poses.pkl")
        write_pickle(written[-1], poses)
    lacking = missing_for_ctf(metadata, box)
    if lacking or box is None or metadata.pixel_size_angstrom is None:
        missing["ctf.pkl"] = lacking
    else:
        written.append(folder / "ctf.pkl")
        write_pickle(written[-1], ctf_table(metadata, box, metadata.pixel_size_angstrom))
    return Exported(tuple(written), missing)
