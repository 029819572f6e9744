"""What one image says about its contrast and latent coordinates, under a linear model mean + sum_k z_k v_k.

With A = CTF x slice at contrast 1, everything follows from a few inner products for each image:

    gram_i    = <A x_j, A x_k>   for x = (mean, v_1 .. v_q)
    overlap_i = <A x_j, y>,      energy_i = <y, y>

Gaussian model y = c A (mean + V z) + noise, z ~ N(0, prior):
    H = c^2 G,  posterior precision H + prior^-1,  posterior mean = (H + prior^-1)^-1 c (overlap_V - c gram_V0)
Slices of pose errors stand between the mean and the components and are treated as components of prior variance 1.
The contrast maximises the MARGINAL likelihood (z integrated out: with log det(1 + prior H)) times N(1, sd^2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

CONTRAST_RANGE = (0.1, 3.0)
_GRID = torch.arange(0.1, 3.0 + 1e-6, 0.05, dtype=torch.float64)


@dataclass(frozen=True)
class ImageStatistics:
    """Inner products of b images with the slices of 1 + q volumes (the mean first), at contrast 1.

    gram (b, 1+p+q, 1+p+q), overlap (b, 1+p+q), energy (b,): float64; errors p: slices of pose errors, behind the mean
    """

    gram: torch.Tensor
    overlap: torch.Tensor
    energy: torch.Tensor
    errors: int = 0

    def leading(self, q: int) -> ImageStatistics:
        """Those of the mean, the errors and the first q components."""
        n = 1 + self.errors + q
        return ImageStatistics(self.gram[:, :n, :n], self.overlap[:, :n], self.energy, self.errors)

    def scaled(self, factors: torch.Tensor) -> ImageStatistics:
        """Those after volume k is multiplied by factors[k], (1+p+q,)."""
        return ImageStatistics(self.gram * factors[:, None] * factors, self.overlap * factors, self.energy, self.errors)

    def without_errors(self, contrast: torch.Tensor) -> ImageStatistics:
        """The inner products under noise that holds the errors too, at contrasts (b,): no slice of them is left.

        With D their slices, <a, b> becomes <a, b> - c^2 <a, D> (1 + c^2 <D, D>)^-1 <D, b> (Woodbury; a Schur
        complement), so that whatever follows carries the uncertainty of the poses.
        """
        if not self.errors:
            return self
        kept = [0, *range(1 + self.errors, self.gram.shape[1])]
        held = slice(1, 1 + self.errors)
        square = contrast.to(self.gram).square()[:, None, None]
        inside = square * self.gram[:, held, held]
        inside = inside + torch.eye(self.errors, dtype=inside.dtype, device=inside.device)
        right = torch.cat([self.gram[:, held][:, :, kept], self.overlap[:, held, None]], 2)
        taken = right.transpose(1, 2) @ (square * torch.linalg.solve(inside, right))
        return ImageStatistics(
            self.gram[:, kept][:, :, kept] - taken[:, :-1, :-1],
            self.overlap[:, kept] - taken[:, :-1, -1],
            self.energy - taken[:, -1, -1],
        )


def statistics(slices: torch.Tensor, errors: int = 0) -> ImageStatistics:
    """Inner products of the slices that `linear_model.slices_of` gives, the image last among them."""
    products = torch.bmm(slices.transpose(1, 2), slices).double()
    return ImageStatistics(products[:, :-1, :-1], products[:, :-1, -1], products[:, -1, -1], errors)


def grid_costs(stats: ImageStatistics, grid: torch.Tensor) -> torch.Tensor:
    """-2 log p(y | c) up to a constant, prior covariance of z = 1, at every contrast of `grid` (m,): (b, m)."""
    if stats.energy.device.type == "cpu":
        from covaria.estimation.latents.kernels import costs

        out = torch.empty((len(stats.energy), len(grid)), dtype=torch.float64)
        gram, overlap, energy = (part.double().numpy() for part in (stats.gram, stats.overlap, stats.energy))
        costs(gram, overlap, energy, grid.numpy(), out.numpy())
        return out
    return plain_grid_costs(stats, grid)


def plain_grid_costs(stats: ImageStatistics, grid: torch.Tensor) -> torch.Tensor:
    """`grid_costs` in plain torch: for devices without a loop of its own.

    Householder's reduction makes gram tridiagonal once; then log det(1 + c^2 gram) and the quadratic form are one
    elimination for all contrasts. No eigenvector is needed, and batched eigensolvers are slow.
    """
    plain = stats.energy[:, None] - 2 * grid * stats.overlap[:, :1] + grid**2 * stats.gram[:, 0, 0][:, None]
    vectors = torch.stack([stats.overlap[:, 1:], stats.gram[:, 1:, 0]], 2)
    diagonal, beside, vectors = _tridiagonal(stats.gram[:, 1:, 1:], vectors)
    pivot, left = torch.ones_like(plain), torch.zeros_like(plain)
    for k in range(vectors.shape[1]):
        off = grid**2 * beside[:, k, None]
        step = off / pivot
        left = vectors[:, k, :1] - grid * vectors[:, k, 1:] - step * left
        pivot = 1 + grid**2 * diagonal[:, k, None] - step * off
        plain += pivot.log() - (grid * left) ** 2 / pivot
    return plain


def _tridiagonal(matrices: torch.Tensor, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Householder's reduction of symmetric matrices (b, n, n): diagonal (b, n), what stands beside it ((b, n); entry i
    at (i, i - 1)), and vectors (b, n, m) turned with them."""
    a, turned = matrices.clone(), vectors.clone()
    beside = a.new_zeros(a.shape[:2])
    for k in range(a.shape[1] - 2):
        column = a[:, k + 1 :, k].clone()
        length = column.norm(dim=1)
        beside[:, k + 1] = -torch.copysign(length, column[:, 0])
        column[:, 0] -= beside[:, k + 1]
        v = column / column.norm(dim=1, keepdim=True).clamp_min(1e-150)
        part = a[:, k + 1 :, k + 1 :]
        w = 2 * torch.bmm(part, v[..., None])[..., 0]
        w = w - (w * v).sum(1, keepdim=True) * v
        part -= v[:, :, None] * w[:, None] + w[:, :, None] * v[:, None]
        turned[:, k + 1 :] -= 2 * v[:, :, None] * torch.einsum("bk,bkm->bm", v, turned[:, k + 1 :])[:, None]
    if a.shape[1] > 1:
        beside[:, -1] = a[:, -1, -2]
    return a.diagonal(dim1=1, dim2=2), beside, turned


