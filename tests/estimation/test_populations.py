"""Populations: what is known of simulated latents comes back, and the intervals hold it as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.estimation.populations.intervals import DRAWS, draws, populations, units_of
from covaria.estimation.populations.mixing import likelihoods, masses, profile

CENTERS = np.array([[-1.0, -0.5], [1.2, -0.8], [-0.2, 1.6]])
SHARES = np.array([0.5, 0.3, 0.2])


def observed(truth: np.ndarray, error: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Estimates of `truth` (N, d) and their precisions, different in every particle."""
    count, dim = truth.shape
    scale = error * np.exp(0.3 * rng.standard_normal(count))
    mix = np.eye(dim) + 0.25 * rng.standard_normal((count, dim, dim))
    covariance = scale[:, None, None] ** 2 * (mix @ mix.transpose(0, 2, 1))
    noise = np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), rng.standard_normal(truth.shape))
    return truth + noise, np.linalg.inv(covariance)


def three_states(count: int, error: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return observed(CENTERS[rng.choice(3, count, p=SHARES)], error, rng)


def found_of(coordinates, precisions, centers, seed=0):
    count = len(coordinates)
    return populations(coordinates, precisions, centers, np.arange(count), np.arange(count) % 2, seed)


def test_intervals_hold_the_truth_as_often_as_they_say():
    inside = []
    for seed in range(15):
        found = found_of(*three_states(300, 0.5, seed), CENTERS, seed)
        inside.append((found.low <= SHARES) & (found.high >= SHARES))
    assert 0.8 <= np.mean(inside) <= 0.97


def test_errors_are_taken_out():
    """Of two states, the rare one gains by counting what the common one's errors throw over the border."""
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(2000) < 0.05, -1.0, 1.0)[:, None]
    coordinates, precisions = observed(truth, 0.8, rng)
    found = found_of(coordinates, precisions, np.array([[-1.0], [1.0]]))
    counted = float((coordinates[:, 0] < 0).mean())
    assert counted > 0.1
    assert found.low[0] <= 0.05 <= found.high[0] < counted


def test_without_errors_the_interval_is_that_of_counting():
    coordinates, precisions = three_states(1000, 0.01, 3)
    found = found_of(coordinates, precisions, CENTERS)
    counts = ((coordinates[:, None] - CENTERS) ** 2).sum(-1).argmin(1)
    share = np.bincount(counts) / len(counts)
    np.testing.assert_allclose(found.share, share, atol=0.005)
    np.testing.assert_allclose((found.high - found.low) / 3.29, np.sqrt(share * (1 - share) / 1000), rtol=0.25)
    assert found.resolved.all()


def test_centres_closer_than_the_errors_get_wide_intervals():
    """One state cut in two by k-means: nothing says on which side of the border it lies."""
    rng = np.random.default_rng(1)
    coordinates, precisions = observed(np.zeros((600, 1)), 0.6, rng)
    found = found_of(coordinates, precisions, np.array([[-0.05], [0.05]]))
    assert not found.resolved.any()
    assert (found.low < 0.2).all() and (found.high > 0.8).all()


def test_micrographs_are_drawn_whole_and_half_sets_keep_their_size():
    rng = np.random.default_rng(0)
    micrograph, halves = np.arange(600) // 10, np.arange(600) // 10 % 2
    counts = draws(units_of(micrograph, halves), halves, rng)
    assert counts.shape == (600, 1 + DRAWS) and (counts[:, 0] == 1).all()
    by_micrograph = counts.reshape(60, 10, -1)
    assert (by_micrograph == by_micrograph[:, :1]).all()
    assert (counts[halves == 0].sum(0) == 300).all()


@pytest.mark.parametrize("micrograph", [np.arange(100) // 10, np.full(100, -1)])
def test_few_or_unknown_micrographs_leave_images_to_be_drawn(micrograph):
    assert (units_of(micrograph, np.arange(100) % 2) == np.arange(100)).all()


def test_particles_of_one_micrograph_that_agree_widen_the_interval():
    """Where all particles of a micrograph share a state, as many independent facts are known as micrographs."""
    rng = np.random.default_rng(2)
    micrograph = np.arange(1000) // 20
    truth = CENTERS[rng.choice(3, 50, p=SHARES)[micrograph]]
    coordinates, precisions = observed(truth, 0.1, rng)
    halves = micrograph % 2
    wide = populations(coordinates, precisions, CENTERS, units_of(micrograph, halves), halves, 0)
    narrow = populations(coordinates, precisions, CENTERS, np.arange(1000), halves, 0)
    assert ((wide.high - wide.low) > 2.5 * (narrow.high - narrow.low)).all()


def test_profile_is_highest_at_the_best_share():
    coordinates, precisions = three_states(300, 0.4, 5)
    likelihood = likelihoods(coordinates, precisions, CENTERS)
    best = masses(likelihood, np.ones((300, 1), np.float32))[:, 0]
    inside = np.array([True, False, False])[:, None]
    share = np.array([best[0] - 0.1, best[0], best[0] + 0.1])
    level = profile(likelihood, best, np.repeat(inside, 3, 1), share.astype(float))
    assert level[1] == pytest.approx(float(np.log(likelihood @ best).sum()), abs=0.01)
    assert level[1] - level[0] > 1 and level[1] - level[2] > 1


def test_the_likelihood_is_that_of_the_errors():
    coordinates, precisions = three_states(5, 1.5, 7)
    rows = np.log(likelihoods(coordinates, precisions, CENTERS).astype(float))
    away = coordinates[:, None] - CENTERS
    log = -0.5 * np.einsum("nji,nik,njk->nj", away, precisions, away)
    np.testing.assert_allclose(rows, log - log.max(1, keepdims=True), atol=1e-4)
