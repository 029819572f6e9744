"""The STAR grammar, as far as cryo-EM programs use it, fast enough for millions of rows.

A file is first cut into blocks and tables by its keyword lines; a table's cells are converted only when asked for. Regular
bodies go through pandas' C parser; anything with quotes, comments or a wrong number of values goes row by row, which also
finds the exact row and column to complain about.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput

MAX_BYTES = 8 * 2**30
_KEYWORD = re.compile(rb"(?:\A|\n)[ \t\r]*(data_|loop_|save_|stop_|global_|_)(?=[^\n]*)", re.IGNORECASE)
_TOKEN = re.compile(r"""'[^'\n]*'(?=\s|$)|"[^"\n]*"(?=\s|$)|\#[^\n]*|[^\s]+""")
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
        if self._cells is not None:
            return len(self._cells)
        return sum(int(np.count_nonzero(counts)) for counts in _values_per_line(self.body))

    def columns(self, texts: Sequence[str], numbers: Sequence[str]) -> dict[str, NDArray]:
        """The named columns: object arrays of str for `texts`, float64 for `numbers`.

        Raises InvalidInput with row and column for a short or long row and for a number that is none.
        """
        wanted = {label: self.labels.index(label) for label in (*texts, *numbers)}
        if self._cells is None and self._is_regular():
            fast = self._fast(wanted, set(numbers))
            if fast is not None:
                return fast
        rows = self.rows()
        columns: dict[str, NDArray] = {}
        for label, place in wanted.items():
            column = [row[place] for row in rows]
            if label in numbers:
                columns[label] = self._numbers(label, column)
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
        """(row counted from 1, values) one after another, without keeping them. Raises InvalidInput for a wrong count."""
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

    def _fast(self, wanted: dict[str, int], numbers: set[str]) -> dict[str, NDArray] | None:
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
                low_memory=False,
                float_precision="high",
                encoding_errors="surrogateescape",
            )
        except (ValueError, pandas.errors.ParserError):
            return None  # row by row finds the cell
        return {label: frame[place].to_numpy() for label, place in wanted.items()}

    def _numbers(self, label: str, column: list[str]) -> NDArray[np.float64]:
        out = np.empty(len(column))
        for row, text in enumerate(column):
            try:
                if "_" in text:
                    raise ValueError(text)
                out[row] = float(text)
            except ValueError:
                raise InvalidInput(
                    f"{shorten(text)!r} is not a number",
                    file=self.source,
                    row=row + 1,
                    column=label,
                    hint="correct this value",
                ) from None
        return out


def read_star(path: Path) -> list[StarTable]:
    """Every table of a STAR file, in file order. Raises InvalidInput for what is not STAR."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InvalidInput(
            f"{size} bytes is more than a STAR file can hold here ({MAX_BYTES})", file=path, hint="split it"
        )
    return parse_star(path.read_bytes(), path)


def parse_star(data: bytes, source: Path) -> list[StarTable]:
    """As `read_star`, on bytes already read; `source` is for messages."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in data:
        raise InvalidInput(
            "holds NUL bytes: not a STAR text file", file=source, hint="give the .star file, not a stack"
        )
    if b"\r" in data and b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    tables: list[StarTable] = []
    block: str | None = None
    keywords = [(match.start(1), match.group(1).lower()) for match in _KEYWORD.finditer(data)]
    _refuse_text_before(data, keywords[0][0] if keywords else len(data), source)
    place = 0
    while place < len(keywords):
        start, keyword = keywords[place]
        if keyword == b"data_":
            block = _first_word(data, start)[5:]
            _refuse_values_after(
                data, _end_of_line(data, start), _start_of(keywords, place + 1, data), source, f"data_{block}"
            )
            place += 1
        elif keyword in (b"save_", b"stop_", b"global_"):
            raise _unsupported(data, start, source, keyword.decode())
        elif block is None:
            raise InvalidInput(
                f"line {_line(data, start)}: a table before any data_ block",
                file=source,
                hint="a STAR file begins with data_",
            )
        elif keyword == b"loop_":
            table, place = _loop(data, keywords, place, source, block)
            tables.append(table)
        else:
            table, place = _pairs(data, keywords, place, source, block)
            tables.append(table)
    if block is None:
        raise InvalidInput("no data_ block: not a STAR file", file=source, hint="give a RELION .star file")
    return tables


