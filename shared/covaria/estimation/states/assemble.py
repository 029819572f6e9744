"""One state's volumes from its residual maps: shrink, choose, add to the linear model, filter locally."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from covaria.estimation.states.estimates import ResidualMaps
from covaria.estimation.states.model import HalfSetModels
from covaria.estimation.states.selection import Choice, choose, prior_losses, shell_gain
from covaria.maps.filtering import local_filter
from covaria.maps.fourier import shell_indices

if TYPE_CHECKING:
    from jaxtyping import Complex, Float, Int


@dataclass(frozen=True)
class State:
    """The volumes of one target, (D, D, D) in density units.

    filtered          locally filtered average
    halves            (2, D, D, D) before the local filter
    local_resolution  angstrom
    """

    filtered: Float[np.ndarray, "d d d"]
    halves: Float[np.ndarray, "2 d d d"]
    local_resolution: Float[np.ndarray, "d d d"]
    choice: Choice


def damped(
    maps: Float[torch.Tensor, "2 candidate d d d"],
) -> tuple[Complex[torch.Tensor, "2 candidate d d d//2+1"], Int[np.ndarray, " candidate"]]:
    """Transforms of masked maps (2, K, D, D, D) whose shells are damped to what the two half-sets agree on.

    And the last shell of each candidate that is not zero: beyond it there is nothing to look at.
    """
    box = maps.shape[-1]
    transforms: torch.Tensor = torch.fft.rfftn(maps, dim=(-3, -2, -1))
    gains = torch.stack([shell_gain(transforms[:, k]) for k in range(maps.shape[1])])
    table = torch.cat([gains, torch.zeros_like(gains)], dim=1)
    transforms *= table[:, torch.as_tensor(shell_indices(box), device=maps.device)]
    shells = np.arange(gains.shape[1])
    return transforms, np.where(gains.cpu().numpy() > 0, shells, -1).max(axis=1)


def assemble(
    model: HalfSetModels,
    target: Float[np.ndarray, " component"],
    residuals: tuple[ResidualMaps, ResidualMaps],
    everyone: Float[torch.Tensor, "2 d d d"],
    sizes: Int[np.ndarray, " neighbourhood"],
    count: int,
    scale: float,
    pixel_size_angstrom: float,
) -> State:
    """x_h(z*) = mu_h + U_h z* + the chosen residual of half-set h, for both halves, and their filtered average.

    residuals  of half-set 0 and of half-set 1, maps in units of the cache (density / scale)
    sizes      (K,) particles in each neighbourhood, of `count`
    everyone   (2, D, D, D) the map of all images' residuals: the widest candidate, and what undoes the regularisation
               of the linear model where the filter needs unbiased halves
    """
    device = everyone.device
    mask = torch.as_tensor(model.mask, device=device)
    linear = np.stack([half.at(target) for half in model.halves])
    maps = torch.stack([torch.cat([residuals[h].maps.to(device), everyone[h][None]]) for h in (0, 1)])
    offset = torch.as_tensor((linear[1] - linear[0]) / np.float32(scale), device=device)
    held = (residuals[0].held_out, residuals[1].held_out)
    transforms, reach = damped(maps * mask)
    choice = choose(transforms, reach, held, offset, mask, prior_losses(sizes, count))
    halves = (linear + choice.residuals.cpu().numpy() * scale).astype(np.float32)
    unbiased = linear + everyone.cpu().numpy() * np.float32(scale)
    filtered, resolution = local_filter(
        halves[0],
        halves[1],
        model.mask,
        pixel_size_angstrom,
        unbiased1=unbiased[0],
        unbiased2=unbiased[1],
        device=str(device),
    )
    return State(filtered, halves, resolution, choice)
