"""Which alpha: the largest whose density predicts particles that it has not seen as well as the best one does.

The particles are dealt into folds; the whole path of alphas is solved without each fold and scored on it. The knee is
the largest alpha whose held-out log-likelihood is within one standard error of the best (of the PAIRED difference: the
same particles under two densities), or within 3 nats, a likelihood ratio of 20, where the standard error is less.
Held-out likelihood falls off a cliff where alpha is too large and sags slowly where it is too small, so the knee sits
at the cliff's edge and stays there when the particles are drawn again; a knee read off the curvature of eleven points
does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from covaria.estimation.density.blur import Blur, Observed
from covaria.estimation.density.solver import Array, solve_path

FOLDS = 4
INDIFFERENCE_NATS = 3.0


@dataclass(frozen=True)
class Knee:
    """The knee and the curve behind it.

    held_out_loss   (A,)  log-likelihood of unseen particles lost to the best alpha, in nats, all particles together
    standard_error  (A,)  of that loss
    """

    knee: int
    held_out_loss: Array
    standard_error: Array


def choose_alpha(
    blur: Blur,
    alphas: Sequence[float],
    seed: int,
    weights: Array | None = None,
    on_step: Callable[[int], None] = lambda done: None,
) -> Knee:
    """Cross-validate a descending list of alphas. `weights` (N,) counts each particle (for a bootstrap).

    `on_step` hears how many of FOLDS * len(alphas) problems are solved.
    """
    counted = np.ones(len(blur.coordinates)) if weights is None else weights
    folds = np.random.default_rng(seed).permutation(len(counted)) % FOLDS
    terms: list[list[tuple[Array, ...]]] = []
    tests: list[Observed] = []
    for fold in range(FOLDS):
        train = blur.observe(np.where(folds == fold, 0.0, counted))
        done_before = fold * len(alphas)
        path = solve_path(blur.grid, train, alphas, partial(_shifted, on_step, done_before))
        tests.append(blur.observe(np.where(folds == fold, counted, 0.0)))
        terms.append([tests[-1].log_terms(answer.mass) for answer in path])
    return _choose(tests, terms)


def l_curve_corner(roughness: Array, log_likelihood: Array) -> int:
    """Where the curve of fit against roughness (A,) turns most: the point farthest below its chord, both axes 0 to 1.

    What other programs choose by; it is written beside the choice that held-out particles make, and decides nothing.
    """
    x, y = (np.log(np.maximum(roughness, 1e-300)), -log_likelihood)
    x, y = ((v - v.min()) / max(float(np.ptp(v)), 1e-300) for v in (x, y))
    chord = y[0] + (y[-1] - y[0]) * (x - x[0]) / (x[-1] - x[0] if x[-1] != x[0] else 1.0)
    return int(np.argmax(chord - y))


def _shifted(on_step: Callable[[int], None], before: int, done: int) -> None:
    on_step(before + done)


def _choose(tests: list[Observed], terms: list[list[tuple[Array, ...]]]) -> Knee:
    alphas = len(terms[0])
    totals = [sum(_total(test, path[a]) for test, path in zip(tests, terms, strict=True)) for a in range(alphas)]
    best = int(np.argmax(totals))
    loss, error = np.zeros(alphas), np.zeros(alphas)
    for a in range(alphas):
        first = second = count = 0.0
        for test, path in zip(tests, terms, strict=True):
            for counts, good, other in zip(test.counts, path[best], path[a], strict=True):
                difference = good - other
                first += float(np.sum(counts * difference))
                second += float(np.sum(counts * difference**2))
                count += float(counts.sum())
        loss[a] = first
        error[a] = np.sqrt(max(second - first**2 / count, 0.0))
    knee = int(np.flatnonzero(loss <= np.maximum(error, INDIFFERENCE_NATS))[0])
    return Knee(knee, loss, error)


def _total(test: Observed, logs: tuple[Array, ...]) -> float:
    return sum(float(np.sum(counts * log)) for counts, log in zip(test.counts, logs, strict=True))
