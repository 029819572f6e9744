"""One contrast and one latent point for all images of a particle: the tilts of a series.

What the images say is added before the posterior. Pose errors stay each image's own: with B the scaled inner products
of x = (contrast deviation, coordinates) with an image's errors e and K = (1 + <e, e>)^-1, an image adds
    <x, x> - B K B^T   and   data_x - B K data_e
to its particle's precision and data, and given the particle's posterior (m, S) of x its errors have
    mean K (data_e - B^T m),   covariance K + K B^T S B K,   covariance with x -K B^T S.
"""

from __future__ import annotations

import torch

from covaria.estimation.latents.posterior import ImageStatistics, Posterior, best_contrast, posterior


def added(values: torch.Tensor, particle: torch.Tensor) -> torch.Tensor:
    """(P, ...) the sums of values (b, ...) over the images of each particle (b,)."""
    sums = values.new_zeros((int(particle.max()) + 1, *values.shape[1:]))
    return sums.index_add_(0, particle, values)


def of_particles(stats: ImageStatistics, particle: torch.Tensor) -> ImageStatistics:
    """The inner products of whole particles; `stats` hold no errors."""
    gram, overlap, energy = (added(values, particle) for values in (stats.gram, stats.overlap, stats.energy))
    return ImageStatistics(gram, overlap, energy)


def posterior_of(
    stats: ImageStatistics, sd: float, particle: torch.Tensor | None, contrast: torch.Tensor | None = None
) -> Posterior:
    """`latents.posterior` for images that are particles (particle None), or that belong to them (b,).

    Every image has its particle's posterior beside that of its own errors; the log likelihood of a particle stands at
    its first image, and 0 at the others.
    """
    if particle is None:
        return posterior(stats, sd, contrast)
    if contrast is None:
        plain = stats.without_errors(torch.ones_like(stats.energy))
        contrast = best_contrast(of_particles(plain, particle), sd)[particle]
    weights = contrast[:, None].expand(-1, stats.gram.shape[1]).clone()
    weights[:, 0] = sd
    gram = stats.gram * weights[:, :, None] * weights[:, None]
    data = weights * (stats.overlap - stats.gram[:, :, 0])
    own = slice(1, 1 + stats.errors)
    shared = [0, *range(1 + stats.errors, gram.shape[1])]
    cross, data_x = gram[:, shared, own], data[:, shared]
    held = torch.linalg.cholesky(gram[:, own, own] + torch.eye(stats.errors, dtype=gram.dtype, device=gram.device))
    inverse = torch.cholesky_inverse(held)
    taken = cross @ inverse
    precision = added(gram[:, shared][:, :, shared] - taken @ cross.transpose(1, 2), particle)
    precision += torch.eye(len(shared), dtype=gram.dtype, device=gram.device)
    right = added(data_x - (taken @ data[:, own, None])[..., 0], particle)
    factor = torch.linalg.cholesky(precision)
    spread = torch.cholesky_inverse(factor)
    middle = torch.einsum("pkl,pl->pk", spread, right)
    plain_cost = stats.energy - 2 * stats.overlap[:, 0] + stats.gram[:, 0, 0]
    plain_cost = plain_cost - torch.einsum("bk,bkl,bl->b", data[:, own], inverse, data[:, own])
    plain_cost = plain_cost + 2 * held.diagonal(dim1=1, dim2=2).log().sum(1)
    cost = added(plain_cost, particle) - (right * middle).sum(1) + 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return _of_images(particle, weights, middle, spread, taken, inverse, data[:, own], shared, -0.5 * cost)


def _of_images(
    particle: torch.Tensor,
    weights: torch.Tensor,
    middle: torch.Tensor,
    spread: torch.Tensor,
    taken: torch.Tensor,
    inverse: torch.Tensor,
    data: torch.Tensor,
    shared: list[int],
    log_likelihood: torch.Tensor,
) -> Posterior:
    """The particles' posteriors (middle, spread) put beside those of each image's errors."""
    own = slice(1, 1 + data.shape[1])
    mean, covariance = torch.empty_like(weights), weights.new_empty((*weights.shape, weights.shape[1]))
    x, s = middle[particle], spread[particle]
    mean[:, shared] = x
    mean[:, own] = torch.einsum("bkl,bl->bk", inverse, data) - torch.einsum("bxe,bx->be", taken, x)
    with_errors = -s @ taken
    rows = torch.tensor(shared, device=weights.device)
    covariance[:, rows[:, None], rows] = s
    covariance[:, rows, own] = with_errors
    covariance[:, own, rows] = with_errors.transpose(1, 2)
    covariance[:, own, own] = inverse + taken.transpose(1, 2) @ s @ taken
    first = torch.ones_like(particle, dtype=torch.bool)
    first[1:] = particle[1:] != particle[:-1]
    at_first = torch.where(first, log_likelihood[particle], 0.0)
    return Posterior(weights, mean, covariance, at_first)
