"""Poses move to where they belong, as far as the other half-set confirms it; good ones stay where they are."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from covaria.estimation.refinement.posterior import about
from covaria.estimation.refinement.rounds import composed


def test_a_prior_about_another_place_against_the_gaussian_itself():
    rng = np.random.default_rng(0)
    root, u, y = rng.normal(size=(9, 3)), rng.normal(size=3), rng.normal(size=9) * 2

    def by_hand(middle: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        covariance = np.linalg.inv(root.T @ root + np.eye(3))
        mean = covariance @ (root.T @ y + middle)
        spread = root @ root.T + np.eye(9)
        rest = y - root @ middle
        return mean, covariance, -0.5 * (rest @ np.linalg.solve(spread, rest) + np.linalg.slogdet(spread)[1])

    mean, covariance, likelihood = (torch.as_tensor(value)[None] for value in by_hand(np.zeros(3)))
    found, raised = about(torch.as_tensor(u)[None], mean, covariance, likelihood)
    true_mean, _, true_likelihood = by_hand(u)
    np.testing.assert_allclose(found[0], true_mean, rtol=1e-10)
    np.testing.assert_allclose(float(raised[0]), true_likelihood, rtol=1e-10)


def test_moves_follow_one_another():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 4, 5)) * 0.2
    both = composed(first, second)
    turns = [Rotation.from_rotvec(one[:, 2:]).as_matrix() for one in (first, second, both)]
    np.testing.assert_allclose(turns[1] @ turns[0], turns[2], atol=1e-12)
    np.testing.assert_allclose(first[:, :2] + second[:, :2], both[:, :2])
