"""The marginal cost over a grid of contrasts, without an eigendecomposition, against the definition."""

import numpy as np
import pytest
import torch

from covaria.estimation.latents.posterior import ImageStatistics, grid_costs, plain_grid_costs

GRID = torch.arange(0.1, 3.0, 0.1, dtype=torch.float64)


def statistics_of(count: int, seen: int = 60) -> ImageStatistics:
    rng = np.random.default_rng(count)
    slices = rng.normal(size=(7, seen, 1 + count)) * rng.uniform(0.01, 3, 1 + count)
    image = 1.2 * slices[..., 0] + rng.normal(size=(7, seen))
    slices[3, :, 1:] = 0  # an image that says nothing of the components
    parts = np.einsum("bpk,bpl->bkl", slices, slices), np.einsum("bpk,bp->bk", slices, image), (image**2).sum(1)
    return ImageStatistics(*(torch.as_tensor(part) for part in parts))


def by_definition(stats: ImageStatistics) -> np.ndarray:
    """energy - 2 c o_0 + c^2 g_00 + log det(1 + c^2 G) - c^2 d^T (1 + c^2 G)^-1 d,   d = o - c g"""
    out = np.empty((len(stats.energy), len(GRID)))
    for b, (gram, overlap, energy) in enumerate(
        zip(stats.gram.numpy(), stats.overlap.numpy(), stats.energy, strict=True)
    ):
        for i, c in enumerate(GRID.numpy()):
            inside = np.eye(len(gram) - 1) + c**2 * gram[1:, 1:]
            data = c * (overlap[1:] - c * gram[1:, 0])
            plain = energy - 2 * c * overlap[0] + c**2 * gram[0, 0]
            out[b, i] = plain + np.linalg.slogdet(inside)[1] - data @ np.linalg.solve(inside, data)
    return out


@pytest.mark.parametrize("count", [0, 1, 2, 3, 12, 25])
def test_costs_are_those_of_the_definition(count):
    stats = statistics_of(count)
    expected = by_definition(stats)
    np.testing.assert_allclose(plain_grid_costs(stats, GRID).numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(grid_costs(stats, GRID).numpy(), expected, rtol=1e-10)


def test_more_components_than_pixels():
    stats = statistics_of(12, seen=5)
    np.testing.assert_allclose(grid_costs(stats, GRID).numpy(), by_definition(stats), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(plain_grid_costs(stats, GRID).numpy(), by_definition(stats), rtol=1e-8, atol=1e-8)
