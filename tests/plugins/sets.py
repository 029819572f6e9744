"""Particle files as programs leave them, as small as they can be: the stacks are there by name alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HEAD = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
1 one 300 2.7 0.1 1.5 32

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnAngleRot #3
_rlnAngleTilt #4
_rlnAnglePsi #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
_rlnDefocusU #8
_rlnDefocusV #9
_rlnDefocusAngle #10
"""


def star_text(rows: int, *, psi: float = 0.0, defocus: float = 10000.0, stack: str = "stack.mrcs") -> str:
    """A RELION 3.1 STAR of `rows` particles, one after another in `stack`."""
    lines = [f"{row + 1:06d}@{stack} 1 {row} 20 {psi} 0 0 {defocus} {defocus} 0" for row in range(rows)]
    return HEAD + "\n".join(lines) + "\n"


def write_star(path: Path, rows: int = 3, *, psi: float = 0.0, defocus: float = 10000.0) -> Path:
    """A STAR, and its stack beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "stack.mrcs").touch()
    path.write_text(star_text(rows, psi=psi, defocus=defocus))
    return path


def write_cs(path: Path, rows: int = 3, *, images: bool = True) -> Path:
    """A table of cryoSPARC: poses and CTF, and which images unless that stands in a passthrough file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [("uid", "<u8"), ("alignments3D/pose", "<f4", 3), ("alignments3D/shift", "<f4", 2)]
    columns += [("alignments3D/psize_A", "<f4"), ("ctf/accel_kv", "<f4"), ("ctf/cs_mm", "<f4")]
    columns += [("ctf/amp_contrast", "<f4"), ("ctf/df1_A", "<f4"), ("ctf/df2_A", "<f4")]
    columns += [("ctf/df_angle_rad", "<f4"), ("ctf/phase_shift_rad", "<f4")]
    table = np.zeros(rows, dtype=columns)
    table["alignments3D/psize_A"], table["ctf/accel_kv"], table["ctf/amp_contrast"] = 1.5, 300, 0.1
    _save(path, _with_images(table, path) if images else table)
    return path


def write_passthrough(path: Path, rows: int = 3) -> Path:
    """A passthrough file: which images."""
    _save(path, _with_images(np.zeros(rows, dtype=[("uid", "<u8")]), path))
    return path


def _with_images(table: np.ndarray, path: Path) -> np.ndarray:
    (path.parent / "stack.mrcs").touch()
    more = [("blob/path", "S32"), ("blob/idx", "<u4"), ("blob/shape", "<u4", 2), ("blob/psize_A", "<f4")]
    whole = np.zeros(len(table), dtype=[*table.dtype.descr, *more])
    for name in table.dtype.names:
        whole[name] = table[name]
    whole["uid"] = np.arange(1, len(table) + 1)
    whole["blob/path"], whole["blob/idx"] = b"stack.mrcs", np.arange(len(table))
    whole["blob/shape"], whole["blob/psize_A"] = 32, 1.5
    return whole


def _save(path: Path, table: np.ndarray) -> None:
    table["uid"] = np.arange(1, len(table) + 1)
    with path.open("wb") as file:
        np.save(file, table)
