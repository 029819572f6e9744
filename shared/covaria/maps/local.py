"""Local statistics of volumes: radial bands and overlapping soft windows.

A volume is split into radial bands (hat functions of |k| that add up to 1) and looked at through windows (cubic
B-splines on a lattice, which also add up to 1). Products of band-passed volumes summed under a window are local
covariances, exactly what a Fourier shell correlation sums over a whole box; because bands and windows are partitions of
unity, local weights recombine without seams. A band that ends at |k| = r is handled on a grid just fine enough for it,
and every windowed sum is three small matrix products, so the cost is a few FFTs of the full box.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from covaria.maps.fourier import resized_transform

if TYPE_CHECKING:
    import torch
    from jaxtyping import Complex, Float, Float32

N_BANDS = 16
WINDOW_FREEDOM = 40.0
"""Real degrees of freedom under one window and band: a local correlation then has a standard error near 0.16."""


@dataclass(frozen=True)
class Band:
    """One radial band of a box, the grid it lives on, and the windows through which it is looked at.

    centre, width    the hat function 1 - |r - centre| / width, in shells
    grid             side n of the cube that holds the band
    gain             (n, n, n//2+1) the hat on that cube's rfft half
    windows          (n, L) cubic B-splines at the n voxels: windowed sums contract it, spreading applies it
    """

    centre: float
    width: float
    grid: int
    gain: Float[torch.Tensor, "n n n//2+1"]
    windows: Float[torch.Tensor, "n l"]


def hat(radius: NDArray[np.floating], centre: float, width: float) -> NDArray[np.floating]:
    result: NDArray[np.floating] = np.clip(1 - np.abs(radius - centre) / width, 0, None)
    return result


def b_spline_windows(
    positions: Float[np.ndarray, " position"], box: int, spacing: float
) -> Float32[np.ndarray, "position window"]:
    """Cubic B-splines on knots about `spacing` voxels apart at positions (n,) in [0, box): (n, L), rows sum to 1."""
    intervals = max(1, round(box / spacing))
    step = box / intervals
    knots = (np.arange(intervals + 3) - 1) * step
    t = np.abs(positions[:, None] - knots[None, :]) / step
    inner, outer = 2 / 3 - t**2 + t**3 / 2, np.clip(2 - t, 0, None) ** 3 / 6
    windows: np.ndarray = np.where(t < 1, inner, outer).astype(np.float32)
    return windows


def window_spacing(box: int, centre: float, width: float) -> float:
    """Lattice spacing (voxels) at which a window holds WINDOW_FREEDOM degrees of freedom of the band, at least 4.

    A cubic B-spline of spacing h counts as a box of side 2.05 h; a band has 4 pi r^2 width degrees of freedom.
    """
    freedom = 4 * np.pi * max(centre, width / 2) ** 2 * width
    return float(np.clip(box * (WINDOW_FREEDOM / freedom) ** (1 / 3) / 2.05, 4.0, box))


def even_fast_length(at_least: int) -> int:
    """The next even transform length whose factors are 2, 3 and 5."""
    length = at_least + at_least % 2
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 2


@lru_cache(maxsize=8)
def radial_bands(box: int, device: str = "cpu", n_bands: int = N_BANDS) -> tuple[Band, ...]:
    """The bands of a box, from the centre to shell D//2 - 1."""
    import torch

    radius_limit = box // 2 - 1
    count = min(n_bands, radius_limit // 2 + 1)
    width = radius_limit / (count - 1)
    bands = []
    for centre in np.linspace(0, radius_limit, count):
        grid = min(box, even_fast_length(2 * int(np.ceil(min(centre + width, radius_limit) + 1 + width))))
        axis, half = np.fft.fftfreq(grid) * grid, np.arange(grid // 2 + 1)
        radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + half[None, None, :] ** 2)
        gain = hat(np.minimum(radius, radius_limit), centre, width) * (np.rint(radius) <= radius_limit)
        positions = np.arange(grid) * (box / grid)
        windows = b_spline_windows(positions, box, window_spacing(box, centre, width))
        bands.append(
            Band(
                float(centre),
                width,
                grid,
                torch.as_tensor(gain, dtype=torch.float32, device=device),
                torch.as_tensor(windows, device=device),
            )
        )
    return tuple(bands)


def band_pass(transform: Complex[torch.Tensor, "*stack d d d//2+1"], band: Band) -> Float[torch.Tensor, "*stack n n n"]:
    """A band of volumes, from rfft halves (..., D, D, D//2+1) to real space on the band's grid (..., n, n, n)."""
    import torch

    result: torch.Tensor = torch.fft.irfftn(
        resized_transform(transform, band.grid) * band.gain, s=(band.grid,) * 3, dim=(-3, -2, -1)
    )
    return result


def windowed_sums(
    field: Float[torch.Tensor, "*stack n n n"], windows: Float[torch.Tensor, "n l"]
) -> Float[torch.Tensor, "*stack l l l"]:
    """Sums of fields (..., n, n, n) under every window: (..., L, L, L)."""
    return apply_each_axis(field, windows.T)


def spread(
    values: Float[torch.Tensor, "*stack l l l"], windows: Float[torch.Tensor, "n l"]
) -> Float[torch.Tensor, "*stack n n n"]:
    """The smooth field sum_l value_l window_l: (..., L, L, L) -> (..., n, n, n)."""
    return apply_each_axis(values, windows)


def apply_each_axis(
    field: Float[torch.Tensor, "*stack n n n"], matrix: Float[torch.Tensor, "m n"]
) -> Float[torch.Tensor, "*stack m m m"]:
    """Apply (m, n) along the last three axes: (..., n, n, n) -> (..., m, m, m), as matrix products.

    Batched ones, the matrix not repeated: `matmul` of a matrix and a stack turns the stack, which costs as much again.
    """
    import torch

    m, n = matrix.shape
    planes = (field.reshape(-1, n) @ matrix.T).view(-1, n, m)
    planes = torch.bmm(matrix.expand(len(planes), m, n), planes).view(-1, n, m * m)
    return torch.bmm(matrix.expand(len(planes), m, n), planes).view(*field.shape[:-3], m, m, m)
