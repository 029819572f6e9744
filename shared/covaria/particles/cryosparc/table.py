"""cryoSPARC's tables: .cs files (numpy structured arrays), and passthrough files joined to them by uid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots

MAX_HEADER = 200_000


class CsTable:
    """Columns by name, from the main file first, then from passthrough files matched by uid."""

    def __init__(self, source: Path, passthrough: Sequence[Path], roots: Roots) -> None:
        self.source = source
        self.main = load_cs(source, roots)
        self.others: list[tuple[NDArray[Any], NDArray[np.int64]]] = []
        for shown in passthrough:
            other = load_cs(shown, roots)
            self.others.append((other, _match(self.main, other, source, shown)))

    def __len__(self) -> int:
        return len(self.main)

    @property
    def names(self) -> list[str]:
        """Every column, of the main file and then of the passthrough files."""
        tables = (self.main, *(other for other, _ in self.others))
        return list(dict.fromkeys(name for table in tables for name in table.dtype.names or ()))

    def get(self, name: str) -> NDArray[Any] | None:
        if name in (self.main.dtype.names or ()):
            return np.asarray(self.main[name])
        for other, rows in self.others:
            if name in (other.dtype.names or ()):
                return np.asarray(other[name])[rows]
        return None

    def texts(self, name: str) -> NDArray[Any] | None:
        """A column of bytes or text. Raises InvalidInput where it holds something else."""
        values = self.get(name)
        if values is not None and (values.dtype.kind not in "SU" or values.ndim != 1):
            raise InvalidInput(f"holds {values.dtype} {values.shape[1:]}, text expected", file=self.source, column=name)
        return values

    def numbers(self, name: str, shape: tuple[int, ...] = ()) -> NDArray[np.float64] | None:
        """A column of numbers (N, *shape) as float64. Raises InvalidInput where it holds something else."""
        values = self.get(name)
        if values is None:
            return None
        if values.dtype.kind not in "iufb" or values.shape[1:] != shape:
            raise InvalidInput(
                f"holds {values.dtype} {values.shape[1:]}, numbers {shape} expected", file=self.source, column=name
            )
        return values.astype(np.float64)


def load_cs(path: Path, roots: Roots = ANYWHERE) -> NDArray[Any]:
    """The structured array of one .cs file, mapped into memory; never unpickles. Raises InvalidInput."""
    try:
        with roots.open(path) as file:
            array = _mapped(file)
    except (ValueError, OSError, EOFError, SyntaxError, TypeError, MemoryError, RecursionError, OverflowError) as error:
        reason = str(error).splitlines()[0][:150] if str(error) else type(error).__name__
        raise InvalidInput(
            f"is not a .cs file that can be read safely ({reason})", file=path, hint="export the particles again"
        ) from None
    if array.dtype.names is None or array.ndim != 1:
        raise InvalidInput("is not a table of named columns", file=path, hint="give a cryoSPARC particles .cs file")
    return array


def _mapped(file: BinaryIO) -> NDArray[Any]:
    """As np.lib.format.open_memmap, from an open file. Raises ValueError, and what a damaged header makes it raise."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = read(file, max_header_size=MAX_HEADER)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return np.memmap(file, dtype, "r", file.tell(), shape, "F" if in_columns else "C")


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
