"""What the metadata say, before any stack is opened: the common ground of STAR, .cs, pickles and plain stacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.aberrations import Aberration
from covaria.particles.model import ContrastTransfer
from covaria.particles.stacks.resampling import Resampling
from covaria.request.model import IngestOptions

CTF_FIELDS = tuple(entry.name for entry in fields(ContrastTransfer) if entry.default is MISSING)
"""What every image needs (cryoDRGN's columns); a B-factor and a scale may be there besides."""
MOST_EXACT = 2**53
MANY_NAMES = 10_000
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
    found: str | Callable[[int], str]
    """What was found, or how to say it for a row (from 0)."""
    hint: str
    about: Literal["poses", "ctf", "image"] = "image"
    """Which part of the metadata it is about: what another file or option replaces need not be right."""
    file_row: NDArray[np.int64] | None = None
    """(N,) the row of the file (from 0) that each row here comes from, where it is another."""

    def enforce(self, used: NDArray[np.bool_]) -> None:
        """Raise InvalidInput for the first bad row in use."""
        rows = np.flatnonzero(self.bad & used)
        if len(rows):
            more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
            found = self.found(int(rows[0])) if callable(self.found) else self.found
            row = int(rows[0] if self.file_row is None else self.file_row[rows[0]]) + 1
            raise InvalidInput(f"{found}{more}", file=self.file, row=row, column=self.column, hint=self.hint)


def of_images(
    file_row: NDArray[np.int64] | None, of_file: list[RowCheck], others: tuple[RowCheck, ...]
) -> tuple[RowCheck, ...]:
    """Checks of the file's rows, and others of images (N,), as checks of images that name the file's rows."""
    if file_row is None:
        return (*of_file, *others)
    spread = [replace(check, bad=check.bad[file_row], found=_spread(check.found, file_row)) for check in of_file]
    return tuple(replace(check, file_row=file_row) for check in (*spread, *others))


def _spread(found: str | Callable[[int], str], file_row: NDArray[np.int64]) -> str | Callable[[int], str]:
    return (lambda row: found(int(file_row[row]))) if callable(found) else found


@dataclass(frozen=True)
class Grouping:
    """Rows with the same code (N,) are one `what`."""

    what: str
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class Metadata:
    """N rows of metadata; None or an absent key where the file does not say."""

    source: Path
    count: int
    boxes: NDArray[np.float64] | None = None
    pixel_sizes_angstrom: NDArray[np.float64] | None = None
    box: int | None = None
    """Of all rows in use (`common_grid.settled`)."""
    pixel_size_angstrom: float | None = None
    """Of all rows in use (`common_grid.settled`)."""
    magnification: NDArray[np.float64] | None = None
    """(N, 2, 2) RELION's matrix M: the image shows at k the slice at M k."""
    resampling: Resampling | None = None
    """Where rows in use differ in box or pixel size, or are magnified: how they come onto one grid."""
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
    """-1 where the file's image name makes no sense (a check refuses such a row)."""
    image_of_row: NDArray[np.int64] | None = None
    """0-based place in the stack."""
    uid: NDArray[np.uint64] | None = None
    """(N,) the program's own name of each particle, which it keeps when images are written anew."""
    unnumbered: NDArray[np.bool_] | None = None
    """(N,) image names that do not say the place in the stack, which must then hold one image."""
    gain: NDArray[np.float32] | None = None
    """What the images' grey levels are multiplied by: data sign and normalisation where the file has them by row."""
    class_of_row: NDArray[np.int64] | None = None
    """The 3-D class whose alignment a row carries, as the file numbers it; -1 where it belongs to none."""
    class_column: str = ""
    objects: tuple[Grouping, ...] = ()
    """Columns that say which rows are one object (a filament, a particle), not independent measurements."""
    places_pixels: NDArray[np.float64] | None = None
    """(N, 2) where in its micrograph each particle was picked, in micrograph pixels, NaN where unknown."""
    odd_phase: NDArray[np.float64] | None = None
    """(N, T) as in `ContrastTransfer`, and so are the next three."""
    even_phase: NDArray[np.float64] | None = None
    applied: NDArray[np.int8] | None = None
    dose: NDArray[np.float64] | None = None
    particle: NDArray[np.int64] | None = None
    """(N,) code of the particle that each image of a tilt series shows; None where each is a particle of its own."""
    file_row: NDArray[np.int64] | None = None
    """(N,) row of the file that each image comes from; None: its own."""
    aberrations: tuple[Aberration, ...] = ()
    """Those that the image model leaves out."""
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
    if options.no_ctf:
        return _without_ctf(metadata, options)
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
    return _with_geometry(replace(metadata, ctf=ctf), options)


def _with_geometry(metadata: Metadata, options: IngestOptions) -> Metadata:
    pixel_size = agreed(metadata.pixel_size_angstrom, options.pixel_size, "--pixel-size", "the pixel size", metadata)
    box = agreed(metadata.box, options.box, "--box", "the box", metadata)
    return replace(metadata, pixel_size_angstrom=pixel_size, box=None if box is None else round(box))


def _without_ctf(metadata: Metadata, options: IngestOptions) -> Metadata:
    """Images without a CTF: amplitude contrast 1 in focus is a transfer function of 1 at every frequency."""
    given = [name for name in ("ctf", "voltage", "cs", "amplitude_contrast") if getattr(options, name) is not None]
    if given:
        raise InvalidInput(
            f"--no-ctf contradicts --{given[0].replace('_', '-')}",
            file=metadata.source,
            hint="give one of them",
        )
    notes = ["--no-ctf: images are taken to be projections without a contrast transfer function"]
    if metadata.ctf:
        notes.append(f"the CTF parameters of {metadata.source.name} are not used")
    columns = {name: np.zeros(metadata.count) for name in CTF_FIELDS}
    columns |= {"amplitude_contrast": np.ones(metadata.count), "voltage_kv": np.full(metadata.count, 300.0)}
    kept = tuple(check for check in metadata.checks if check.about != "ctf")
    metadata = replace(
        metadata, ctf=columns, odd_phase=None, even_phase=None, applied=None, dose=None, aberrations=(), checks=kept
    )
    return _with_geometry(metadata.with_notes(*notes), options)


def agreed(in_file: float | None, given: float | None, option: str, what: str, metadata: Metadata) -> float | None:
    """One value out of two that must not contradict each other; the file's where both are there."""
    if in_file is not None and given is not None and abs(in_file - given) > AGREEMENT * abs(in_file):
        raise InvalidInput(
            f"{what} is {in_file:g} in the file but {given:g} by {option}",
            file=metadata.source,
            hint=f"leave {option} out, or correct the file",
        )
    return in_file if in_file is not None else given


def without_neutral(ctf: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """CTF columns without a B-factor that is 0 and a scale that is 1 in every row."""
    neutral = {"b_factor_angstrom2": 0.0, "scale": 1.0}
    return {name: values for name, values in ctf.items() if name not in neutral or np.any(values != neutral[name])}


def not_finite(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) True where any entry of a row is NaN or infinite."""
    finite: NDArray[np.bool_] = np.isfinite(values.sum(axis=tuple(range(1, values.ndim))))
    return np.logical_not(finite)


def whole_numbers(values: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers of a file as integers: -1 for what no integer is, or too large to be exact."""
    if values.dtype.kind in "iub":
        return values.astype(np.int64)
    sensible = np.abs(np.nan_to_num(values, nan=np.inf)) < MOST_EXACT
    return np.where(sensible, values, -1).astype(np.int64)


def codes_of(names: NDArray[Any] | list[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Integer codes in order of first appearance, and the names they stand for."""
    if len(names) > MANY_NAMES:
        import pandas  # a million names in a tenth of the time

        codes, unique = pandas.factorize(np.asarray(names, dtype=object))
        return codes.astype(np.int64), tuple(unique.tolist())
    seen: dict[str, int] = {}
    codes = np.fromiter((seen.setdefault(name, len(seen)) for name in names), dtype=np.int64, count=len(names))
    return codes, tuple(seen)
