"""Latent points as a person gives them: a text file, an array, a pipe, a number of a k-means centre."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from covaria.errors import InvalidInput, MissingFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covaria.tree import Tree

MAX_BYTES = 64 << 20
NUMPY, PICKLE = b"\x93NUMPY", b"\x80"
ONE_A_ROW = "one latent point a row"


def read_points(path: Path) -> NDArray[np.float64]:
    """The points of a text file or .npy as rows, (T, K); `-` is standard input, a pipe is read to its end.

    Raises MissingFile, InvalidInput naming the row.
    """
    import numpy as np

    data = _read(path)
    points = _array(data, path) if data.startswith(NUMPY) else np.array(_text(data, path))
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise InvalidInput("a number that is not finite", file=path, row=int(bad[0]) + 1, hint="leave the row out")
    return points


def read_end(tree: Tree, zdim: int, text: str) -> NDArray[np.float64]:
    """One end of a trajectory: a named point, the number of a k-means centre, or the point's `zdim` coordinates."""
    import numpy as np

    from covaria.cli.named_points import FORMS, NamedPoints
    from covaria.tree import AnalysisTree

    if ":" in text:
        return NamedPoints(tree, zdim).named(text)
    words = text.replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not a latent point", hint=f"give {zdim} numbers, as 0.5,-1.2") from error
    if len(numbers) == zdim and not (zdim == 1 and text.strip().isdigit()):
        return np.array(numbers)
    centers = AnalysisTree(tree.analysis(zdim)).centers_txt
    if len(words) != 1 or not text.strip().isdigit() or not centers.is_file():
        raise InvalidInput(
            f"{text!r} has {len(words)} numbers, zdim {zdim} needs {zdim}",
            hint=f"give all coordinates, the number of a k-means centre after `covaria analyze`, or {FORMS}",
        )
    known = read_points(centers)
    number = int(text)
    if number >= len(known):
        raise InvalidInput(f"there is no centre {number}; the last is {len(known) - 1}", file=centers)
    chosen: NDArray[np.float64] = known[number]
    return chosen


def far_rows(points: NDArray[np.float64], latents: NDArray[np.floating]) -> list[int]:
    """The rows, from 1, that lie farther outside the particles' coordinates (N, K) than these spread: by any axis."""
    import numpy as np

    low, high = np.nanmin(latents, axis=0), np.nanmax(latents, axis=0)
    spread = high - low
    outside = (points < low - spread) | (points > high + spread)
    return [int(row) + 1 for row in np.flatnonzero(outside.any(axis=1))]


def _read(path: Path) -> bytes:
    if str(path) == "-":
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise MissingFile("is not there", file=path, hint=f"give a text file with {ONE_A_ROW}") from None
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"more than {MAX_BYTES >> 20} MiB of points", file=path, hint=ONE_A_ROW)
    if data.startswith(PICKLE):
        raise InvalidInput("is a pickle", file=path, hint=f"numpy.save or numpy.savetxt: {ONE_A_ROW}")
    return data


def _array(data: bytes, path: Path) -> NDArray[np.float64]:
    import numpy as np

    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InvalidInput("a damaged .npy file", file=path, hint="write it again with numpy.save") from error
    if values.dtype.kind not in "fiu" or values.ndim not in (1, 2) or values.size == 0:
        raise InvalidInput(
            f"an array of shape {values.shape} and type {values.dtype}", file=path, hint=f"{ONE_A_ROW}: (T, K) numbers"
        )
    return np.atleast_2d(values).astype(np.float64)


def _text(data: bytes, path: Path) -> list[list[float]]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput("is neither text nor .npy", file=path, hint=ONE_A_ROW) from None
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.split("#")[0].replace(",", " ").split()
        if not content:
            continue
        try:
            rows.append([float(word) for word in content])
        except ValueError:
            raise InvalidInput(
                f"{line.strip()[:60]!r} is not a row of numbers", file=path, row=number, hint=f"{ONE_A_ROW}; # comments"
            ) from None
        if len(rows[-1]) != len(rows[0]):
            raise InvalidInput(f"{len(rows[-1])} numbers, {len(rows[0])} in the rows above", file=path, row=number)
    if not rows:
        raise InvalidInput("holds no point", file=path, hint=ONE_A_ROW)
    return rows
