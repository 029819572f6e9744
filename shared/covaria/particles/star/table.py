"""One table of a STAR file: its labels, and rows that are converted only when asked for.

Regular bodies go through pandas' C parser. Anything with quotes, comments or a wrong number of values goes row by row,
which also finds the exact row and column to complain about.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.metadata import RowCheck

TOKEN = re.compile(r"""'[^'\n]*'(?=\s|$)|"[^"\n]*"(?=\s|$)|\#[^\n]*|[^\s]+""")
_BLANK = np.zeros(256, dtype=bool)
_BLANK[[9, 10, 11, 12, 13, 32]] = True
_CHUNK = 1 << 24


@dataclass
class StarTable:
    """One loop or one list of pairs: column labels (with their underscore) and rows that are parsed on demand."""

    source: Path
    block: str
    labels: tuple[str, ...]
    body: bytes
    first_line: int
    _cells: list[list[str]] | None = field(default=None, repr=False)

    def __contains__(self, label: str) -> bool:
        return label in self.labels

    def __len__(self) -> int:
        if not self.labels:
            return 0
        if self._cells is not None or not self._is_regular():
            return len(self.rows())
        return sum(int(np.count_nonzero(counts)) for counts in _values_per_line(self.body))

    def columns(
        self, texts: Sequence[str], numbers: Sequence[str], faults: list[RowCheck] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The named columns: object arrays of str for `texts`, float64 for `numbers`.

        Raises InvalidInput with row and column for a short or long row and for a number that is none; with `faults`
        given, the latter is NaN and added there (a row that is not used may hold anything).
        """
        wanted = {label: self.labels.index(label) for label in (*texts, *numbers)}
        if self._cells is None and self._is_regular():
            fast = self._fast(wanted, set(numbers))
            if fast is not None:
                return fast
        rows = self.rows()
        columns: dict[str, NDArray[Any]] = {}
        for label, place in wanted.items():
            column = [row[place] for row in rows]
            if label in numbers:
                columns[label] = self._numbers(label, column, faults)
            else:
                array = np.empty(len(column), dtype=object)
                array[:] = column
                columns[label] = array
        return columns

    def rows(self) -> list[list[str]]:
        """Every row's values as text, quotes removed."""
        if self._cells is None:
            self._cells = [values for _, values in self.numbered_rows()]
        return self._cells

    def numbered_rows(self) -> Iterator[tuple[int, list[str]]]:
        """(row from 1, values) one after another, without keeping them. Raises InvalidInput for a wrong count."""
        if self._cells is not None:
            yield from enumerate(self._cells, start=1)
            return
        row = 0
        for line in io.BytesIO(self.body):
            values = split_values(line, self.source)
            if not values:
                continue
            row += 1
            if len(values) != len(self.labels):
                raise InvalidInput(
                    f"table data_{self.block} has {len(self.labels)} columns but this row has {len(values)} values",
                    file=self.source,
                    row=row,
                    hint="the file was cut off or edited by hand: repair this row or write the file again",
                )
            yield row, values

    def _is_regular(self) -> bool:
        if not self.labels or not self.body:
            return False
        if any(mark in self.body for mark in (b'"', b"'", b"#", b"\x0b", b"\x0c")) or b"\n;" in self.body:
            return False
        if b"\r" in self.body and self.body.count(b"\r") != self.body.count(b"\r\n"):
            return False
        expected = len(self.labels)
        some = False
        for counts in _values_per_line(self.body):
            if not bool(np.all((counts == expected) | (counts == 0))):
                return False
            some = some or bool(counts.any())
        return some

    def _fast(self, wanted: dict[str, int], numbers: set[str]) -> dict[str, NDArray[Any]] | None:
        import pandas  # only where STAR files come in

        kinds = {place: (np.float64 if label in numbers else object) for label, place in wanted.items()}
        try:
            frame = pandas.read_csv(
                io.BytesIO(self.body),
                sep=r"\s+",
                header=None,
                usecols=sorted(kinds),
                dtype=kinds,
                na_filter=False,
                quoting=3,
                engine="c",
                low_memory=True,  # in pieces: the types are given, so they agree
                encoding_errors="surrogateescape",
            )
        except (ValueError, pandas.errors.ParserError):
            return None  # row by row finds the cell
        return {label: frame[place].to_numpy() for label, place in wanted.items()}

    def _numbers(self, label: str, column: list[str], faults: list[RowCheck] | None) -> NDArray[np.float64]:
        out = np.full(len(column), np.nan)
        wrong = np.zeros(len(column), dtype=bool)
        for row, text in enumerate(column):
            try:
                if "_" in text:
                    raise ValueError(text)
                out[row] = float(text)
            except ValueError:
                wrong[row] = True
        if wrong.any():
            check = RowCheck(
                wrong,
                self.source,
                label,
                lambda row: f"{shorten(column[row])!r} is not a number",
                "correct this value",
            )
            if faults is None:
                check.enforce(np.ones(len(column), dtype=bool))
            else:
                faults.append(check)
        return out


def split_values(line: bytes, source: Path) -> list[str]:
    """One line's values: quotes removed, comments dropped."""
    if not any(mark in line for mark in (b'"', b"'", b"#", b";")):
        return [word.decode("utf-8", "surrogateescape") for word in line.split()]
    if line.startswith(b";"):
        raise InvalidInput("multi-line text values (lines that begin with ';') are not supported", file=source)
    values = []
    for match in TOKEN.finditer(line.decode("utf-8", "surrogateescape")):
        word = match.group()
        if word.startswith("#"):
            break
        values.append(word[1:-1] if len(word) > 1 and word[0] in "'\"" and word[-1] == word[0] else word)
    return values


def first_values(data: bytes, source: Path) -> list[str]:
    """The first line's values that is neither blank nor a comment (an empty list if there is none)."""
    for line in io.BytesIO(data):
        values = split_values(line, source)
        if values:
            return values
    return []


def shorten(text: str, limit: int = 60) -> str:
    """`text`, cut where a message would become unreadable."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _values_per_line(body: bytes) -> Iterator[NDArray[np.int64]]:
    """The number of whitespace-separated values on each line, in chunks of whole lines."""
    start = 0
    while start < len(body):
        stop = min(start + _CHUNK, len(body))
        if stop < len(body):
            cut = body.rfind(b"\n", start, stop)
            stop = cut + 1 if cut >= 0 else (body.find(b"\n", stop) + 1 or len(body))
        chunk = np.frombuffer(body, np.uint8, stop - start, start)
        blank = _BLANK[chunk]
        begins = ~blank
        begins[1:] &= blank[:-1]
        ends = np.flatnonzero(chunk == 10)
        total = np.searchsorted(np.flatnonzero(begins), ends)
        yield np.diff(total, prepend=0, append=np.count_nonzero(begins))
        start = stop
