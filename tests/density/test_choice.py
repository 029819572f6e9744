"""The chosen alpha stays put when the particles are drawn again."""

from __future__ import annotations

import numpy as np
import pytest
from latent_sets import observe, three_states, two_wells

from covaria.estimation.density.blur import LatentGrid, build_blur
from covaria.estimation.density.choice import choose_alpha
from covaria_density.stage import ALPHAS

RESAMPLES = 6


def _gaussian(count, noise, dim, seed):
    rng = np.random.default_rng(seed)
    return observe(0.7 * rng.standard_normal((count, dim)), noise, rng)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "noise"),
    [(two_wells, 1.0), (three_states, 0.4), (_gaussian, 0.5)],
)
def test_bootstrap_moves_alpha_by_at_most_one_step(make, noise):
    count = 2000
    data = make(count, noise, 1, 21)
    blur = build_blur(LatentGrid(np.array([[-2.2, 2.2]]), 80), data.estimates, data.covariances, 0)
    chosen = choose_alpha(blur, ALPHAS, 0).knee
    drawn = [
        np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count)).astype(float)
        for seed in range(RESAMPLES)
    ]
    moved = [abs(choose_alpha(blur, ALPHAS, 0, weights=weights).knee - chosen) for weights in drawn]
    assert sum(step <= 1 for step in moved) >= 0.8 * RESAMPLES, moved


def test_chosen_alpha_is_near_the_best_possible():
    """Total variation to the truth at the chosen alpha is close to the least over all alphas."""
    data = two_wells(4000, 0.5, 1, 22)
    grid = LatentGrid(np.array([[-2.2, 2.2]]), 400)
    blur = build_blur(grid, data.estimates, data.covariances, 0)
    choice = choose_alpha(blur, ALPHAS, 0)
    from covaria.estimation.density.solver import solve_path

    axis = grid.axis(0)
    truth = sum(
        weight * np.exp(-0.5 * ((axis - center) / 0.15) ** 2)
        for weight, center in zip(data.weights, data.centers[:, 0], strict=True)
    )
    truth /= truth.sum()
    distance = [0.5 * np.abs(answer.mass - truth).sum() for answer in solve_path(grid, blur.observe(), ALPHAS)]
    assert distance[choice.knee] < min(distance) + 0.08 and distance[choice.knee] < 0.15


def test_progress_is_reported_to_the_end():
    data = two_wells(500, 0.5, 1, 23)
    blur = build_blur(LatentGrid(np.array([[-2.2, 2.2]]), 60), data.estimates, data.covariances, 0)
    heard: list[int] = []
    choose_alpha(blur, ALPHAS, 0, on_step=heard.append)
    assert heard == sorted(heard) and heard[-1] == 4 * len(ALPHAS)
