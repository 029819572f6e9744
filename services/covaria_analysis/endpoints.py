"""Which pairs of centres the trajectories join."""

from __future__ import annotations

import numpy as np

from covaria.results.confirmed import Array


def choose_endpoints(centers: Array, count: int) -> list[tuple[int, int]]:
    """`count` distinct pairs (i, j), i < j, of centres (K, k).

    The first half (rounded up) are the pairs farthest apart, each new pair with at least one centre not yet used while
    there are any; the rest join the extremes along each principal component in turn. Fewer where there are fewer pairs.
    """
    number = len(centers)
    possible = number * (number - 1) // 2
    count = min(count, possible)
    far = _pairs_by_distance(centers)
    chosen: list[tuple[int, int]] = []
    while len(chosen) < -(-count // 2):
        used = {index for pair in chosen for index in pair}
        left = [pair for pair in far if pair not in chosen]
        chosen.append(next((pair for pair in left if not used.issuperset(pair)), left[0]))
    extremes = [tuple(sorted((int(column.argmin()), int(column.argmax())))) for column in centers.T]
    for first, second in extremes + far:
        if len(chosen) >= count:
            break
        if first != second and (first, second) not in chosen:
            chosen.append((first, second))
    return chosen


def _pairs_by_distance(centers: Array) -> list[tuple[int, int]]:
    first, second = np.triu_indices(len(centers), k=1)
    distance = np.linalg.norm(centers[first] - centers[second], axis=1)
    order = np.argsort(-distance, kind="stable")
    return [(int(first[at]), int(second[at])) for at in order]
