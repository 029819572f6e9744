"""From a selection and the particles' columns to rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import pairwise
from typing import Any as Anything
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.selection.expression import read_expression
from covaria.selection.model import All, Along, Any, Box, Near, Not, Polygon, Rows, Sample, Selection, Where

Mask = NDArray[np.bool_]


class Table(Protocol):
    """The particles' columns, read when asked for."""

    @property
    def used(self) -> Mask:
        """(N,) rows that the run used; no other row is ever selected."""
        ...

    def columns(self, names: frozenset[str]) -> Mapping[str, NDArray[Anything]]:
        """(N,) each. Raises InvalidInput that lists the known names."""
        ...


def selected(selection: Selection, table: Table) -> Mask:
    """(N,) the rows of a selection. Raises InvalidInput where it names what is not there."""
    match selection:
        case Where(expression=text):
            expression = read_expression(text)
            return expression.rows(table.columns(expression.columns)) & table.used
        case Box(columns=names, low=low, high=high):
            points = _points(table, names)
            return np.asarray(((points >= low) & (points <= high)).all(axis=1)) & table.used
        case Polygon(columns=names, points=corners):
            return inside_polygon(_points(table, names), np.array(corners)) & table.used
        case Near(columns=names, point=point):
            apart = np.linalg.norm(_points(table, names) - point, axis=1)
            return _nearest(apart, selection.count, selection.within, table.used)
        case Along(columns=names, points=line):
            apart = distance_to_line(_points(table, names), np.array(line))
            return _nearest(apart, selection.count, selection.within, table.used)
        case Rows(rows=rows):
            return _rows(np.array(rows, dtype=np.int64), table)
        case Sample(count=count, seed=seed, of=whole):
            return _sample(selected(whole, table), count, seed)
        case All(of=parts):
            return reduce(np.logical_and, (selected(part, table) for part in parts))
        case Any(of=parts):
            return reduce(np.logical_or, (selected(part, table) for part in parts))
        case Not(of=part):
            return ~selected(part, table) & table.used


def inside_polygon(points: NDArray[np.float64], corners: NDArray[np.float64]) -> Mask:
    """(N,) which of points (N, 2) lie inside the closed line through corners (M, 2): even-odd rule.

    Raises InvalidInput for a line that crosses itself: what lies inside it is not clear.
    """
    for first, second in _crossings(corners):
        raise InvalidInput(f"the polygon's sides {first + 1} and {second + 1} cross", hint="draw it without a crossing")
    low, high = corners.min(axis=0), corners.max(axis=0)
    near = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
    rows = near[np.argsort(points[near, 1], kind="stable")]
    x, y = points[rows].T
    inside = np.zeros(len(rows), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        side = slice(*np.searchsorted(y, sorted((y0, y1)), side="left"))  # of all points those at this side's height
        if y0 != y1:
            inside[side] ^= x[side] < x0 + (y[side] - y0) * (x1 - x0) / (y1 - y0)
    found: Mask = np.zeros(len(points), bool)
    found[rows] = inside
    return found


def _crossings(corners: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Pairs of sides that cross each other somewhere inside both."""
    ends = np.roll(corners, -1, axis=0)

    def side(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
        turn = (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
        return np.asarray(np.sign(turn))

    for number in range(len(corners) - 2):
        start, end = corners[number], ends[number]
        others, others_end = corners[number + 2 :], ends[number + 2 :]
        apart = side(start, end, others) * side(start, end, others_end) < 0
        across = side(others, others_end, start) * side(others, others_end, end) < 0
        yield from ((number, number + 2 + int(other)) for other in np.flatnonzero(apart & across))


def _points(table: Table, names: tuple[str, ...]) -> NDArray[np.float64]:
    columns = table.columns(frozenset(names))
    for name in names:
        if columns[name].dtype.kind not in "iufb":
            raise InvalidInput("holds text, numbers are needed here", column=name, hint="use --where for it")
    return np.stack([columns[name].astype(float) for name in names], axis=1)


def distance_to_line(points: NDArray[np.float64], line: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) distance of points (N, d) from the line through (m, d), to the nearest place on it."""
    nearest = np.full(len(points), np.inf)
    for start, end in pairwise(line):
        step = end - start
        share = np.clip((points - start) @ step / max(float(step @ step), 1e-300), 0, 1)
        np.fmin(nearest, np.linalg.norm(points - start - share[:, None] * step, axis=1), out=nearest)
    return nearest


def _nearest(apart: NDArray[np.float64], count: int | None, within: float | None, used: Mask) -> Mask:
    apart = np.where(used & np.isfinite(apart), apart, np.inf)
    if within is not None:
        return np.asarray(apart <= within)
    found = np.zeros(len(apart), bool)
    found[np.argsort(apart, kind="stable")[:count]] = True
    return np.asarray(found & np.isfinite(apart))


def _rows(rows: NDArray[np.int64], table: Table) -> Mask:
    found = np.zeros(len(table.used), bool)
    if len(rows) and rows.max() >= len(found):
        raise InvalidInput(f"row {int(rows.max())} of {len(found)} (rows count from 0)", hint="rows of the input file")
    found[rows] = True
    return found & table.used


def _sample(whole: Mask, count: int, seed: int) -> Mask:
    rows = np.flatnonzero(whole)
    if len(rows) < count:
        raise InvalidInput(f"{count} of {len(rows)} selected particles", hint="ask for fewer with --n-random")
    found = np.zeros(len(whole), bool)
    found[np.random.default_rng(seed).choice(rows, count, replace=False)] = True
    return found
