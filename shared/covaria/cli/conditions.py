"""Which particles, as a person says it in options: conditions of a selection."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from covaria.errors import InvalidInput
from covaria.plain import explain

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from covaria.selection.columns import RunColumns
    from covaria.selection.model import Selection

C = TypeVar("C")
BOX_EXAMPLE = "as z1=-1:0.5,z2=0:2"
POLYGON_EXAMPLE = "as 'z1,z2:0,0;2,0;1,2'"


@dataclass(frozen=True)
class Said:
    """The options of `covaria subset` that say which particles; None where not given."""

    cluster: str | None
    basin: str | None
    where: list[str] | None
    box: str | None
    polygon: str | None
    near: str | None
    along: Path | None
    nearest: int | None
    within: float | None
    index: Path | None
    selection: Path | None

    def conditions(self, table: RunColumns) -> Iterator[Selection]:
        """Each as a selection. Raises InvalidInput naming the option."""
        from covaria.particles.row_files import read_index
        from covaria.selection.model import Rows, Where, read_selection

        for column, text in (("cluster", self.cluster), ("basin", self.basin)):
            if text is not None:
                numbers = ", ".join(map(str, _whole_numbers(text, f"--{column}")))
                yield made(f"--{column}", Where, expression=f"{column} in ({numbers},)")
        for text in self.where or ():
            yield made("--where", Where, expression=text)
        if self.box is not None:
            yield _box(self.box)
        if self.polygon is not None:
            yield _polygon(self.polygon)
        yield from self._nearness(table)
        if self.index is not None:
            yield Rows(rows=tuple(read_index(self.index, len(table.used)).tolist()))
        if self.selection is not None:
            yield read_selection(self.selection)

    def _nearness(self, table: RunColumns) -> Iterator[Selection]:
        from covaria.selection.model import Along, Near

        if self.near is None and self.along is None:
            if self.nearest is not None or self.within is not None:
                raise InvalidInput("--nearest and --within need --near or --along", hint="say near to what")
            return
        if (self.nearest is None) == (self.within is None):
            raise InvalidInput("--near and --along need --nearest N or --within D", hint="one of them")
        if self.near is not None:
            point = _point(self.near, table)
            columns = _coordinates(len(point))
            yield made("--near", Near, columns=columns, point=point, count=self.nearest, within=self.within)
        if self.along is not None:
            line = _line(self.along, table)
            columns = _coordinates(len(line[0]))
            yield made("--along", Along, columns=columns, points=line, count=self.nearest, within=self.within)


def numbers_in(text: str, option: str) -> list[float]:
    """0,3 -> [0, 3]. Raises InvalidInput naming the option."""
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise InvalidInput(f"{option} {text!r} is no list of numbers", hint=f"{option} 0,3") from None


def _whole_numbers(text: str, option: str) -> list[int]:
    numbers = numbers_in(text, option)
    if not all(math.isfinite(number) and number == int(number) for number in numbers):
        raise InvalidInput(f"{option} {text!r} is no list of whole numbers", hint=f"{option} 0,3")
    return [int(number) for number in numbers]


def made(option: str, kind: type[C], **values: object) -> C:
    """A condition of these values. Raises InvalidInput that names the option."""
    try:
        return kind(**values)
    except ValueError as error:  # pydantic's is one
        raise InvalidInput(f"{option}: {explain(error).message}", hint="see docs/selections.md") from None


def _coordinates(count: int) -> tuple[str, ...]:
    return tuple(f"z{k + 1}" for k in range(count))


def _point(text: str, table: RunColumns) -> tuple[float, ...]:
    """A point in standard deviations: as numbers, or that of a volume, by its path."""
    import numpy as np

    from covaria.tree import VolumeFiles

    volume = Path(text)
    if volume.suffix != ".mrc":
        return tuple(numbers_in(text, "--near"))
    known = VolumeFiles(volume.parent, volume.stem).latent_coords
    if not known.is_file():
        raise InvalidInput(f"nothing says where {volume} lies", file=known, hint="give a centre or state of this run")
    return _in_deviations(np.atleast_2d(np.loadtxt(known)), table, known)[0]


def _line(path: Path, table: RunColumns) -> tuple[tuple[float, ...], ...]:
    """The points of a path in standard deviations, from its path.json or the folder that holds it."""
    from covaria.results.analysis import read_path

    file = path / "path.json" if path.is_dir() else path
    return _in_deviations(read_path(file), table, file)


def _in_deviations(points: ArrayLike, table: RunColumns, file: Path) -> tuple[tuple[float, ...], ...]:
    import numpy as np

    values, sizes = np.asarray(points, float), table.sizes
    count = min(sizes.confirmed, values.shape[1])
    if not count or not np.isfinite(values).all():
        raise InvalidInput("is no point of confirmed components", file=file, hint="give one of this run")
    return tuple(tuple(row) for row in (values[:, :count] / sizes.deviations[:count]).tolist())


def _box(text: str) -> Selection:
    from covaria.selection.model import Box

    names, low, high = [], [], []
    for part in text.split(","):
        name, _, bounds = part.partition("=")
        ends = bounds.split(":")
        try:
            first, last = map(float, ends)
        except ValueError:
            raise InvalidInput(f"--box {text!r} is not understood", hint=BOX_EXAMPLE) from None
        if not first <= last:
            raise InvalidInput(f"--box: {first:g} is not below {last:g}", column=name.strip(), hint=BOX_EXAMPLE)
        names.append(name.strip())
        low.append(first)
        high.append(last)
    return made("--box", Box, columns=tuple(names), low=tuple(low), high=tuple(high))


def _polygon(text: str) -> Selection:
    from covaria.selection.model import Polygon

    names, _, drawn = text.partition(":")
    columns = [name.strip() for name in names.split(",")]
    points = [numbers_in(corner, "--polygon") for corner in drawn.split(";")]
    if len(columns) != 2 or len(points) < 3 or any(len(point) != 2 for point in points):
        raise InvalidInput(f"--polygon {text!r} is not two columns and three corners or more", hint=POLYGON_EXAMPLE)
    corners = tuple((point[0], point[1]) for point in points)
    return made("--polygon", Polygon, columns=(columns[0], columns[1]), points=corners)
