"""cryoSPARC .cs files (numpy structured arrays) and their passthrough files as `Metadata`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.metadata import AGREEMENT, Metadata, RowCheck, Shifts, codes_of, not_finite
from covaria.particles.rotations import matrices_from_rotation_vectors

CTF_COLUMNS = {
    "defocus_u_angstrom": "ctf/df1_A",
    "defocus_v_angstrom": "ctf/df2_A",
    "defocus_angle_rad": "ctf/df_angle_rad",
    "voltage_kv": "ctf/accel_kv",
    "spherical_aberration_mm": "ctf/cs_mm",
    "amplitude_contrast": "ctf/amp_contrast",
    "phase_shift_rad": "ctf/phase_shift_rad",
}
ALIGNMENTS = ("alignments3D", "alignments_class_0")
ABERRATIONS = ("ctf/tilt_A", "ctf/trefoil_A", "ctf/tetra_A", "ctf/anisomag", "ctf/shift_A")
MAX_HEADER = 200_000


class CsTable:
    """Columns by name, from the main file first, then from passthrough files matched by uid."""

    def __init__(self, source: Path, path: Path, passthrough: Sequence[tuple[Path, Path]]) -> None:
        self.source = source
        self.main = load_cs(path, source)
        self.others: list[tuple[NDArray[Any], NDArray[np.int64]]] = []
        for shown, real in passthrough:
            other = load_cs(real, shown)
            self.others.append((other, _match(self.main, other, source, shown)))

    def __len__(self) -> int:
        return len(self.main)

    def get(self, name: str) -> NDArray[Any] | None:
        if name in (self.main.dtype.names or ()):
            return np.asarray(self.main[name])
        for other, rows in self.others:
            if name in (other.dtype.names or ()):
                return np.asarray(other[name])[rows]
        return None

    def numbers(self, name: str, shape: tuple[int, ...] = ()) -> NDArray[np.float64] | None:
        values = self.get(name)
        if values is None:
            return None
        if values.dtype.kind not in "iufb" or values.shape[1:] != shape:
            raise InvalidInput(
                f"holds {values.dtype} {values.shape[1:]}, numbers {shape} expected", file=self.source, column=name
            )
        return values.astype(np.float64)


def load_cs(path: Path, shown: Path) -> NDArray[Any]:
    """The structured array of one .cs file; never unpickles. Raises InvalidInput."""
    try:
        array = np.lib.format.open_memmap(path, mode="r", max_header_size=MAX_HEADER)  # never unpickles
    except (ValueError, OSError, EOFError, SyntaxError, TypeError, MemoryError, RecursionError, OverflowError) as error:
        reason = str(error).splitlines()[0][:150] if str(error) else type(error).__name__
        raise InvalidInput(
            f"is not a .cs file that can be read safely ({reason})", file=shown, hint="export the particles again"
        ) from None
    if not isinstance(array, np.ndarray) or array.dtype.names is None or array.ndim != 1 or array.dtype.hasobject:
        raise InvalidInput("is not a table of named columns", file=shown, hint="give a cryoSPARC particles .cs file")
    return array


def _match(main: NDArray[Any], other: NDArray[Any], source: Path, shown: Path) -> NDArray[np.int64]:
    """For each row of `main` the row of `other` with the same uid."""
    for array, name in ((main, source), (other, shown)):
        if "uid" not in (array.dtype.names or ()):
            raise InvalidInput(
                "cannot be joined without this column", file=name, column="uid", hint="give files of one cryoSPARC job"
            )
    uids = np.asarray(other["uid"])
    order = np.argsort(uids, kind="stable")
    ordered = uids[order]
    if np.any(ordered[1:] == ordered[:-1]):
        raise InvalidInput(
            "the same uid appears twice", file=shown, column="uid", hint="the passthrough file is damaged"
        )
    wanted = np.asarray(main["uid"])
    place = np.minimum(np.searchsorted(ordered, wanted), max(len(ordered) - 1, 0))
    if len(ordered) == 0 or not np.array_equal(ordered[place], wanted):
        absent = len(wanted) if len(ordered) == 0 else int(np.count_nonzero(ordered[place] != wanted))
        raise InvalidInput(
            f"{absent} of {len(wanted)} particles of {source.name} are not in it",
            file=shown,
            column="uid",
            hint="give the passthrough file of the same job",
        )
    return order[place]


def read_cryosparc(
    path: Path, passthrough: Sequence[tuple[Path, Path]] = (), *, source: Path | None = None
) -> Metadata:
    """A .cs file's metadata; `passthrough` are (name for messages, real path) pairs. Raises InvalidInput."""
    source = source or path
    table = CsTable(source, path, passthrough)
    if len(table) == 0:
        raise InvalidInput("holds no particles", file=source, hint="the selection that wrote it was empty")
    pixel_size = _one_value(table, "blob/psize_A", "pixel size")
    box = _box(table)
    stacks = _image_names(table)
    rotations, shifts, checks = _poses(table)
    ctf: dict[str, NDArray[np.float64]] = {}
    for name, column in CTF_COLUMNS.items():
        values = table.numbers(column)
        if values is not None:
            ctf[name] = values
            checks.append(_finite(values, source, column))
    split = table.numbers("alignments3D/split")
    groups = table.get("ctf/exp_group_id")
    group_names: tuple[str, ...] = ()
    group_codes = None
    if groups is not None:
        group_codes, group_names = codes_of([str(value) for value in groups.tolist()])
    micrograph: NDArray[np.int64] | None = None
    micrograph_names: tuple[str, ...] = ()
    places = table.get("location/micrograph_path")
    if places is not None and places.dtype.kind in "SU":
        micrograph, micrograph_names = codes_of([_text(value) for value in places.tolist()])
    return Metadata(
        source=source,
        count=len(table),
        box=box,
        pixel_size_angstrom=pixel_size,
        rotations=rotations,
        shifts=shifts,
        ctf=ctf,
        column_names={
            **CTF_COLUMNS,
            "rotations": "alignments3D/pose",
            "shifts": "alignments3D/shift",
            "pixel_size_angstrom": "blob/psize_A",
            "box": "blob/shape",
        },
        optics_group=group_codes,
        optics_names=group_names,
        half_set=None if split is None else np.where((split == 0) | (split == 1), split, -1).astype(np.int8),
        micrograph=micrograph,
        micrograph_names=micrograph_names,
        stack_names=stacks[2],
        stack_of_row=stacks[1],
        image_of_row=stacks[0],
        checks=tuple(checks),
        notes=tuple(_ignored_aberrations(table)),
    )