def best_contrast(stats: ImageStatistics, sd: float, centre: float = 1.0) -> torch.Tensor:
    """The contrast of each image, (b,): marginal likelihood times N(centre, sd^2), within CONTRAST_RANGE.

    sd = 0 fixes it to `centre`; sd = inf leaves it free. Grid of 0.05, then the vertex of the parabola through the
    best three points.
    """
    if sd == 0:
        return torch.full_like(stats.energy, centre)
    grid = _GRID.to(stats.energy.device)
    cost = grid_costs(stats, grid) + ((grid - centre) / sd) ** 2
    best = cost.argmin(1).clamp(1, len(grid) - 2)
    left, middle, right = (cost.gather(1, (best + d)[:, None])[:, 0] for d in (-1, 0, 1))
    curvature = (left - 2 * middle + right).clamp_min(1e-30)
    shift = (0.5 * (left - right) / curvature).clamp(-1, 1)
    return (grid[best] + 0.05 * shift).clamp(*CONTRAST_RANGE)


@dataclass(frozen=True)
class Posterior:
    """Of the contrast's deviation a and the coordinates z, both N(0, 1) a priori, in the model

        y = (1 + sd a) A mean + c A V z + noise

    weights (b, 1+q) = (sd, c, .. c); mean (b, 1+q) and covariance (b, 1+q, 1+q) of (a, z);
    log_likelihood (b,) = log p(y) with both integrated out, without its constant.
    """

    weights: torch.Tensor
    mean: torch.Tensor
    covariance: torch.Tensor
    log_likelihood: torch.Tensor


def posterior(stats: ImageStatistics, sd: float, contrast: torch.Tensor | None = None) -> Posterior:
    """Given each image's `contrast` c (the best one) for its components; for the mean the contrast is integrated out.

    A contrast that is only estimated leaves its error times the mean in the residual of every image, and that is a
    component to whoever does not know of it.
    """
    contrast = best_contrast(stats, sd) if contrast is None else contrast
    weights = contrast[:, None].expand(-1, stats.gram.shape[1]).clone()
    weights[:, 0] = sd
    precision = stats.gram * weights[:, :, None] * weights[:, None]
    precision = precision + torch.eye(precision.shape[1], dtype=precision.dtype, device=precision.device)
    factor = torch.linalg.cholesky(precision)
    covariance = torch.cholesky_inverse(factor)
    data = weights * (stats.overlap - stats.gram[:, :, 0])
    mean = torch.einsum("bkl,bl->bk", covariance, data)
    plain = stats.energy - 2 * stats.overlap[:, 0] + stats.gram[:, 0, 0]
    log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return Posterior(weights, mean, covariance, -0.5 * (plain - (data * mean).sum(1) + log_det))
