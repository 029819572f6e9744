"""Components of two versions of a growing set: which is which, and how far the space that they span has moved."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Array = NDArray[np.float64]


def overlaps(now: NDArray[np.floating], then: NDArray[np.floating]) -> Array:
    """(K, L) inner products of eigenvolumes (K, D, D, D) and (L, D, D, D), each of sum of squares 1."""
    found: Array = now.reshape(len(now), -1).astype(np.float64) @ then.reshape(len(then), -1).T.astype(np.float64)
    return found


def matched(
    now: NDArray[np.floating], then: NDArray[np.floating], confirmed: int, confirmed_then: int
) -> tuple[NDArray[np.int64], Array]:
    """(order, sign) (K,): now[order] * sign are the components in the places that they had `then`.

    Confirmed ones stay before the others; among those, and among the others, each takes the place of the one that it
    is most like, so far as it has one.
    """
    likeness = overlaps(now, then)
    count = len(now)
    order = np.arange(count)
    for ours, theirs in (
        (np.arange(confirmed), np.arange(confirmed_then)),
        (np.arange(confirmed, count), np.arange(confirmed_then, len(then))),
    ):
        rows, places = linear_sum_assignment(-np.abs(likeness[np.ix_(ours, theirs)]))
        by_place = rows[np.argsort(places)]
        rest = np.setdiff1d(np.arange(len(ours)), rows)
        order[ours] = ours[np.concatenate([by_place, rest]).astype(np.int64)]
    sign = np.ones(count)
    shared = min(count, len(then))
    alike = likeness[order[:shared], np.arange(shared)]
    sign[:shared] = np.where(alike < 0, -1.0, 1.0)
    return order, sign


def moved(now: NDArray[np.floating], then: NDArray[np.floating], eigenvalues: Array) -> float:
    """The share of the variance of components `then` (L, D, D, D), with these eigenvalues (L,), that lies outside the
    space of `now` (K, D, D, D): 0 where nothing has moved, 1 where all is new."""
    if not len(then):
        return 0.0
    if not len(now):
        return 1.0
    basis = np.linalg.qr(now.reshape(len(now), -1).T.astype(np.float64))[0]
    inside = ((then.reshape(len(then), -1).astype(np.float64) @ basis) ** 2).sum(1)
    weights = np.asarray(eigenvalues, np.float64)[: len(then)]
    return float(np.clip(1 - (weights * inside).sum() / weights.sum(), 0, 1))
