"""cryoDRGN's tables of poses and CTF parameters as checked arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.bounds import ctf_checks
from covaria.particles.metadata import RowCheck, not_finite
from covaria.particles.rotations import orthonormality_error
from covaria.pickles import load_pickle

ORTHONORMAL = 1e-2
CTF_NINE = (
    "box", "pixel_size_angstrom", "defocus_u_angstrom", "defocus_v_angstrom", "defocus_angle_rad",
    "voltage_kv", "spherical_aberration_mm", "amplitude_contrast", "phase_shift_rad",
)  # fmt: skip
VOLTAGES = (50.0, 1500.0)


@dataclass(frozen=True)
class PoseTable:
    """rotations (N, 3, 3); fractions (N, 2) of the box, or None where the file has rotations alone."""

    rotations: NDArray[np.float64]
    fractions: NDArray[np.float64] | None
    checks: tuple[RowCheck, ...]


@dataclass(frozen=True)
class CtfColumns:
    """`columns` by `ContrastTransfer` field (angles in radians); box is None in the 8-column layout that lacks it."""

    columns: dict[str, NDArray[np.float64]]
    pixel_size_angstrom: float
    box: int | None
    checks: tuple[RowCheck, ...]


def read_poses(path: Path, count: int, roots: Roots = ANYWHERE) -> PoseTable:
    """A tuple or list (rotations, translations), or rotations alone, for `count` particles. Raises InvalidInput."""
    value = load_pickle(path, roots=roots)
    parts = list(value) if type(value) in (list, tuple) else [value]
    if isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] in (8, 9):
        raise InvalidInput(
            f"holds {value.shape[1]} columns, as CTF parameters do",
            file=path,
            hint="is this ctf.pkl? give it with --ctf, poses.pkl with --poses",
        )
    if not 1 <= len(parts) <= 2:
        raise InvalidInput(
            f"holds {len(parts)} items, (rotations, translations) expected", file=path, hint="write poses.pkl again"
        )
    rotations = _numbers(parts[0], (count, 3, 3), "rotations", path)
    fractions = (
        _numbers(parts[1], (count, 2), "translations", path) if len(parts) == 2 and parts[1] is not None else None
    )
    error = orthonormality_error(np.nan_to_num(rotations, posinf=0.0, neginf=0.0))
    again = "write poses.pkl again, or leave these rows out with --ind"
    checks = [
        RowCheck(not_finite(rotations), path, "rotation", "the value is not finite", again, "poses"),
        RowCheck(~(error < ORTHONORMAL), path, "rotation", "the matrix is not a rotation", again, "poses"),
    ]
    if fractions is not None:
        checks += [RowCheck(not_finite(fractions), path, "translation", "the value is not finite", again, "poses")]
        too_far = np.abs(np.nan_to_num(fractions)).max(axis=1, initial=0.0) > 1
        unit = "translations here are fractions of the box, not pixels or angstrom: divide them by the box"
        checks += [RowCheck(too_far, path, "translation", "a translation is larger than the box", unit, "poses")]
    return PoseTable(rotations, fractions, tuple(checks))


def read_ctf(path: Path, used: NDArray[np.bool_], roots: Roots = ANYWHERE) -> CtfColumns:
    """cryoDRGN's (N, 9) table, or its older (N, 8) ones where the layout is beyond doubt. Raises InvalidInput.

    Rows not in `used` (N,) may hold anything.
    """
    count = len(used)
    value = load_pickle(path, roots=roots)
    if isinstance(value, tuple | list) and len(value) == 2:
        raise InvalidInput(
            "holds a pair, as poses do", file=path, hint="is this poses.pkl? give it with --poses, ctf.pkl with --ctf"
        )
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.shape[1] not in (8, 9):
        shape = getattr(value, "shape", type(value).__name__)
        raise InvalidInput(
            f"holds {shape}, a table of {count} x 9 expected ({', '.join(CTF_NINE)})",
            file=path,
            hint="write ctf.pkl again (cryodrgn parse_ctf_star or parse_ctf_csparc, or `covaria inspect --export`)",
        )
    table = _numbers(value, (count, value.shape[1]), "CTF parameters", path)
    names = CTF_NINE if table.shape[1] == 9 else _older_layout(table[used], path)
    columns = {name: table[:, place] for place, name in enumerate(names)}
    columns.setdefault("phase_shift_rad", np.zeros(count))
    pixel_size = _shared(columns.pop("pixel_size_angstrom"), "pixel size", used, path)
    box = round(_shared(columns.pop("box"), "box", used, path)) if "box" in columns else None
    for name in ("defocus_angle_rad", "phase_shift_rad"):
        columns[name] = np.deg2rad(columns[name])
    places = {name: f"{CTF_NINE.index(name) + 1} ({name})" for name in columns}
    return CtfColumns(columns, pixel_size, box, tuple(ctf_checks(columns, path, places, angles="degree")))


def _older_layout(table: NDArray[np.float64], path: Path) -> tuple[str, ...]:
    """Eight columns: either without the box, or without the phase shift; told apart by where a voltage can be."""

    def plausible(names: tuple[str, ...]) -> bool:
        column = {name: table[:, place] for place, name in enumerate(names)}
        box = column.get("box")
        return bool(
            np.all((column["voltage_kv"] >= VOLTAGES[0]) & (column["voltage_kv"] <= VOLTAGES[1]))
            and np.all((column["amplitude_contrast"] >= 0) & (column["amplitude_contrast"] < 1))
            and np.all((column["spherical_aberration_mm"] >= 0) & (column["spherical_aberration_mm"] < 20))
            and np.all((column["pixel_size_angstrom"] > 0.05) & (column["pixel_size_angstrom"] < 50))
            and (box is None or bool(np.all((box >= 16) & (box == np.round(box)))))
        )

    layouts = [names for names in (CTF_NINE[1:], CTF_NINE[:-1]) if plausible(names)]
    if len(layouts) != 1:
        raise InvalidInput(
            f"8 columns; which of the nine ({', '.join(CTF_NINE)}) is absent cannot be told",
            file=path,
            hint="write the nine columns of today's cryoDRGN",
        )
    return layouts[0]


def _numbers(value: Any, shape: tuple[int, ...], what: str, path: Path) -> NDArray[np.float64]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise InvalidInput(f"{what} are {kind}, an array of numbers expected", file=path, hint="write the file again")
    if value.ndim == len(shape) and value.shape[1:] == shape[1:] and value.shape[0] != shape[0]:
        raise InvalidInput(
            f"{what} for {value.shape[0]} particles, but the input has {shape[0]}",
            file=path,
            hint="give the file that belongs to this input",
        )
    if value.shape != shape:
        raise InvalidInput(f"{what} of shape {value.shape}, {shape} expected", file=path, hint="write the file again")
    return value.astype(np.float64)


def _shared(values: NDArray[np.float64], what: str, used: NDArray[np.bool_], path: Path) -> float:
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)) & used)
    if len(wrong):
        row = int(wrong[0])
        raise InvalidInput(f"the {what} is {values[row]:g}", file=path, row=row + 1, hint="write ctf.pkl again")
    values = values[used]
    if np.ptp(values) > 1e-3 * values[0]:
        raise InvalidInput(
            f"mixes {what}s: {values.min():g} to {values.max():g}", file=path, hint="all particles must share one"
        )
    return float(values[0])
