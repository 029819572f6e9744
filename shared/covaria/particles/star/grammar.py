"""The STAR grammar, as far as cryo-EM programs use it: a file is cut into blocks and tables by its keyword lines."""

from __future__ import annotations

import re
from pathlib import Path

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.star.table import StarTable, first_values, shorten, split_values

MAX_BYTES = 8 * 2**30
_KEYWORDS = rb"[ \t\r]*(data_|loop_|save_|stop_|global_|_)"
_AT_START = re.compile(_KEYWORDS, re.IGNORECASE)
_ON_A_LINE = re.compile(rb"\n" + _KEYWORDS, re.IGNORECASE)
"""Begins with a literal newline, which the regex engine finds at memory speed."""

Keywords = list[tuple[int, bytes]]


def read_star(path: Path, roots: Roots = ANYWHERE) -> list[StarTable]:
    """Every table of a STAR file, in file order. Raises InvalidInput for what is not STAR."""
    with roots.open(path, most_bytes=MAX_BYTES) as file:
        data = file.read()
    return parse_star(data, path)


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
    at_start = _AT_START.match(data)
    found = [at_start] if at_start else []
    keywords = [(match.start(1), match.group(1).lower()) for match in (*found, *_ON_A_LINE.finditer(data))]
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


def _loop(data: bytes, keywords: Keywords, place: int, source: Path, block: str) -> tuple[StarTable, int]:
    start = keywords[place][0]
    if len(split_values(data[start : _end_of_line(data, start)], source)) > 1:
        raise InvalidInput(f"line {_line(data, start)}: labels must stand on lines of their own", file=source)
    place += 1
    labels: list[str] = []
    end = _end_of_line(data, start)
    while place < len(keywords) and keywords[place][1] == b"_":
        begin = keywords[place][0]
        if labels and first_values(data[end:begin], source):
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
    body = data[end : _end_of_rows(data, end, _start_of(keywords, place, data))]
    return StarTable(source, block, tuple(labels), body, _line(data, end) + 1), place


def _end_of_rows(data: bytes, start: int, stop: int) -> int:
    """Where blank lines and comments between the last row and the next keyword begin."""
    while stop > start:
        line = data.rfind(b"\n", start, stop - 1) + 1 or start
        text = data[line:stop].strip()
        if text and not text.startswith(b"#"):
            break
        stop = line
    return stop


def _pairs(data: bytes, keywords: Keywords, place: int, source: Path, block: str) -> tuple[StarTable, int]:
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


def _first_word(data: bytes, start: int) -> str:
    return data[start : _end_of_line(data, start)].split()[0].decode("utf-8", "surrogateescape")


def _end_of_line(data: bytes, start: int) -> int:
    end = data.find(b"\n", start)
    return len(data) if end < 0 else end


def _start_of(keywords: Keywords, place: int, data: bytes) -> int:
    return keywords[place][0] if place < len(keywords) else len(data)


def _line(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def _refuse_twice(labels: list[str], source: Path) -> None:
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            raise InvalidInput(
                "the column is there twice", file=source, column=shorten(label), hint="remove one of them"
            )
        seen.add(label)


def _refuse_values_after(data: bytes, start: int, stop: int, source: Path, what: str) -> None:
    values = first_values(data[start:stop], source)
    if values:
        raise InvalidInput(
            f"line {_line(data, start) + 1}: values ({shorten(values[0])!r}) after {what} that belong to no column",
            file=source,
            hint="the loop_ line or its labels are missing",
        )


def _refuse_text_before(data: bytes, stop: int, source: Path) -> None:
    values = first_values(data[:stop], source)
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
