"""In which order images are kept: half-set by half-set, neighbours in viewing direction together."""

from __future__ import annotations

import numpy as np


def share_of(
    directions: np.ndarray, half: np.ndarray, particle: np.ndarray | None, rank: int, ranks: int
) -> tuple[np.ndarray, np.ndarray]:
    """The images of one rank, ascending, and the order in which they are kept: halves, then neighbours in direction.

    Tilts of one particle are kept together, in the place of the first.
    """
    if particle is None:
        share = np.array_split(np.arange(len(half)), ranks)[rank]
        return share, np.lexsort((viewing_order(directions[share]), half[share]))
    codes, first = np.unique(particle, return_index=True)
    mine = np.array_split(codes, ranks)[rank]
    share = np.flatnonzero(np.isin(particle, mine))
    place = np.zeros(len(codes), np.int64)
    place[mine] = viewing_order(directions[first[mine]])
    return share, np.lexsort((particle[share], place[particle[share]], half[share]))


def viewing_order(directions: np.ndarray) -> np.ndarray:
    """The place of each viewing direction (n, 3) in a walk over the half sphere that takes short steps, (n,).

    Slices that follow each other then share most of the volume's cache lines: gather and scatter take two thirds of
    their time. The walk goes to and fro over strips of an equal-area map.
    """
    up = directions * np.where(directions[:, 2:] < 0, -1.0, 1.0)
    x, y = (up[:, :2] / np.sqrt(1 + up[:, 2:])).T
    strips = max(1, round(float(np.sqrt(len(x))) / 1.5))
    strip = np.floor((x + 1) / 2 * strips)
    place = np.empty(len(x), np.int64)
    place[np.lexsort((np.where(strip % 2, y, -y), strip))] = np.arange(len(x))
    return place


def with_copies(share: np.ndarray, order: np.ndarray, count: int, copies: int) -> tuple[np.ndarray, np.ndarray]:
    """`share_of` of `count` images as that of their `copies` (g count + i), those of an image next to each other."""
    steps = np.arange(copies)
    every = (share + count * steps[:, None]).ravel()
    return every, (order[:, None] + len(share) * steps).ravel()
