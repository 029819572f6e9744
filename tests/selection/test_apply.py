"""Selections over columns: each kind, how they join, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from covaria.errors import InvalidInput
from covaria.selection import model as m
from covaria.selection.apply import inside_polygon, selected


class Plane:
    """A 10 x 10 grid of points z1, z2; row 55 was not used."""

    def __init__(self) -> None:
        z2, z1 = np.divmod(np.arange(100.0), 10)
        self.values: dict[str, NDArray[Any]] = {"z1": z1, "z2": z2, "name": np.array(["x"] * 100)}
        self.used = np.arange(100) != 55
        self.values["z1"][55] = np.nan

    def columns(self, names: frozenset[str]) -> Mapping[str, NDArray[Any]]:
        missing = names - self.values.keys()
        if missing:
            raise InvalidInput(f"no column {sorted(missing)}")
        return {name: self.values[name] for name in names}


def rows(selection: m.Selection) -> list[int]:
    return np.flatnonzero(selected(selection, Plane())).tolist()


def test_each_kind() -> None:
    assert rows(m.Where(expression="z1 >= 8 and z2 == 0")) == [8, 9]
    assert rows(m.Box(columns=("z1", "z2"), low=(5, 5), high=(6, 5))) == [56], "row 55 was not used"
    assert rows(m.Rows(rows=(3, 55, 99))) == [3, 99]
    assert rows(m.Near(columns=("z1", "z2"), point=(0, 0), within=1)) == [0, 1, 10]
    assert rows(m.Near(columns=("z1", "z2"), point=(9, 9), count=3)) == [89, 98, 99]
    triangle = m.Polygon(columns=("z1", "z2"), points=((-0.5, -0.5), (2.6, -0.5), (-0.5, 2.6)))
    assert rows(triangle) == [0, 1, 2, 10, 11, 20]


def test_they_join() -> None:
    left, low = m.Where(expression="z1 < 2"), m.Where(expression="z2 < 2")
    assert rows(m.All(of=(left, low))) == [0, 1, 10, 11]
    assert len(rows(m.Any(of=(left, low)))) == 36
    assert set(rows(m.Not(of=left))) == set(range(100)) - set(rows(left)) - {55}
    drawn = rows(m.Sample(count=5, seed=1, of=left))
    assert len(set(drawn)) == 5
    assert set(drawn) <= set(rows(left))
    assert drawn == rows(m.Sample(count=5, seed=1, of=left))
    assert drawn != rows(m.Sample(count=5, seed=2, of=left))


def test_a_saved_selection_means_the_same(tmp_path: Path) -> None:
    whole = m.All(of=(m.Not(of=m.Where(expression="z1 > 3")), m.Box(columns=("z2",), low=(1,), high=(4,))))
    file = tmp_path / "selection.json"
    file.write_bytes(m.selection_json(whole))
    assert m.read_selection(file) == whole


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (m.Where(expression="z3 > 1"), "no column"),
        (m.Rows(rows=(100,)), "row 100 of 100"),
        (m.Sample(count=200, of=m.Where(expression="z1 > 3")), "200 of"),
        (m.Box(columns=("name",), low=(0,), high=(1,)), "holds text"),
        (m.Polygon(columns=("z1", "z2"), points=((0, 0), (2, 2), (2, 0), (0, 2))), "sides 1 and 3 cross"),
    ],
)
def test_what_is_not_there_is_named(selection: m.Selection, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        selected(selection, Plane())


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"kind": "sql", "text": "drop"}',
        '{"kind": "box", "columns": ["z1"], "low": [2], "high": [1]}',
        '{"kind": "box", "columns": ["z1"], "low": [1, 2], "high": [3]}',
        '{"kind": "near", "columns": ["z1"], "point": [0]}',
        '{"kind": "near", "columns": ["z1"], "point": [0], "count": 1, "within": 1}',
        '{"kind": "rows", "rows": [-1]}',
        '{"kind": "and", "of": []}',
        '{"kind": "polygon", "columns": ["z1", "z2"], "points": [[0, 0], [1, 1]]}',
        '{"kind": "where", "expression": "z1 > 1", "extra": 1}',
        '{"kind":"not","of":' * 500 + "1" + "}" * 500,
    ],
)
def test_a_file_that_is_no_selection_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "selection.json"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=r"selection\.json"):
        m.read_selection(file)


def test_bounds_are_finite() -> None:
    with pytest.raises(ValidationError):
        m.Box(columns=("z1",), low=(float("nan"),), high=(1,))


def test_points_in_a_polygon_against_matplotlib() -> None:
    from matplotlib.path import Path as Line

    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 30))
    corners = (rng.uniform(0.3, 1, 30) * [np.cos(angles), np.sin(angles)]).T
    points = rng.uniform(-1, 1, (5000, 2))
    closed = Line(np.vstack([corners, corners[:1]]))
    assert np.array_equal(inside_polygon(points, corners), closed.contains_points(points))
