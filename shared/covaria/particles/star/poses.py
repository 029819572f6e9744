"""A particle STAR file with other poses: every byte but the values of angles and origins as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from covaria.particles.rotations import euler_from_matrices
from covaria.particles.star import cistem
from covaria.particles.star.relion import ANGLES, ORIGINS_ANGSTROM, ORIGINS_PIXEL
from covaria.particles.star.subset import StarRows
from covaria.particles.star.table import TOKEN


def write_star_poses(
    star: StarRows,
    rows: NDArray[np.int64],
    rotations: NDArray[np.float64],
    shifts_pixels: NDArray[np.float64],
    pixel_sizes_angstrom: NDArray[np.float64],
    target: BinaryIO,
) -> None:
    """rotations (n, 3, 3) and origins (n, 2) in pixels (n,) of the images, of the particle table's `rows` (n,), from 0.

    Origins in angstrom and in pixels are both written where both are there; where neither is, in angstrom. cisTEM's
    files get theirs.
    """
    of_cistem = cistem.POSITION in star.labels
    angles = cistem.ANGLES if of_cistem else ANGLES
    columns = {label: values for label, values in zip(angles, euler_from_matrices(rotations).T, strict=True)}
    angstrom = shifts_pixels * pixel_sizes_angstrom[:, None]
    origins = {cistem.SHIFTS: -angstrom} if of_cistem else {ORIGINS_ANGSTROM: angstrom, ORIGINS_PIXEL: shifts_pixels}
    there = [labels for labels in origins if labels[0] in star.labels] or [next(iter(origins))]
    columns |= {label: values for labels in there for label, values in zip(labels, origins[labels].T, strict=True)}
    changed = {label: [f"{value:.6f}" for value in values.tolist()] for label, values in columns.items()}
    target.writelines(_lines(star, rows, changed))


def _lines(star: StarRows, rows: NDArray[np.int64], changed: Mapping[str, Sequence[str]]) -> Iterator[bytes]:
    data, lines = star.data, star.lines
    added = [label for label in changed if label not in star.labels]
    place_of_row = dict(zip(rows.tolist(), range(len(rows)), strict=True))
    header = data[: lines[0]]
    end = b"\r\n" if header.endswith(b"\r\n") else header[-1:]
    yield header
    yield from (f"{label} #{number}".encode() + end for number, label in enumerate(added, len(star.labels) + 1))
    labels = (*star.labels, *added)
    places = sorted((labels.index(label), values) for label, values in changed.items())
    row = 0
    for begin, stop, is_row in zip(lines[:-1], lines[1:], star.is_row, strict=True):
        line = data[begin:stop]
        if not is_row:
            yield line
            continue
        at = place_of_row.get(row)
        if at is not None:
            yield _with_values(line, {place: values[at] for place, values in places})
        else:
            yield _with_values(line, {place: "0.000000" for place, _ in places if place >= len(star.labels)})
        row += 1
    yield data[lines[-1] :]


def _with_values(line: bytes, values: Mapping[int, str]) -> bytes:
    """The row with other values at some places; places behind its last one are put there."""
    if not values:
        return line
    text = line.decode("utf-8", "surrogateescape")
    spans = [match.span() for match in TOKEN.finditer(text) if not match.group().startswith("#")]
    out, done = "", 0
    for place, value in values.items():
        begin, end = spans[place] if place < len(spans) else (spans[-1][1],) * 2
        out += text[done:begin] + (value if place < len(spans) else f" {value}")
        done = end
    return (out + text[done:]).encode("utf-8", "surrogateescape")
