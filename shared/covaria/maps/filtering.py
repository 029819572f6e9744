"""Combine two half-maps with the weight that each place and each radial band deserves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from covaria.maps.correlation import ONE_SEVENTH
from covaria.maps.fourier import FloatArray, resized_transform
from covaria.maps.local import (
    Band,
    apply_each_axis,
    b_spline_windows,
    band_pass,
    radial_bands,
    spread,
    windowed_sums,
)

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Float32

POOLING = 0.05
"""Share of a full window's average statistics, over the whole mask, that is added to every window's own."""
LARGEST_GAIN = 3.0
REPORT_SPACING_PX = 4.0


def local_filter(
    half1: Float[np.ndarray, "box box box"],
    half2: Float[np.ndarray, "box box box"],
    mask: Float[np.ndarray, "box box box"],
    pixel_size_angstrom: float,
    *,
    unbiased1: Float[np.ndarray, "box box box"] | None = None,
    unbiased2: Float[np.ndarray, "box box box"] | None = None,
    device: str = "cpu",
) -> tuple[Float32[np.ndarray, "box box box"], Float32[np.ndarray, "box box box"]]:
    """The average of two half-maps, Wiener-filtered by place and band, and the local resolution in angstrom.

    half1, half2, mask  (D, D, D); the mask (soft, 0..1) says where statistics are taken and multiplies the result.
    returns             filtered (D, D, D), local resolution (D, D, D): where the local FSC falls below 1/7.

    With half-maps h = s + n, S = <h1 h2> and S + N = (<h1^2> + <h2^2>)/2 under a window, the average's Wiener gain is
    S / (S + N/2) = 2F / (1 + F), F the local FSC. (Its square root, the expected correlation with the truth, leaves
    more noise: measured, tests/maps.) Halves that were regularised on their way carry an unknown gain g; given their
    unbiased counterparts u = s + n', the same minimum-error gain is <h1 u2 + h2 u1> / 2<m^2>, m = (h1 + h2)/2, whatever
    g is.
    """
    import torch

    box = half1.shape[0]
    halves = transforms((half1, half2), device)
    if (unbiased1 is None) != (unbiased2 is None):
        raise ValueError("unbiased counterparts are needed for both halves or for neither")
    unbiased = halves if unbiased1 is None or unbiased2 is None else transforms((unbiased1, unbiased2), device)
    bands = radial_bands(box, device)
    weight = torch.as_tensor(np.asarray(mask, dtype=np.float32), device=device)
    weight_transform = torch.fft.rfftn(weight)
    report = torch.as_tensor(report_positions(box), dtype=torch.float64)
    total = torch.zeros_like(halves[0])
    curves = []
    for band in bands:
        h = band_pass(halves, band)
        u = h if unbiased is halves else band_pass(unbiased, band)
        here = torch.fft.irfftn(resized_transform(weight_transform, band.grid), s=(band.grid,) * 3).clamp(0, 1)
        average = h.mean(0)
        products = [h[0] * h[1], 0.5 * (h[0] ** 2 + h[1] ** 2), 0.5 * (h[0] * u[1] + h[1] * u[0]), average**2]
        sums = windowed_sums(here * torch.stack(products), band.windows)
        common, power, signal, energy = pooled(sums, windowed_sums(here, band.windows))
        gain = (signal / energy).clamp(0, LARGEST_GAIN)
        shaped = average * spread(gain, band.windows)
        total += resized_transform(torch.fft.rfftn(shaped), box)
        curves.append(at_positions(common / power, band, report, box))
    filtered = torch.fft.irfftn(total, s=(box,) * 3) * weight
    shells = crossing_shells(torch.stack(curves), bands)
    interpolate = torch.as_tensor(linear_interpolation(box), device=device)
    resolution = box * pixel_size_angstrom / apply_each_axis(shells, interpolate)
    return filtered.cpu().numpy(), resolution.cpu().numpy().astype(np.float32)


def transforms(volumes: tuple[FloatArray, ...], device: str) -> torch.Tensor:
    """The rfft halves of real-space volumes, stacked: (n, D, D, D//2+1)."""
    import torch

    stacked = torch.as_tensor(np.stack([np.asarray(v, dtype=np.float32) for v in volumes]), device=device)
    result: torch.Tensor = torch.fft.rfftn(stacked, dim=(-3, -2, -1))
    return result


def pooled(
    sums: Float[torch.Tensor, "sum l l l"], mass: Float[torch.Tensor, "l l l"]
) -> Float[torch.Tensor, "sum l l l"]:
    """Windowed sums (m, L, L, L), leaning on the whole mask's average where a window holds little: the same shape.

    Every window receives POOLING times what an average full window holds, so a window outside the mask shows the mean.
    """
    everywhere = sums.sum(dim=(-3, -2, -1), keepdim=True) / mass.sum()
    return sums + POOLING * mass.max() * everywhere


def report_positions(box: int) -> Float[np.ndarray, " position"]:
    """Where the local FSC is evaluated along each axis: every few voxels, from edge to edge."""
    return np.linspace(0, box - 1, max(2, round(box / REPORT_SPACING_PX)))


def at_positions(
    values: Float[torch.Tensor, "*stack l l l"], band: Band, positions: Float[torch.Tensor, " p"], box: int
) -> Float[torch.Tensor, "*stack p p p"]:
    """A lattice function (L, L, L) spread and read off at positions (p,) along each axis: (p, p, p)."""
    import torch

    spacing = box / (values.shape[-1] - 3)
    windows = torch.as_tensor(b_spline_windows(positions.numpy(), box, spacing), device=values.device)
    return apply_each_axis(values, windows)


def crossing_shells(curves: Float[torch.Tensor, "band p p p"], bands: tuple[Band, ...]) -> Float[torch.Tensor, "p p p"]:
    """The shell (>= 1) where local FSC curves (bands, p, p, p) first fall below 1/7, linear between band centres."""
    import torch

    below = curves < ONE_SEVENTH
    below[0] = False
    first = torch.where(below.any(0), below.int().argmax(0), len(bands))
    at = first.clamp(max=len(bands) - 1)
    high = curves.gather(0, (at - 1).clamp(min=0)[None])[0]
    low = curves.gather(0, at[None])[0]
    fraction = ((high - ONE_SEVENTH) / (high - low)).clamp(0, 1)
    shell = bands[0].width * (at - 1 + fraction)
    return torch.where(first == len(bands), torch.full_like(shell, bands[-1].centre), shell).clamp(min=1)


def linear_interpolation(box: int) -> Float[np.ndarray, "{box} position"]:
    """The matrix (D, p) that interpolates linearly from the report positions to every voxel."""
    positions = report_positions(box)
    spacing = positions[1] - positions[0]
    distance = np.abs(np.arange(box)[:, None] - positions[None, :]) / spacing
    result: NDArray[np.float32] = np.clip(1 - distance, 0, None).astype(np.float32)
    return result
