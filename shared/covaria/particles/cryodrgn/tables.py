"""cryoDRGN's pickles: poses, CTF, indices, half-sets, as checked arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
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


def read_poses(path: Path, count: int, *, shown: Path | None = None) -> PoseTable:
    """A tuple or list (rotations, translations), or rotations alone, for `count` particles. Raises InvalidInput."""
    shown = shown or path
    value = load_pickle(path, shown=shown)
    parts = list(value) if type(value) in (list, tuple) else [value]
    if not 1 <= len(parts) <= 2:
        raise InvalidInput(
            f"holds {len(parts)} items, (rotations, translations) expected", file=shown, hint="write poses.pkl again"
        )
    rotations = _numbers(parts[0], (count, 3, 3), "rotations", shown)
    fractions = (
        _numbers(parts[1], (count, 2), "translations", shown) if len(parts) == 2 and parts[1] is not None else None
    )
    error = orthonormality_error(np.nan_to_num(rotations, posinf=0.0, neginf=0.0))
    again = "write poses.pkl again, or leave these rows out with --ind"
    checks = [
        RowCheck(not_finite(rotations), shown, "rotation", "the value is not finite", again),
        RowCheck(~(error < ORTHONORMAL), shown, "rotation", "the matrix is not a rotation", again),
    ]
    if fractions is not None:
        checks += [RowCheck(not_finite(fractions), shown, "translation", "the value is not finite", again)]
        too_far = np.abs(np.nan_to_num(fractions)).max(axis=1, initial=0.0) > 1
        unit = "translations here are fractions of the box, not pixels or angstrom: divide them by the box"
        checks += [RowCheck(too_far, shown, "translation", "a translation is larger than the box", unit)]
    return PoseTable(rotations, fractions, tuple(checks))


def read_ctf(path: Path, count: int, *, shown: Path | None = None) -> CtfColumns:
    """cryoDRGN's (N, 9) table, or its older (N, 8) ones where the layout is beyond doubt. Raises InvalidInput."""
    shown = shown or path
    value = load_pickle(path, shown=shown)
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.shape[1] not in (8, 9):
        shape = getattr(value, "shape", type(value).__name__)
        raise InvalidInput(f"holds {shape}, a table of {count} x 9 expected", file=shown, hint="write ctf.pkl again")
    table = _numbers(value, (count, value.shape[1]), "CTF parameters", shown)
    names = CTF_NINE if table.shape[1] == 9 else _older_layout(table, shown)
    columns = {name: table[:, place] for place, name in enumerate(names)}
    columns.setdefault("phase_shift_rad", np.zeros(count))
    again = "write ctf.pkl again, or leave these rows out with --ind"
    checks = [
        RowCheck(not_finite(values), shown, name, "the value is not finite", again) for name, values in columns.items()
    ]
    pixel_size = _shared(columns.pop("pixel_size_angstrom"), "pixel size", shown)
    box = round(_shared(columns.pop("box"), "box", shown)) if "box" in columns else None
    for name in ("defocus_angle_rad", "phase_shift_rad"):
        columns[name] = np.deg2rad(columns[name])
    return CtfColumns(columns, pixel_size, box, tuple(checks))


def _older_layout(table: NDArray[np.float64], shown: Path) -> tuple[str, ...]:
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
            "8 columns whose meaning cannot be told", file=shown, hint="write the 9 columns of today's cryoDRGN"
        )
    return layouts[0]


def read_index(path: Path, count: int, *, shown: Path | None = None) -> NDArray[np.int64]:
    """Ascending rows from pickled integers (array or list) or a mask of length `count`. Raises InvalidInput."""
    shown = shown or path
    values = _integers(load_pickle(path, shown=shown), shown, "an index file")
    if values.dtype == bool:
        if len(values) != count:
            raise InvalidInput(
                f"a mask of {len(values)} rows for {count} particles",
                file=shown,
                hint="indices refer to the original rows",
            )
        return np.flatnonzero(values)
    return np.unique(_in_range(values, count, shown))


def read_halfsets(path: Path, count: int, *, shown: Path | None = None) -> NDArray[np.int8]:
    """(count,) 0 or 1, -1 for rows in neither, from a pickled list of two arrays of rows. Raises InvalidInput."""
    shown = shown or path
    value = load_pickle(path, shown=shown)
    if type(value) not in (list, tuple) or len(value) != 2:
        raise InvalidInput(
            "two arrays of rows expected, one for each half-set",
            file=shown,
            hint="a list [rows of half 1, rows of half 2]",
        )
    halves = [_in_range(_integers(half, shown, "a half-set"), count, shown) for half in value]
    out = np.full(count, -1, dtype=np.int8)
    out[halves[0]] = 0
    twice = np.flatnonzero(out[halves[1]] == 0)
    if len(twice):
        raise InvalidInput(
            "the row is in both half-sets",
            file=shown,
            row=int(halves[1][twice[0]]) + 1,
            hint="half-sets must not overlap",
        )
    out[halves[1]] = 1
    for half, rows in enumerate(halves, start=1):
        if len(rows) == 0:
            raise InvalidInput(
                f"half-set {half} is empty", file=shown, hint="give two half-sets, or leave --halfsets out"
            )
    return out


def _numbers(value: Any, shape: tuple[int, ...], what: str, shown: Path) -> NDArray[np.float64]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise InvalidInput(f"{what} are {kind}, an array of numbers expected", file=shown, hint="write the file again")
    if value.ndim == len(shape) and value.shape[1:] == shape[1:] and value.shape[0] != shape[0]:
        raise InvalidInput(
            f"{what} for {value.shape[0]} particles, but the input has {shape[0]}",
            file=shown,
            hint="give the file that belongs to this input",
        )
    if value.shape != shape:
        raise InvalidInput(f"{what} of shape {value.shape}, {shape} expected", file=shown, hint="write the file again")
    return value.astype(np.float64)


def _integers(value: Any, shown: Path, what: str) -> NDArray[Any]:
    if type(value) is list and all(
        type(item) in (int, bool) or isinstance(item, np.integer | np.bool_) for item in value
    ):
        try:
            value = np.array(value, dtype=None if value else np.int64)
        except OverflowError:
            value = None
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in "iub":
        kind = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise InvalidInput(
            f"{what} needs a row of integers, found {kind}", file=shown, hint="np.flatnonzero(keep) makes one"
        )
    return value


def _in_range(values: NDArray[Any], count: int, shown: Path) -> NDArray[np.int64]:
    if values.dtype == bool:
        values = np.flatnonzero(values)
    bad = np.flatnonzero((values < 0) | (values >= count))
    if len(bad):
        raise InvalidInput(
            f"index {values[bad[0]]} at place {bad[0] + 1}, but rows go from 0 to {count - 1}",
            file=shown,
            hint="indices refer to the original rows",
        )
    return values.astype(np.int64)


def _shared(values: NDArray[np.float64], what: str, shown: Path) -> float:
    if not np.all(np.isfinite(values)) or not np.all(values > 0):
        row = int(np.flatnonzero(~(np.isfinite(values) & (values > 0)))[0])
        raise InvalidInput(f"the {what} is {values[row]:g}", file=shown, row=row + 1, hint="write ctf.pkl again")
    if np.ptp(values) > 1e-3 * values[0]:
        raise InvalidInput(
            f"mixes {what}s: {values.min():g} to {values.max():g}", file=shown, hint="all particles must share one"
        )
    return float(values[0])
