"""From sums on the padded grid to maps of the residual, and to what held-out images say about such maps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from covaria.imaging.volumes import adjoint_from_padded, grid_corrected, padded_radius, unit_density
from covaria.maps.fourier import shell_means

if TYPE_CHECKING:
    from jaxtyping import Complex, Float, Int

RIDGE = 0.05
"""Share of a shell's mean weight added to every voxel's: keeps directions that few images saw from blowing up."""


@dataclass(frozen=True)
class HeldOut:
    """What the images of a small neighbourhood say about a map d of their residual (density of the cache).

    Their log-likelihood is, up to a constant, -1/2 sum_k [ weight |d|^2 - 2 Re conj(d) gradient ] over the whole
    transform of the box, d its DFT.

    gradient  (D, D, D//2+1) complex, weight (D, D, D//2+1)
    """

    gradient: Complex[torch.Tensor, "d d d//2+1"]
    weight: Float[torch.Tensor, "d d d//2+1"]


@dataclass(frozen=True)
class ResidualMaps:
    """One target and half-set: maps (K, D, D, D) of the residual by neighbourhood, and the smallest one's data."""

    maps: Float[torch.Tensor, "neighbourhood d d d"]
    held_out: HeldOut


@lru_cache(maxsize=4)
def padded_shells(side: int, device: torch.device) -> Int[torch.Tensor, "{2*side} {2*side} {side}"]:
    """round(2 |q|) on the padded half grid of a cube: shells half a frequency unit wide."""
    return torch.as_tensor(np.rint(2 * padded_radius(side)).astype(np.int32), device=device)


def residual_map(sums: Float[torch.Tensor, "m m d 3"]) -> Float[torch.Tensor, "d d d"]:
    """The residual's density (D, D, D) from complete sums (2D, 2D, D, 3): num / (den + ridge), kernel divided out."""
    return grid_corrected(quotient_of(sums))[0]


def quotient_of(sums: Float[torch.Tensor, "m m d 3"]) -> Float[torch.Tensor, "m m d 2"]:
    """num / (den + ridge), zero where 2 |q| lies beyond 2 (D/2 - 1) or nothing was seen."""
    side = sums.shape[2]
    if sums.device.type != "cpu":
        return plain_quotient_of(sums)
    from covaria.estimation.states.kernels import quotient

    shells = padded_shells(side, sums.device)
    out = torch.empty((*shells.shape, 2))
    flat = sums.contiguous().view(-1, 3).numpy()
    quotient(flat, shells.view(-1).numpy(), int(shells[0, 0, -1]) + 1, side - 2, RIDGE, out.view(-1, 2).numpy())
    return out


def plain_quotient_of(sums: Float[torch.Tensor, "m m d 3"]) -> Float[torch.Tensor, "m m d 2"]:
    """`quotient_of` in plain torch: for devices without a loop of its own."""
    side = sums.shape[2]
    shells = padded_shells(side, sums.device)
    weight = sums[..., 2]
    mean = shell_means(weight, shells, int(shells.max()) + 1)
    denominator = weight + RIDGE * mean.to(weight.dtype)[shells]
    reached = (shells <= side - 2) & (denominator > 0)
    return torch.where(reached[..., None], sums[..., :2] / denominator[..., None], 0.0)


def held_out(sums: Float[torch.Tensor, "m m d 3"]) -> HeldOut:
    """The likelihood terms of complete sums (2D, 2D, D, 3), on the box's own Fourier grid."""
    side = sums.shape[2]
    real = adjoint_from_padded(sums[..., :2])[0]
    gradient = torch.fft.rfftn(real) / side**3
    return HeldOut(gradient, unit_density(sums[..., 2]).clamp(min=0))


def residual_maps(rings: Float[torch.Tensor, "neighbourhood m m d 3"]) -> ResidualMaps:
    """Maps of the nested neighbourhoods from the sums of their rings (K, 2D, 2D, D, 3), which are used up."""
    total = rings[0]
    smallest = held_out(total)
    maps = [residual_map(total)]
    for ring in rings[1:]:
        total += ring
        maps.append(residual_map(total))
    return ResidualMaps(torch.stack(maps), smallest)
