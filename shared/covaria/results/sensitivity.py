"""model/sensitivity.csv: which motions the run would have confirmed, were they there.

| column | what |
|---|---|
| `mass` | share of the particle's mass that moves |
| `way_angstrom` | how far the centre of that part goes; 0: the part is there or not |
| `population` | share of the particles in the second of two states |
| `overlap` | of what one half-set would find with the true motion, 0 to 1 |
| `expected_z` | held-out z-score of it, in theory; in practice higher |
| `probability` | that both half-sets confirm it |
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np

from covaria.errors import InvalidInput
from covaria.estimation.sensitivity.survey import Sensitivity
from covaria.findings import Motion
from covaria.opening import ANYWHERE
from covaria.results.latents import RECONSTRUCT_AGAIN
from covaria.tree import Tree, atomic

COLUMNS = ("mass", "way_angstrom", "population", "overlap", "expected_z", "probability")
MOST_BYTES = 1 << 20


def write_sensitivity(tree: Tree, found: Sensitivity) -> None:
    """A line for each motion."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([f"{value:.4g}" for value in line] for line in _lines(found))
    atomic.write_text(tree.sensitivity, text.getvalue())


def read_sensitivity(tree: Tree) -> np.ndarray:
    """The table (motions, 6), as COLUMNS. Raises MissingFile, InvalidInput."""
    with ANYWHERE.open(tree.sensitivity, most_bytes=MOST_BYTES, hint=RECONSTRUCT_AGAIN) as file:
        header, *lines = csv.reader(io.StringIO(file.read().decode(errors="replace"))) or [[]]
    try:
        table = np.array(lines, dtype=float).reshape(len(lines), len(COLUMNS))
    except ValueError:
        header, table = [], np.zeros((0, len(COLUMNS)))
    if tuple(header) != COLUMNS or not len(table) or not np.isfinite(table).all():
        raise InvalidInput("is not a table of motions", file=tree.sensitivity, hint=RECONSTRUCT_AGAIN)
    return table


def motions_of(found: Sensitivity) -> tuple[Motion, ...]:
    """The same for the findings."""
    return tuple(
        Motion(mass=mass, way_angstrom=way or None, population=population, probability=probability)
        for mass, way, population, *_, probability in _lines(found)
    )


def _lines(found: Sensitivity) -> Iterator[tuple[float, ...]]:
    for number, (mass, way) in enumerate(zip(found.mass, found.way_angstrom, strict=True)):
        for column, population in enumerate(found.population):
            table = (found.overlap, found.score, found.probability)
            numbers = (mass, way, population, *(values[number, column] for values in table))
            yield tuple(round(float(value), 4) for value in numbers)
