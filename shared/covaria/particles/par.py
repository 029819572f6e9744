"""Frealign's and cisTEM's .par files: a line for each image, its number in the stack, fixed columns, C for comments.

Frealign 9 writes 16 columns: NO PSI THETA PHI SHX SHY MAG FILM DF1 DF2 ANGAST OCC LogP SIGMA SCORE CHANGE; cisTEM 17:
PSHIFT (radians) comes after ANGAST. Angles are degrees, shifts and defocus angstrom; shifts bring the image back to its
centre. Nothing is said of voltage, aberration, amplitude contrast and pixel size.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.bounds import ctf_checks, euler_check
from covaria.particles.metadata import Metadata, RowCheck, Shifts, not_finite
from covaria.particles.rotations import matrices_from_euler

MARK = b"C"
BEFORE = ("NO", "PSI", "THETA", "PHI", "SHX", "SHY", "MAG", "FILM", "DF1", "DF2", "ANGAST")
AFTER = ("OCC", "LogP", "SIGMA", "SCORE", "CHANGE")
KINDS = {len(BEFORE + AFTER): BEFORE + AFTER, len(BEFORE + AFTER) + 1: (*BEFORE, "PSHIFT", *AFTER)}
ANGLES, SHIFTS = ("PHI", "THETA", "PSI"), ("SHX", "SHY")
CTF_COLUMNS = {
    "defocus_u_angstrom": "DF1", "defocus_v_angstrom": "DF2", "defocus_angle_rad": "ANGAST",
    "phase_shift_rad": "PSHIFT",
}  # fmt: skip
AGAIN = "correct it, or leave these rows out with --ind"
KNOWN = "give a .par of Frealign 9 (16 columns) or cisTEM (17): export again, or give a .star"


class ParTable:
    """The rows of a .par file, read once. Raises InvalidInput for lines that are no rows of one known kind."""

    def __init__(self, path: Path, roots: Roots = ANYWHERE) -> None:
        with roots.open(path) as file:
            self.lines = file.read().splitlines(keepends=True)
        self.path = path
        self.is_row = np.array([bool(line.strip()) and not line.startswith(MARK) for line in self.lines], bool)
        rows = [self.lines[number].split() for number in np.flatnonzero(self.is_row).tolist()]
        if not rows:
            raise InvalidInput("holds no particles", file=path, hint="the selection that wrote it was empty")
        if len(rows[0]) not in KINDS:
            raise InvalidInput(f"has {len(rows[0])} columns", file=path, row=1, hint=KNOWN)
        for number, row in enumerate(rows, 1):
            if len(row) != len(rows[0]):
                found = f"{len(row)} values where the first row has {len(rows[0])}"
                raise InvalidInput(found, file=path, row=number, hint="values that ran together: part them by a space")
        self.names = KINDS[len(rows[0])]
        self._values = _numbers(rows, self.names, path)

    def column(self, name: str) -> NDArray[np.float64]:
        """(N,) by its name in the heading."""
        return self._values[:, self.names.index(name)]

    def write(self, keep: NDArray[np.bool_], target: BinaryIO) -> None:
        """The file with those rows for which keep (N,) is true, every kept byte as it was.

        Raises InvalidInput where the file has not N rows.
        """
        self.refuse_other(len(keep))
        kept = ~self.is_row
        kept[self.is_row] = keep
        target.writelines(self.lines[number] for number in np.flatnonzero(kept).tolist())

    def refuse_other(self, count: int) -> None:
        """Raise InvalidInput where the file has not `count` rows."""
        if len(self._values) != count:
            raise InvalidInput(
                f"has {len(self._values)} rows, the run had {count}", file=self.path,
                hint="give the file that the run was made from with --source",
            )  # fmt: skip


def read_par(path: Path, roots: Roots = ANYWHERE) -> Metadata:
    """The metadata of one file; its images are those of the stack of the same name beside it. Raises InvalidInput."""
    table = ParTable(path, roots)
    column = {name: table.column(name) for name in table.names}
    number, count = column["NO"], len(column["NO"])
    sensible = (number >= 1) & (number == np.floor(number)) & (number < 2**31)
    ctf = {name: column[label] for name, label in CTF_COLUMNS.items() if label in column}
    ctf["defocus_angle_rad"] = np.deg2rad(ctf["defocus_angle_rad"])
    angles = np.stack([column[name] for name in ANGLES], axis=1)
    films, film_of = np.unique(column["FILM"], return_inverse=True)
    stack = path.with_suffix(".mrc").name
    poses = [
        RowCheck(not_finite(column[name]), path, name, "the value is not finite", AGAIN, "poses")
        for name in (*ANGLES, *SHIFTS)
    ]
    return Metadata(
        source=path,
        count=count,
        rotations=matrices_from_euler(angles),
        shifts=Shifts(-np.stack([column[name] for name in SHIFTS], axis=1), "angstrom"),
        ctf=ctf,
        column_names=CTF_COLUMNS | {"shifts": ", ".join(SHIFTS), "rotations": ", ".join(ANGLES), "image": "NO"},
        optics_group=np.zeros(count, dtype=np.int64),
        optics_names=("1",),
        micrograph=film_of.astype(np.int64),
        micrograph_names=tuple(f"{film:g}" for film in films),
        stack_names=(stack,),
        stack_of_row=np.zeros(count, dtype=np.int64),
        image_of_row=np.where(sensible, number - 1, -1).astype(np.int64),
        unnumbered=np.zeros(count, dtype=bool),
        checks=(
            RowCheck(~sensible, path, "NO", lambda row: f"{number[row]:g} is no place in a stack", "they count from 1"),
            *poses, euler_check(angles, path, ANGLES), *ctf_checks(ctf, path, CTF_COLUMNS, angles="degree"),
        ),
        notes=(f"{path.name} names no stack: the images are those of {path.stem}.mrc",),
    )  # fmt: skip


def _numbers(rows: list[list[bytes]], names: tuple[str, ...], path: Path) -> NDArray[np.float64]:
    try:
        return np.array(rows).astype(np.float64)
    except ValueError:
        for number, row in enumerate(rows, 1):
            for name, value in zip(names, row, strict=True):
                try:
                    float(value)
                except ValueError:
                    shown = value.decode(errors="replace")
                    raise InvalidInput(
                        f"{shown!r} is no number", file=path, row=number, column=name, hint=AGAIN
                    ) from None
        raise
