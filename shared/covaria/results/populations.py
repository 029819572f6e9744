"""kmeans/populations.csv: what share of the particles truly lies nearest to each centre.

| column | what |
|---|---|
| `state` | of the centre's files: center003 |
| `particles`, `share` | whose estimate lies nearest to it |
| `population`, `low`, `high` | the share that truly does, and its 90 % interval |
| `resolved` | yes: the next centre is farther away than two errors of a particle |
"""

from __future__ import annotations

import csv
import io

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.estimation.populations.intervals import Populations
from covaria.opening import ANYWHERE
from covaria.results.analysis import ANALYSE_AGAIN
from covaria.tree import AnalysisTree
from covaria.tree.atomic import write_text

COLUMNS = ("state", "particles", "share", "population", "low", "high", "resolved")
MOST_BYTES = 1 << 20


def write_populations(out: AnalysisTree, counts: NDArray[np.int64], found: Populations) -> None:
    """A line for each centre; counts (C,) of the particles nearest to it."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for number, count in enumerate(counts):
        numbers = (count / counts.sum(), found.share[number], found.low[number], found.high[number])
        resolved = "yes" if found.resolved[number] else "no"
        table.writerow([out.center(number).stem, count, *(f"{value:.4f}" for value in numbers), resolved])
    write_text(out.populations_csv, text.getvalue())


def read_populations(tree: AnalysisTree) -> Populations:
    """Raises MissingFile, InvalidInput."""
    with ANYWHERE.open(tree.populations_csv, most_bytes=MOST_BYTES, hint=ANALYSE_AGAIN) as file:
        header, *lines = csv.reader(io.StringIO(file.read().decode(errors="replace"))) or [[]]
    try:
        numbers = np.array([line[3:6] for line in lines], dtype=float).reshape(len(lines), 3)
    except ValueError:
        header, numbers = [], np.zeros((0, 3))
    if tuple(header) != COLUMNS or not len(numbers) or not ((numbers >= 0) & (numbers <= 1)).all():
        raise InvalidInput("is not a table of populations", file=tree.populations_csv, hint=ANALYSE_AGAIN)
    share, low, high = numbers.T
    return Populations(share, low, high, np.array([line[-1] == "yes" for line in lines]))
