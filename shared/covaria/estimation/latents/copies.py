"""Asymmetric units that move each on their own: all units that an image shows have one posterior.

With S_g the operators of the map's symmetry and v_k components of the first unit, G units and K components,
    y = (1 + sd a) A mu + c A sum_g sum_k z_gk S_g v_k + noise,   z_gk ~ N(0, 1), independent
An image is thus counted once, and what one unit's motion leaves in the image is not taken for another's. A S_g v is the
slice of v at the pose of copy g. Of the mean and its pose errors the first copy's slices serve: mu = S_g mu.
Columns: mean, errors, v_1 of every unit, v_2 of every unit ..; so the first q G of them are the first q components.
"""

from __future__ import annotations

import torch

from covaria.estimation.latents.posterior import ImageStatistics
from covaria.imaging.images import Batch


def of_images(slices: torch.Tensor, batch: Batch, errors: int) -> torch.Tensor:
    """Slices (b, 2n, 1 + p + K + 1) of the rows of a batch as those of its images, (b / G, 2n, 1 + p + K G + 1)."""
    if batch.copies == 1:
        return slices
    rows, length, _ = slices.shape
    first, images = 1 + errors, rows // batch.copies
    moving = _turned(slices[:, :, first:-1].view(rows, length // 2, 2, -1), batch.ramp)
    moving = moving.reshape(batch.copies, images, length, -1).permute(1, 2, 3, 0).flatten(2)
    return torch.cat([slices[:images, :, :first], moving, slices[:images, :, -1:]], 2)


def of_rows(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Values (b / G, n, 2, K G) of images as those of the batch's rows, (b, n, 2, K): the adjoint of `of_images`."""
    if batch.copies == 1:
        return values
    images, pixels, _, columns = values.shape
    split = values.view(images, pixels, 2, columns // batch.copies, batch.copies)
    rows = split.permute(4, 0, 1, 2, 3).reshape(images * batch.copies, pixels, 2, -1)
    return _turned(rows, None if batch.ramp is None else batch.ramp.conj())


def _turned(values: torch.Tensor, ramp: torch.Tensor | None) -> torch.Tensor:
    """Values (b, n, 2, K) times phases (b, n)."""
    if ramp is None:
        return values
    real, imaginary = ramp.real[..., None], ramp.imag[..., None]
    first, second = values[:, :, 0], values[:, :, 1]
    return torch.stack([first * real - second * imaginary, first * imaginary + second * real], 2)


def repeated(values: torch.Tensor, copies: int) -> torch.Tensor:
    """Values (B, ...) of images given to each of their rows, (B G, ...)."""
    return values if copies == 1 else values.repeat(copies, *[1] * (values.dim() - 1))


def at_first(values: torch.Tensor, copies: int) -> torch.Tensor:
    """Values (B, ...) of images at the rows of their first copy, 0 at the others, (B G, ...)."""
    if copies == 1:
        return values
    return torch.cat([values, values.new_zeros(((copies - 1) * len(values), *values.shape[1:]))])


def second_moment(mean: torch.Tensor, covariance: torch.Tensor, copies: int) -> torch.Tensor:
    """(B, K, K) E z_gk z_gl of images, on average over units g; mean (B, K G), covariance (B, K G, K G)."""
    moment = covariance + mean[:, :, None] * mean[:, None]
    if copies == 1:
        return moment
    count = moment.shape[1] // copies
    return moment.view(-1, count, copies, count, copies).diagonal(dim1=2, dim2=4).mean(-1)


def alone(stats: ImageStatistics, deviations: torch.Tensor, contrast: torch.Tensor, copies: int) -> ImageStatistics:
    """What images (B) say of each unit alone, (B G): the other units' coordinates integrated out, at a contrast (B,).

    stats hold no errors; deviations (K,) of the coordinates a priori. With M = c^2 gram + 1 of all columns, the inverse
    of a block of M^-1 is what is left of that block when the other columns are taken out (a Schur complement).
    """
    if copies == 1:
        return stats
    count, square = len(deviations), contrast.square()[:, None, None]
    one = deviations.new_ones(1)
    every = stats.scaled(torch.cat([one, deviations.repeat_interleave(copies)]))
    prior = torch.eye(every.gram.shape[1], dtype=every.gram.dtype, device=every.gram.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(square * every.gram + prior))
    data = contrast[:, None] * every.overlap
    solved = torch.einsum("bkl,bl->bk", inverse, data)
    whole = (data * solved).sum(1)
    parts = []
    for number in range(copies):
        own = torch.tensor([0, *(1 + k * copies + number for k in range(count))], device=data.device)
        block = inverse[:, own[:, None], own]
        left = torch.linalg.inv(block)
        right = torch.einsum("bkl,bl->bk", left, solved[:, own])
        energy = every.energy - whole + (right * solved[:, own]).sum(1)
        gram = (left - prior[: count + 1, : count + 1]) / square
        parts.append((gram, right / contrast[:, None], energy))
    gram, overlap, energy = (torch.cat(values) for values in zip(*parts, strict=True))
    return ImageStatistics(gram, overlap, energy).scaled(torch.cat([one, 1 / deviations]))
