"""Volumes between real space and the padded Fourier grid on which slices are taken.

A volume limited to radius r (frequency units) lives on a real cube of side d = 2 (r + 1) whose DFT coefficients are
those of the full box: a coarse level costs what its resolution is worth. Its padded grid has side M = 2 d, two cells
for one frequency unit, and lies as [z, y, x, channel], z and y centred, x = 0 .. d - 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from covaria.maps.fourier import resized_transform

if TYPE_CHECKING:
    from jaxtyping import Complex, Float


def cube_side(radius: int) -> int:
    """Side of the real cube that holds every frequency up to `radius`."""
    return 2 * (radius + 1)


def padded_shape(radius: int, channels: int) -> tuple[int, int, int, int]:
    """Shape of the padded grid of `channels` float32 numbers a voxel."""
    side = cube_side(radius)
    return 2 * side, 2 * side, side, channels


def resize_fourier(
    volumes: Float[torch.Tensor, "*stack old old old"], side: int
) -> Float[torch.Tensor, "*stack {side} {side} {side}"]:
    """Crop or zero-pad (..., a, a, a) real volumes in Fourier space to `side`, origin kept at the centre voxel.

    DFT coefficients are kept (not grey levels), Nyquist planes are dropped.
    """
    old = volumes.shape[-1]
    if old == side:
        return volumes
    if volumes.numel() == 0:
        return volumes.new_zeros((*volumes.shape[:-3], side, side, side))
    axes = (-3, -2, -1)
    transform = resized_transform(torch.fft.rfftn(volumes, dim=axes), side)
    resized: torch.Tensor = torch.fft.irfftn(transform, s=(side,) * 3, dim=axes) * (old / side) ** 3
    return resized


@lru_cache(maxsize=8)
def _response(side: int, device: torch.device) -> Float[torch.Tensor, " {side}"]:
    """Real-space response of the trilinear kernel along an axis of the twofold padded grid: sinc^2(x / (2 side))."""
    return torch.sinc((torch.arange(side, device=device) - side // 2) / (2.0 * side)) ** 2


@lru_cache(maxsize=8)
def _waves(side: int, device: torch.device) -> Complex[torch.Tensor, "2*{side} {side}"]:
    """exp(-2 pi i k x / (2 side)), k = -side .. side - 1, x = -side // 2 .. side // 2 - 1.

    A transform along an axis as one matrix: that pads, crops and moves origins besides. Along all three axes it costs
    side^4 operations a volume, at the rate of a matrix product; fast ones that fill the padded cube are no faster until
    128 pixels, and need its memory.
    """
    k, x = np.arange(2 * side) - side, np.arange(side) - side // 2
    return torch.as_tensor(np.exp(-1j * np.pi / side * np.outer(k, x)).astype(np.complex64), device=device)


PLANES = 16
"""Of the padded grid, made at a time for all volumes together."""


def to_padded(volumes: Float[torch.Tensor, "channel d d d"]) -> Float[torch.Tensor, "2*d 2*d d 2*channel"]:
    """Padded Fourier grid of real cubes (K, d, d, d), ready for `project`: (2d, 2d, d, 2K) float32."""
    count, side = volumes.shape[0], volumes.shape[-1]
    waves = _waves(side, volumes.device) / _response(side, volumes.device)
    along_x = waves[side:]
    found = volumes.reshape(-1, side) @ torch.cat([along_x.real, along_x.imag]).T
    half = torch.complex(found[:, :side], found[:, side:]).view(-1, side, side)
    half = torch.matmul(waves, half).view(count, side, 2 * side * side)
    out = torch.empty((2 * side, 2 * side, side, 2 * count), device=volumes.device)
    for start in range(0, 2 * side, PLANES):
        planes = torch.view_as_real(torch.matmul(waves[start : start + PLANES], half))
        out[start : start + PLANES].view(-1, 2 * side * side, 2, count).copy_(planes.permute(1, 2, 3, 0))
    return out


def completed(
    sums: Float[torch.Tensor, "m m h channel"], n_complex: int, out: torch.Tensor | None = None
) -> Float[torch.Tensor, "m m h channel"]:
    """What `backproject` summed over the listed pixels, completed to the sum over the whole plane.

    A new tensor, or `out`, which may be `sums`.

    A pixel's mate lands at the mirrored voxel: outside the half that is kept, but on the x = 0 plane it must be added.
    Batches carry sqrt(weight) in images and CTF, so a product counts a pixel twice: hence the half.
    """
    whole = torch.mul(sums, 0.5, out=out)
    mate = torch.roll(torch.flip(whole[:, :, 0], (0, 1)), (1, 1), (0, 1))
    mate[..., n_complex : 2 * n_complex] *= -1
    whole[:, :, 0] += mate
    return whole


def from_padded(half: Float[torch.Tensor, "m m d channels"]) -> Float[torch.Tensor, "channels//2 d d d"]:
    """Real cubes (K, d, d, d) of a padded half grid (2d, 2d, d, 2K): inverse DFT cropped to the cube, no correction."""
    side, count = half.shape[2], half.shape[-1] // 2
    waves = _waves(side, half.device)
    back = waves.conj().T.resolve_conj()
    twice = torch.full((side, 1), 2.0, device=half.device)  # the half below x = 0 is the conjugate
    twice[0] = 1
    along_x = torch.cat([waves.real[side:] * twice, waves.imag[side:] * twice]) / (2.0 * side) ** 3
    out = torch.empty((count, side, side, side), device=half.device)
    for k in range(count):
        planes = torch.view_as_complex(half[..., k::count].contiguous()).view(2 * side, -1)
        lines = torch.bmm(back.expand(side, *back.shape), torch.matmul(back, planes).view(side, 2 * side, side))
        out[k] = torch.cat([lines.real, lines.imag], -1) @ along_x
    return out


def adjoint_from_padded(half: Float[torch.Tensor, "m m d channels"]) -> Float[torch.Tensor, "channels//2 d d d"]:
    """The adjoint of `to_padded` (for the plain inner product of real cubes), on a Hermitian half grid."""
    return grid_corrected(half) * (2.0 * half.shape[2]) ** 3


def grid_corrected(half: Float[torch.Tensor, "m m d channels"]) -> Float[torch.Tensor, "channels//2 d d d"]:
    """Real cubes of a gridded quotient num / den: inverse DFT, cropped, kernel response divided out.

    The quotient holds DFT coefficients at half-unit spacing: those of the cube, padded.
    """
    response = _response(half.shape[2], half.device)
    return from_padded(half) / (response[:, None, None] * response[:, None] * response)


@lru_cache(maxsize=8)
def padded_radius(side: int) -> Float[np.ndarray, "{2*side} {2*side} {side}"]:
    """abs(q) in frequency units on the padded half grid of a cube: (2d, 2d, d) float32."""
    axis = (np.arange(2 * side) - side) / 2.0
    x = np.arange(side) / 2.0
    return np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + x[None, None, :] ** 2).astype(np.float32)


def unit_density(weights: Float[torch.Tensor, "m m d"]) -> Float[torch.Tensor, "d d d//2+1"]:
    """Samples for each unit cell of the cube's own Fourier grid, from the padded grid's (2d, 2d, d) weights.

    One unit cell holds 2^3 padded cells: each is shared out with (1/4, 1/2, 1/4) x 2 along every axis.
    Returns (d, d, d // 2 + 1) on the unshifted rfft grid.
    """
    side = weights.shape[2]
    w = weights
    # along x the half below zero is the mirrored half above
    below = torch.roll(torch.flip(w[:, :, 1], (0, 1)), (1, 1), (0, 1))
    x = torch.cat([below[:, :, None], w, torch.zeros_like(w[:, :, :1])], 2)
    w = 0.5 * x[:, :, :-2] + x[:, :, 1:-1] + 0.5 * x[:, :, 2:]
    w = w[:, :, ::2]
    for axis in (0, 1):
        w = 0.5 * torch.roll(w, 1, axis) + w + 0.5 * torch.roll(w, -1, axis)
        w = w[::2] if axis == 0 else w[:, ::2]
    out = torch.zeros((side, side, side // 2 + 1), device=w.device)
    out[..., : w.shape[2]] = torch.fft.ifftshift(w, dim=(0, 1))
    return out
