"""How much of a component to believe, at each place and resolution.

What moves is a small part of the mask, and strong at low resolution: the expected signal power of a component is taken
as a product of a radial profile and a map,

    S(x, b) = f_b g(x),      gain(x, b) = S / (S + N_b / 2)

with N_b the noise power of one half-set's volume in band b. That is the Wiener filter of the half-sets' average. All
three come from the two half-sets' own volumes h_1, h_2, whose noise is independent:

    f_b = <h_1 h_2>_b,   N_b = <(h_1 - h_2)^2>_b / 2,   g(x) = sum_b w_b (h_1 h_2)_b(x) / sum_b w_b f_b

averaged over the mask for f and N, under small windows for g; w_b = f_b / (f_b + N_b)^2 weighs the bands by what each
tells of g. A map shared by all bands can be read from far smaller windows than a local Fourier shell correlation, which
needs many voxels in each band: docs/decisions/0002.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from covaria.maps.fourier import resized_transform
from covaria.maps.local import (
    Band,
    b_spline_windows,
    band_pass,
    radial_bands,
    spread,
    windowed_sums,
)
from covaria.running.ranks import ALONE
from covaria.running.side_by_side import shared_out
from covaria.stage import Ranks

if TYPE_CHECKING:
    from jaxtyping import Float

WINDOWS = 24
"""Along an axis of the box, but none smaller than two voxels."""
SHELLS_IN_BAND = 6
LEAST_COVER = 1e-3
LEAST_SIGNAL = 1e-3
"""Of the noise power: what is zero once would stay zero."""
TINY = 1e-30
MOST_VOXELS = 1 << 18
"""Of the components that are shrunk together: many small ones at once, large ones one by one."""
PARTS = 4
"""At least, where there are as many components: what processors and ranks share."""


def shrunk(
    halves: Float[torch.Tensor, "2 component d d d"], mask: Float[torch.Tensor, "d d d"], ranks: Ranks = ALONE
) -> Float[torch.Tensor, "2 component d d d"]:
    """Both half-sets' volumes times the gain of their average: (2, K, d, d, d) inside the mask (d, d, d) -> the same.

    The average of the result is the best estimate of each component. Both halves get the same gain: their noise stays
    independent. The components are shared out among `ranks`.
    """
    geometry = _geometry(mask)
    few = max(1, min(MOST_VOXELS // mask.numel(), -(-halves.shape[1] // PARTS)))
    parts = torch.split(halves, few, dim=1)
    shapes = [part.shape for part in parts]
    return torch.cat(shared_out(lambda pair: _shrunk(pair, geometry), parts, shapes, ranks, mask.device), 1) * mask


@dataclass(frozen=True)
class _Geometry:
    """bands, and the windows on each band's grid: all have one lattice; cover (L, L, L) = mask^2 under each window."""

    bands: tuple[Band, ...]
    windows: list[torch.Tensor]
    cover: torch.Tensor
    area: float


def _geometry(mask: torch.Tensor) -> _Geometry:
    side = mask.shape[-1]
    bands = radial_bands(side, str(mask.device), max(3, round((side // 2 - 1) / SHELLS_IN_BAND) + 1))
    spacing = side / min(WINDOWS, side // 2)

    def windows(grid: int) -> torch.Tensor:
        return torch.as_tensor(b_spline_windows(np.arange(grid) * (side / grid), side, spacing), device=mask.device)

    weight = mask.square()
    cover = windowed_sums(weight, windows(side))
    cover = cover.clamp_min(LEAST_COVER * float(cover.max()))
    return _Geometry(bands, [windows(band.grid) for band in bands], cover, float(weight.sum()))


def _shrunk(
    pair: Float[torch.Tensor, "2 component d d d"], geometry: _Geometry
) -> Float[torch.Tensor, "2 component d d d"]:
    """Some components' halves, each times its own gain."""
    side, whole = pair.shape[-1], (-3, -2, -1)
    transform = torch.fft.rfftn(pair, dim=whole)
    parts = [band_pass(transform, band) for band in geometry.bands]
    voxel = [(side / band.grid) ** 3 for band in geometry.bands]
    products = [v * part[0] * part[1] for v, part in zip(voxel, parts, strict=True)]
    noise = torch.stack([0.5 * v * (p[0] - p[1]).square().sum(whole) for v, p in zip(voxel, parts, strict=True)])
    noise = noise / geometry.area
    signal = torch.stack([product.sum(whole) for product in products]) / geometry.area
    signal = torch.maximum(signal, LEAST_SIGNAL * noise)[..., None, None, None]
    noise = noise[..., None, None, None]
    weight = signal / (signal + noise + TINY) ** 2
    local = sum(w * windowed_sums(p, window) for w, p, window in zip(weight, products, geometry.windows, strict=True))
    place = (local / geometry.cover).clamp_min(0) / ((weight * signal).sum(0) + TINY)
    out = torch.zeros_like(transform)
    for part, window, f, n in zip(parts, geometry.windows, signal, noise, strict=True):
        gain = f * place / (f * place + 0.5 * n + TINY)
        out += resized_transform(torch.fft.rfftn(part * spread(gain, window), dim=whole), side)
    result: torch.Tensor = torch.fft.irfftn(out, s=(side,) * 3, dim=whole)
    return result
