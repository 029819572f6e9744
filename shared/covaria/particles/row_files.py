"""Rows that a user names: --ind and --halfsets, in the dialects that people save selections in."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.pickles import load_pickle

ORIGINAL = "indices refer to the original rows, counted from 0"
TEXT_SUFFIXES = (".txt", ".csv", ".tsv", ".dat")
MAX_TEXT_BYTES = 2**30


def read_index(path: Path, count: int, roots: Roots = ANYWHERE) -> NDArray[np.int64]:
    """Ascending rows from integers or a mask of length `count`: .pkl, .npy, or text with one number a line.

    Taken: arrays (also one column, or whole numbers as floats), lists, sets, ranges, the tuple that np.where gives, a
    mask of bools or of 0 and 1. Raises InvalidInput.
    """
    return np.unique(_rows(_load(path, roots), count, path, "an index file"))


def read_halfsets(path: Path, count: int, roots: Roots = ANYWHERE) -> NDArray[np.int8]:
    """(count,) 0 or 1, -1 for rows in neither, from two lists of rows or two masks. Raises InvalidInput."""
    value = _load(path, roots)
    if isinstance(value, np.ndarray) and value.ndim == 2 and len(value) == 2:
        value = list(value)
    if type(value) not in (list, tuple) or len(value) != 2:
        raise InvalidInput(
            "two arrays of rows expected, one for each half-set",
            file=path,
            hint="a list [rows of half 1, rows of half 2]",
        )
    halves = [_rows(half, count, path, "a half-set") for half in value]
    out = np.full(count, -1, dtype=np.int8)
    out[halves[0]] = 0
    twice = np.flatnonzero(out[halves[1]] == 0)
    if len(twice):
        raise InvalidInput(
            "the row is in both half-sets",
            file=path,
            row=int(halves[1][twice[0]]) + 1,
            hint="half-sets must not overlap",
        )
    out[halves[1]] = 1
    for half, rows in enumerate(halves, start=1):
        if len(rows) == 0:
            raise InvalidInput(
                f"half-set {half} is empty", file=path, hint="give two half-sets, or leave --halfsets out"
            )
    return out


def _load(path: Path, roots: Roots) -> Any:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        try:
            with roots.open(path) as file:
                return np.load(file, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise InvalidInput(
                f"is not an array that can be read safely ({str(error)[:100]})",
                file=path,
                hint="write it again with np.save(FILE, np.flatnonzero(keep))",
            ) from None
    if suffix in TEXT_SUFFIXES:
        return _from_text(path, roots)
    if suffix in (".star", ".cs"):
        raise InvalidInput(
            "names particles, not rows", file=path, hint="give this file as the particles, or rows as .pkl, .npy, .txt"
        )
    return load_pickle(path, roots=roots)


def _from_text(path: Path, roots: Roots) -> NDArray[Any]:
    """One column of numbers or of true and false; a first line of other words is a heading, # begins a comment."""
    with roots.open(path, most_bytes=MAX_TEXT_BYTES) as file:
        text = file.read().decode("utf-8", errors="replace").replace("\t", ",").replace(";", ",")
    lines = [
        (number, [word.strip() for word in words if word.strip()])
        for number, words in enumerate(csv.reader(line.split("#")[0] for line in text.splitlines()), start=1)
    ]
    lines = [(number, words if len(words) != 1 else words[0].split()) for number, words in lines if words]
    if len(lines) > 1 and _number(lines[0][1][0]) is None:
        del lines[0]
    if len(lines) != 1 and any(len(words) != 1 for _, words in lines):
        number, words = next((number, words) for number, words in lines if len(words) != 1)
        raise InvalidInput(f"{len(words)} values in a line", file=path, row=number, hint="one row number a line")
    values: list[float | bool] = []
    for number, words in lines:
        for word in words:
            value = _number(word)
            if value is None:
                raise InvalidInput(
                    f"{word[:40]!r} is not a row number", file=path, row=number, hint="one row number a line"
                )
            values.append(value)
    return np.array(values, dtype=None if values else np.int64)


def _number(word: str) -> float | bool | None:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    try:
        return float(word)
    except ValueError:
        return None


def _rows(value: Any, count: int, path: Path, what: str) -> NDArray[np.int64]:
    values = _whole_numbers(value, path, what)
    if values.dtype == bool or _looks_like_a_mask(values):
        if len(values) != count:
            raise InvalidInput(
                f"a mask of {len(values)} rows for {count} particles",
                file=path,
                hint=f"give a mask of all rows, or the rows: np.flatnonzero(keep); {ORIGINAL}",
            )
        return np.flatnonzero(values)
    bad = np.flatnonzero((values < 0) | (values >= count))
    if len(bad):
        raise InvalidInput(
            f"index {values[bad[0]]} at place {bad[0] + 1}, but rows go from 0 to {count - 1}",
            file=path,
            hint=ORIGINAL,
        )
    return values.astype(np.int64)


def _looks_like_a_mask(values: NDArray[Any]) -> bool:
    """Nothing but 0 and 1, and one of them more than once: as rows this would say row 0 or 1 again and again."""
    return len(values) > 2 and bool(np.all((values == 0) | (values == 1)))


def _whole_numbers(value: Any, path: Path, what: str) -> NDArray[Any]:
    """A one-dimensional array of integers or bools. Raises InvalidInput."""
    if type(value) is tuple and len(value) == 1 and isinstance(value[0], np.ndarray):  # np.where, np.nonzero
        value = value[0]
    if type(value) in (set, frozenset, range):
        value = sorted(value, key=str) if type(value) is not range else list(value)
    if type(value) in (list, tuple) and all(
        type(item) in (int, bool, float) or isinstance(item, np.integer | np.bool_ | np.floating) for item in value
    ):
        try:
            value = np.array(list(value), dtype=None if len(value) else np.int64)
        except OverflowError:
            value = None
    if isinstance(value, np.ndarray) and value.ndim == 2 and 1 in value.shape:
        value = value.reshape(-1)
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in "iubf":
        kind = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise InvalidInput(
            f"{what} needs a row of integers, found {kind}",
            file=path,
            hint="write np.asarray(rows, dtype=int), or np.flatnonzero(keep) of a mask",
        )
    if value.dtype.kind == "f":
        whole = np.isfinite(value) & (value == np.floor(value)) & (np.abs(value) < 2**53)
        if not whole.all():
            place = int(np.flatnonzero(~whole)[0])
            raise InvalidInput(
                f"{value[place]:g} at place {place + 1} is not a row number",
                file=path,
                hint="row numbers are whole",
            )
        value = value.astype(np.int64)
    numbers: NDArray[Any] = value
    return numbers
