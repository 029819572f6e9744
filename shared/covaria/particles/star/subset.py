"""Some rows of a particle STAR file: every kept byte as it was, all other tables, comments and columns untouched."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.star.grammar import parse_star
from covaria.particles.star.relion import find_tables

NEWLINE, COMMENT = 10, ord("#")
BLANK = np.zeros(256, dtype=bool)
BLANK[[9, 10, 11, 12, 13, 32]] = True
CHUNK = 1 << 24


class StarRows:
    """A STAR file whose particle rows are written in part; read once."""

    def __init__(self, path: Path, roots: Roots = ANYWHERE) -> None:
        with roots.open(path) as file:
            data = file.read()
        self.path, self.data = path, data
        table = find_tables(parse_star(data, path), path).particles
        self.block, self.labels = table.block, table.labels
        lone_returns = b"\r" in data and b"\n" not in data
        ends = _line_ends(data, 13 if lone_returns else NEWLINE)
        starts = np.concatenate([[0], ends])
        # The body begins with the end of the last label's line: its rows begin on the next one.
        first = table.first_line - 1
        last = int(np.searchsorted(starts, starts[first] + len(table.body) - 1, side="left"))
        lines = starts[first : last + 1]
        whole = last >= len(starts) - 1 and lines[-1] != len(data)
        self.lines = np.append(lines, len(data)) if whole else lines
        self.is_row = _rows_among(data, self.lines)

    def write(self, keep: NDArray[np.bool_], target: BinaryIO) -> None:
        """Write the file with those rows of its particle table for which keep (N,) is true.

        Raises InvalidInput where the table has not N rows.
        """
        self.refuse_other(len(keep))
        data, lines = self.data, self.lines
        kept = ~self.is_row
        kept[self.is_row] = keep
        target.write(data[: lines[0]])
        for begin, end in _runs(kept):
            target.write(memoryview(data)[lines[begin] : lines[end]])
        target.write(memoryview(data)[lines[-1] :])

    def refuse_other(self, count: int) -> None:
        """Raise InvalidInput where the table has not `count` rows."""
        there = int(self.is_row.sum())
        if there != count:
            raise InvalidInput(
                f"its table data_{self.block} has {there} rows, the run had {count}",
                file=self.path,
                hint="give the file that the run was made from with --source",
            )


def _line_ends(data: bytes, mark: int) -> NDArray[np.int64]:
    """Where each line ends: the place after its end mark."""
    view = np.frombuffer(data, np.uint8)
    parts = [
        np.flatnonzero(view[start : start + CHUNK] == mark) + start + 1 for start in range(0, max(len(view), 1), CHUNK)
    ]
    return np.concatenate(parts)


def _rows_among(data: bytes, lines: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the lines between the places `lines` hold values (neither blank nor a comment)."""
    view = np.frombuffer(data, np.uint8)
    found = np.zeros(len(lines) - 1, bool)
    step = 1 << 13
    for begin in range(0, len(found), step):
        part = lines[begin : begin + step + 1]
        filled = np.flatnonzero(~BLANK[view[part[0] : part[-1]]]) + part[0]
        first = np.searchsorted(filled, part[:-1])
        inside = first < np.searchsorted(filled, part[1:])
        found[begin : begin + step] = inside
        found[begin : begin + step][inside] &= view[filled[first[inside]]] != COMMENT
    return found


def _runs(kept: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open ranges of consecutive kept lines."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], kept.view(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
