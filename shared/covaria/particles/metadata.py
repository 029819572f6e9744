"""What the metadata say, before any stack is opened: the common ground of STAR, .cs, pickles and plain stacks."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.model import ContrastTransfer
from covaria.request.model import IngestOptions

CTF_FIELDS = tuple(entry.name for entry in fields(ContrastTransfer))
AGREEMENT = 1e-3
"""Two values for the same quantity agree when they differ by less than this fraction (files print few digits)."""


@dataclass(frozen=True)
class Shifts:
    """Origins (N, 2), x then y, in pixels of the image, in angstrom or as a fraction of the box."""

    values: NDArray[np.float64]
    unit: Literal["pixel", "angstrom", "box"]

    def pixels(self, box: int, pixel_size_angstrom: float) -> NDArray[np.float64]:
        scale = {"pixel": 1.0, "angstrom": 1.0 / pixel_size_angstrom, "box": float(box)}[self.unit]
        return self.values * scale


@dataclass(frozen=True)
class RowCheck:
    """Rows that must not be used, and why. A row that `--ind` excludes may be as bad as it likes."""

    bad: NDArray[np.bool_]
    file: Path
    column: str
    found: str
    hint: str

    def enforce(self, used: NDArray[np.bool_]) -> None:
        """Raise InvalidInput for the first bad row in use."""
        rows = np.flatnonzero(self.bad & used)
        if len(rows):
            more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
            raise InvalidInput(
                f"{self.found}{more}", file=self.file, row=int(rows[0]) + 1, column=self.column, hint=self.hint
            )


@dataclass(frozen=True)
class Metadata:
    """N rows of metadata; None or an absent key where the file does not say."""

    source: Path
    count: int
    box: int | None = None
    pixel_size_angstrom: float | None = None
    rotations: NDArray[np.float64] | None = None
    shifts: Shifts | None = None
    ctf: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Columns of `ContrastTransfer` by field name."""
    column_names: dict[str, str] = field(default_factory=dict)
    """How the file calls our fields, for messages."""
    optics_group: NDArray[np.int64] | None = None
    optics_names: tuple[str, ...] = ()
    in_optics_groups: bool = False
    """The pixel size stands in data_optics: RELION 3.1 or later."""
    half_set: NDArray[np.int8] | None = None
    micrograph: NDArray[np.int64] | None = None
    micrograph_names: tuple[str, ...] = ()
    stack_names: tuple[str, ...] = ()
    """Stacks as the file writes them; empty where the input is the stack itself."""
    stack_of_row: NDArray[np.int64] | None = None
    image_of_row: NDArray[np.int64] | None = None
    """0-based place in the stack."""
    checks: tuple[RowCheck, ...] = ()
    notes: tuple[str, ...] = ()

    def named(self, field_name: str) -> str:
        return self.column_names.get(field_name, field_name)

    def missing_pose(self) -> list[str]:
        """Names of the pose columns that are not there."""
        names = [] if self.rotations is not None else self.named("rotations").split(", ")
        return names + ([] if self.shifts is not None else [self.named("shifts")])

    def missing_ctf(self) -> list[str]:
        """Names of the CTF columns that are not there (a phase shift may be absent: 0)."""
        return [self.named(name) for name in CTF_FIELDS if name not in self.ctf and name != "phase_shift_rad"]

    def with_notes(self, *notes: str) -> Metadata:
        return replace(self, notes=self.notes + notes)


def fill_from_options(metadata: Metadata, options: IngestOptions) -> Metadata:
    """Add what the command line gives and the file lacks. Raises InvalidInput where the two disagree."""
    given = {
        "voltage_kv": (options.voltage, "--voltage"),
        "spherical_aberration_mm": (options.cs, "--cs"),
        "amplitude_contrast": (options.amplitude_contrast, "--amplitude-contrast"),
    }
    ctf = dict(metadata.ctf)
    for name, (value, option) in given.items():
        if value is None:
            continue
        if name not in ctf:
            ctf[name] = np.full(metadata.count, float(value))
            continue
        differs = ~np.isclose(ctf[name], value, rtol=AGREEMENT, atol=1e-9)
        if differs.any():
            row = int(np.flatnonzero(differs)[0])
            raise InvalidInput(
                f"the file says {ctf[name][row]:g}, {option} says {value:g}",
                file=metadata.source,
                row=row + 1,
                column=metadata.named(name),
                hint=f"leave {option} out, or correct the file",
            )
    pixel_size = agreed(metadata.pixel_size_angstrom, options.pixel_size, "--pixel-size", "the pixel size", metadata)
    box = agreed(metadata.box, options.box, "--box", "the box", metadata)
    return replace(metadata, ctf=ctf, pixel_size_angstrom=pixel_size, box=None if box is None else round(box))


def agreed(in_file: float | None, given: float | None, option: str, what: str, metadata: Metadata) -> float | None:
    """One value out of two that must not contradict each other; the file's where both are there."""
    if in_file is not None and given is not None and abs(in_file - given) > AGREEMENT * abs(in_file):
        raise InvalidInput(
            f"{what} is {in_file:g} in the file but {given:g} by {option}",
            file=metadata.source,
            hint=f"leave {option} out, or correct the file",
        )
    return in_file if in_file is not None else given


def not_finite(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) True where any entry of a row is NaN or infinite."""
    finite: NDArray[np.bool_] = np.isfinite(values.sum(axis=tuple(range(1, values.ndim))))
    return np.logical_not(finite)


def codes_of(names: NDArray[Any] | list[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Integer codes in order of first appearance, and the names they stand for."""
    seen: dict[str, int] = {}
    codes = np.fromiter((seen.setdefault(name, len(seen)) for name in names), dtype=np.int64, count=len(names))
    return codes, tuple(seen)