def _loop(
    data: bytes, keywords: list[tuple[int, bytes]], place: int, source: Path, block: str
) -> tuple[StarTable, int]:
    start = keywords[place][0]
    if len(split_values(data[start : _end_of_line(data, start)], source)) > 1:
        raise InvalidInput(f"line {_line(data, start)}: labels must stand on lines of their own", file=source)
    place += 1
    labels: list[str] = []
    end = _end_of_line(data, start)
    while place < len(keywords) and keywords[place][1] == b"_":
        begin = keywords[place][0]
        if labels and split_lines(data[end:begin], source):
            break
        if not labels:
            _refuse_values_after(data, end, begin, source, "loop_")
        end = _end_of_line(data, begin)
        words = split_values(data[begin:end], source)
        if len(words) > 1:
            raise InvalidInput(
                f"line {_line(data, begin)}: {shorten(words[1])!r} after the label {words[0]}",
                file=source,
                hint="a loop's label line holds the label and at most a #number",
            )
        labels.append(words[0])
        place += 1
    if not labels:
        raise InvalidInput(f"line {_line(data, start)}: loop_ without labels", file=source, hint="the file is cut off")
    _refuse_twice(labels, source)
    body = data[end : _start_of(keywords, place, data)]
    return StarTable(source, block, tuple(labels), body, _line(data, end) + 1), place


def _pairs(
    data: bytes, keywords: list[tuple[int, bytes]], place: int, source: Path, block: str
) -> tuple[StarTable, int]:
    first = keywords[place][0]
    labels: list[str] = []
    values: list[str] = []
    while place < len(keywords) and keywords[place][1] == b"_":
        begin = keywords[place][0]
        words = split_values(data[begin : _end_of_line(data, begin)], source)
        if len(words) != 2:
            raise InvalidInput(
                f"line {_line(data, begin)}: {words[0]} outside a loop needs exactly one value, found {len(words) - 1}",
                file=source,
            )
        labels.append(words[0])
        values.append(words[1])
        place += 1
        _refuse_values_after(data, _end_of_line(data, begin), _start_of(keywords, place, data), source, words[0])
    _refuse_twice(labels, source)
    return StarTable(source, block, tuple(labels), b"", _line(data, first), [values]), place


def split_values(line: bytes, source: Path) -> list[str]:
    """One line's values: quotes removed, comments dropped."""
    if not any(mark in line for mark in (b'"', b"'", b"#", b";")):
        return [word.decode("utf-8", "surrogateescape") for word in line.split()]
    if line.startswith(b";"):
        raise InvalidInput("multi-line text values (lines that begin with ';') are not supported", file=source)
    values = []
    for match in _TOKEN.finditer(line.decode("utf-8", "surrogateescape")):
        word = match.group()
        if word.startswith("#"):
            break
        values.append(word[1:-1] if len(word) > 1 and word[0] in "'\"" and word[-1] == word[0] else word)
    return values


def split_lines(data: bytes, source: Path) -> list[str]:
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


def _first_word(data: bytes, start: int) -> str:
    return data[start : _end_of_line(data, start)].split()[0].decode("utf-8", "surrogateescape")


def _end_of_line(data: bytes, start: int) -> int:
    end = data.find(b"\n", start)
    return len(data) if end < 0 else end


def _start_of(keywords: list[tuple[int, bytes]], place: int, data: bytes) -> int:
    return keywords[place][0] if place < len(keywords) else len(data)


def _line(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def _refuse_twice(labels: list[str], source: Path) -> None:
    for label in labels:
        if labels.count(label) > 1:
            raise InvalidInput("the column is there twice", file=source, column=label, hint="remove one of them")


def _refuse_values_after(data: bytes, start: int, stop: int, source: Path, what: str) -> None:
    values = split_lines(data[start:stop], source)
    if values:
        raise InvalidInput(
            f"line {_line(data, start) + 1}: values ({shorten(values[0])!r}) after {what} that belong to no column",
            file=source,
            hint="the loop_ line or its labels are missing",
        )


def _refuse_text_before(data: bytes, stop: int, source: Path) -> None:
    values = split_lines(data[:stop], source)
    if values:
        raise InvalidInput(
            f"begins with {shorten(values[0])!r}, not with a data_ block: not a STAR file",
            file=source,
            hint="give a RELION .star file",
        )


def _unsupported(data: bytes, start: int, source: Path, keyword: str) -> InvalidInput:
    return InvalidInput(
        f"line {_line(data, start)}: {keyword} frames are not supported", file=source, hint="use plain data_ blocks"
    )
