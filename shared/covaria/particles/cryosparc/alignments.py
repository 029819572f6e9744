"""Poses of a .cs file: those of one refinement, or of the class that each particle belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.bounds import rotation_vector_check
from covaria.particles.cryosparc.table import CsTable
from covaria.particles.metadata import RowCheck, Shifts, not_finite
from covaria.particles.rotations import matrices_from_rotation_vectors

SINGLE, MULTIPLE, OF_CLASS = "alignments3D", "alignments3D_multi", re.compile(r"alignments_class_(\d+)/pose")
AGAIN = "correct it, or leave these rows out with --ind"


@dataclass(frozen=True)
class Alignment:
    """One pose for each row, all of `prefix`; angstrom and pixels as cryoSPARC writes them.

    pose (N, 3), shift (N, 2) in pixels of pixel_size_angstrom (N,), split (N,) 0 or 1, posterior (N,); None: not there
    """

    prefix: str
    pose: NDArray[np.float64]
    shift: NDArray[np.float64] | None
    pixel_size_angstrom: NDArray[np.float64] | None
    split: NDArray[np.float64] | None
    posterior: NDArray[np.float64] | None


@dataclass(frozen=True)
class Poses:
    """What `Metadata` wants to know; `class_of_row` (N,) where there are several classes."""

    rotations: NDArray[np.float64] | None
    shifts: Shifts | None
    split: NDArray[np.float64] | None
    prefix: str
    class_of_row: NDArray[np.int64] | None
    checks: tuple[RowCheck, ...]
    notes: tuple[str, ...]

    @property
    def half_set(self) -> NDArray[np.int8] | None:
        """(N,) 0 or 1; -1 where `split` says neither."""
        if self.split is None:
            return None
        return np.where((self.split == 0) | (self.split == 1), self.split, -1).astype(np.int8)


def read_poses(table: CsTable, class_number: int | None) -> Poses:
    """The refinement's poses, or for each row those of its most probable class (of `class_number`, where given).

    Raises InvalidInput where several classes are there and nothing tells which is whose.
    """
    classes = _alignments(table)
    if not classes:
        return Poses(None, None, None, SINGLE, None, (), ())
    if class_number is not None and class_number not in classes:
        raise InvalidInput(
            f"there is no class {class_number}; the file has {', '.join(map(str, sorted(classes)))}",
            file=table.source,
            column=f"alignments_class_{class_number}/pose",
            hint="give one of these with --class",
        )
    if len(classes) == 1:
        return _as_poses(next(iter(classes.values())), table, None, ())
    chosen, notes = _choice(classes, class_number, table)
    return _as_poses(_picked(classes, chosen), table, chosen, notes)


def _choice(
    classes: dict[int, Alignment], class_number: int | None, table: CsTable
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """(N,) the class whose pose each row takes."""
    numbers = np.array(sorted(classes))
    listed = ", ".join(map(str, numbers.tolist()))
    posteriors = [classes[number].posterior for number in numbers.tolist()]
    if any(values is None for values in posteriors):
        if class_number is None:
            raise InvalidInput(
                f"{len(numbers)} classes ({listed}), and no class_posterior says which class a particle belongs to",
                file=table.source,
                column=f"{classes[int(numbers[0])].prefix}/class_posterior",
                hint="give --class NUMBER to use the poses of one of them, or the particles of one class",
            )
        return np.full(len(table), class_number), (f"poses are those of class {class_number} of {listed}",)
    known = np.nan_to_num(np.stack([values for values in posteriors if values is not None]), nan=-1.0)
    chosen = numbers[np.argmax(known, axis=0)]
    counts = ", ".join(f"{int(np.sum(chosen == number))} in class {number}" for number in numbers.tolist())
    return chosen, (f"{len(numbers)} classes; each particle has the pose of its most probable class: {counts}",)


def _picked(classes: dict[int, Alignment], chosen: NDArray[np.int64]) -> Alignment:
    """Row by row the values of the chosen class; a column that one class lacks is missing."""
    first = classes[min(classes)]

    def pick(name: str) -> NDArray[np.float64] | None:
        columns = {number: getattr(alignment, name) for number, alignment in classes.items()}
        if any(values is None for values in columns.values()):
            return None
        out = np.array(columns[min(columns)])
        for number, values in columns.items():
            out[chosen == number] = values[chosen == number]
        return out

    pose = pick("pose")
    assert pose is not None
    others = (pick(name) for name in ("shift", "pixel_size_angstrom", "split", "posterior"))
    return Alignment(first.prefix, pose, *others)


def _alignments(table: CsTable) -> dict[int, Alignment]:
    """By class number; one refinement is class 0. The main file's own columns come before a passthrough's."""
    for names in ([name for name in table.main.dtype.names or ()], table.names):
        if f"{SINGLE}/pose" in names:
            return {0: _one(table, SINGLE)}
        found = sorted(int(match.group(1)) for name in names if (match := OF_CLASS.fullmatch(name)))
        if found:
            return {number: _one(table, f"alignments_class_{number}") for number in found}
        if f"{MULTIPLE}/pose" in names:
            return _multiple(table)
    return {}


def _one(table: CsTable, prefix: str) -> Alignment:
    pose = table.numbers(f"{prefix}/pose", (3,))
    assert pose is not None
    return Alignment(
        prefix,
        pose,
        table.numbers(f"{prefix}/shift", (2,)),
        table.numbers(f"{prefix}/psize_A"),
        table.numbers(f"{prefix}/split"),
        table.numbers(f"{prefix}/class_posterior"),
    )


def _multiple(table: CsTable) -> dict[int, Alignment]:
    """3-D classification writes all K classes in one column: pose (N, K, 3), shift (N, K, 2), the rest (N, K)."""
    pose = table.get(f"{MULTIPLE}/pose")
    assert pose is not None
    if pose.ndim != 3 or pose.shape[2] != 3 or pose.dtype.kind != "f":
        raise InvalidInput(f"holds {pose.dtype} {pose.shape[1:]}, (classes, 3) numbers expected", file=table.source,
                           column=f"{MULTIPLE}/pose")  # fmt: skip
    count = pose.shape[1]
    shift = table.numbers(f"{MULTIPLE}/shift", (count, 2))
    posterior = table.numbers(f"{MULTIPLE}/class_posterior", (count,))
    shared = {name: _shared(table, name, count) for name in ("psize_A", "split")}
    return {
        number: Alignment(
            MULTIPLE,
            pose[:, number].astype(np.float64),
            None if shift is None else shift[:, number],
            None if shared["psize_A"] is None else shared["psize_A"][:, number],
            None if shared["split"] is None else shared["split"][:, number],
            None if posterior is None else posterior[:, number],
        )
        for number in range(count)
    }


def _shared(table: CsTable, name: str, count: int) -> NDArray[np.float64] | None:
    """(N, count) from a column with one value a row, or one for each class."""
    values = table.get(f"{MULTIPLE}/{name}")
    if values is None:
        return None
    if values.ndim == 1:
        values = np.repeat(values[:, None], count, axis=1)
    if values.shape[1:] != (count,) or values.dtype.kind not in "iuf":
        raise InvalidInput(f"holds {values.dtype} {values.shape[1:]}", file=table.source, column=f"{MULTIPLE}/{name}")
    return values.astype(np.float64)


def _as_poses(
    alignment: Alignment, table: CsTable, class_of_row: NDArray[np.int64] | None, notes: tuple[str, ...]
) -> Poses:
    prefix, source = alignment.prefix, table.source
    checks = [
        RowCheck(not_finite(alignment.pose), source, f"{prefix}/pose", "the value is not finite", AGAIN, "poses"),
        rotation_vector_check(alignment.pose, source, f"{prefix}/pose"),
    ]
    if alignment.shift is None:
        notes += (f"no {prefix}/shift in the file: particles are taken as centred",)
        shifts = Shifts(np.zeros((len(table), 2)), "pixel")
    else:
        column, bad = f"{prefix}/shift", not_finite(alignment.shift)
        checks.append(RowCheck(bad, source, column, "the value is not finite", AGAIN, "poses"))
        shifts = Shifts(alignment.shift, "pixel")
    pixel = alignment.pixel_size_angstrom
    if pixel is not None and alignment.shift is not None:
        found = "the alignment's pixel size is not positive"
        checks.append(RowCheck(~(pixel > 0), source, f"{prefix}/psize_A", found, "align again", "poses"))
        shifts = Shifts(alignment.shift * pixel[:, None], "angstrom")
    rotations = matrices_from_rotation_vectors(alignment.pose)
    return Poses(rotations, shifts, alignment.split, prefix, class_of_row, tuple(checks), notes)