def _text(value: bytes | str) -> str:
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return text.removeprefix(">")


def _image_names(table: CsTable) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    paths, index = table.get("blob/path"), table.numbers("blob/idx")
    for values, column in ((paths, "blob/path"), (index, "blob/idx")):
        if values is None:
            raise InvalidInput(
                "the column is missing",
                file=table.source,
                column=column,
                hint="give the job's passthrough file with --passthrough",
            )
    assert paths is not None
    assert index is not None
    if paths.dtype.kind not in "SU":
        raise InvalidInput(f"holds {paths.dtype}, text expected", file=table.source, column="blob/path")
    unique, inverse = np.unique(paths, return_inverse=True)
    names = [_text(value) for value in unique.tolist()]
    for row in np.flatnonzero(np.array([not name for name in names])[inverse])[:1]:
        raise InvalidInput("the path is empty", file=table.source, row=int(row) + 1, column="blob/path")
    codes, merged = codes_of(names)
    return index.astype(np.int64), codes[inverse], merged


def _poses(table: CsTable) -> tuple[NDArray[np.float64] | None, Shifts | None, list[RowCheck]]:
    for prefix in ALIGNMENTS:
        vectors = table.numbers(f"{prefix}/pose", (3,))
        if vectors is None:
            continue
        checks = [_finite(vectors, table.source, f"{prefix}/pose")]
        rotations = matrices_from_rotation_vectors(vectors)
        shift = table.numbers(f"{prefix}/shift", (2,))
        if shift is None:
            return rotations, None, checks
        checks.append(_finite(shift, table.source, f"{prefix}/shift"))
        pixel = table.numbers(f"{prefix}/psize_A")
        if pixel is None:
            return rotations, Shifts(shift, "pixel"), checks
        column = f"{prefix}/psize_A"
        checks.append(
            RowCheck(~(pixel > 0), table.source, column, "the alignment's pixel size is not positive", "align again")
        )
        return rotations, Shifts(shift * pixel[:, None], "angstrom"), checks
    return None, None, []


def _one_value(table: CsTable, column: str, what: str) -> float | None:
    values = table.numbers(column)
    if values is None:
        return None
    if not np.all(values > 0):
        row = int(np.flatnonzero(~(values > 0))[0])
        raise InvalidInput(
            f"the {what} must be positive, found {values[row]:g}", file=table.source, row=row + 1, column=column
        )
    if np.ptp(values) > AGREEMENT * values[0]:
        row = int(np.argmax(np.abs(values - values[0])))
        raise InvalidInput(
            f"all particles must share one {what}, but row 1 has {values[0]:g} and row {row + 1} has {values[row]:g}",
            file=table.source,
            column=column,
            hint="resample to one pixel size in cryoSPARC, or split the set",
        )
    return float(values[0])


def _box(table: CsTable) -> int | None:
    shape = table.numbers("blob/shape", (2,))
    if shape is None:
        return None
    different = np.flatnonzero((shape != shape[0]).any(axis=1))
    if len(different):
        row = int(different[0])
        raise InvalidInput(
            f"all images must share one box, but row 1 has {shape[0].tolist()}, row {row + 1} {shape[row].tolist()}",
            file=table.source,
            column="blob/shape",
        )
    if shape[0, 0] != shape[0, 1]:
        raise InvalidInput(f"images must be square, found {shape[0].tolist()}", file=table.source, column="blob/shape")
    return int(shape[0, 0])


def _finite(values: NDArray[np.float64], source: Path, column: str) -> RowCheck:
    return RowCheck(
        not_finite(values), source, column, "the value is not finite", "correct it, or leave these rows out with --ind"
    )


def _ignored_aberrations(table: CsTable) -> list[str]:
    found = []
    for column in ABERRATIONS:
        values = table.get(column)
        if values is not None and values.dtype.kind == "f" and np.any(np.nan_to_num(values) != 0):
            found.append(column)
    return (
        [f"higher aberrations and anisotropic magnification are not modelled; ignored: {', '.join(found)}"]
        if found
        else []
    )
