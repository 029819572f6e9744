"""Fourier space of a cubic volume: shells, resampling, radial filters (rfft half, unshifted, default norm)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import scipy.fft
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int

Values = TypeVar("Values", bound=Any)
"""A real array of numpy or a tensor of torch."""
Transform = TypeVar("Transform", bound=Any)
"""A complex array of numpy or a tensor of torch."""
FloatArray = NDArray[np.float32] | NDArray[np.float64]


@lru_cache(maxsize=4)
def shell_indices(box: int) -> Int[np.ndarray, "{box} {box} {box//2+1}"]:
    """round(|k|) in integer frequency units on the unshifted rfft half, (D, D, D//2+1); shared: not to be changed."""
    full = np.rint(np.fft.fftfreq(box) * box)
    half = np.arange(box // 2 + 1)
    squared = full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2
    result: NDArray[np.int64] = np.rint(np.sqrt(squared)).astype(np.int64)
    return result


def hermitian_weights(box: int) -> Float[np.ndarray, " {box//2+1}"]:
    """How often each kx column (D//2+1,) of the rfft half occurs in the whole: 2, but 1 at kx = 0 and Nyquist."""
    weights = np.full(box // 2 + 1, 2.0)
    weights[0] = weights[-1] = 1.0
    return weights


def shell_sum(values: Float[np.ndarray, "{box} {box} {box//2+1}"], box: int) -> Float[np.ndarray, " {box//2}"]:
    """Sum over the WHOLE of each shell 0 .. D//2-1 of a real function on the rfft half, (D, D, D//2+1) -> (D//2,)."""
    weighted = values * hermitian_weights(box)
    sums = np.bincount(shell_indices(box).ravel(), weights=weighted.ravel(), minlength=box // 2)
    return sums[: box // 2].astype(np.float64)


def shell_average(values: Float[np.ndarray, "{box} {box} {box//2+1}"], box: int) -> Float[np.ndarray, " {box//2}"]:
    """Mean over each shell 0 .. D//2-1 of a real function on the rfft half, (D, D, D//2+1) -> (D//2,)."""
    mean: np.ndarray = shell_sum(values, box) / shell_sum(np.ones(values.shape), box)
    return mean


def shell_means(values: Values, shell: Any, count: int) -> Values:
    """Mean over each shell 0 .. count - 1 of real values on any grid whose points lie in `shell`: (count,) float64.

    Every point counts once; an empty shell has 0. Arrays and tensors alike.
    """
    flat = shell.reshape(-1)
    total: Any
    points: Any
    if isinstance(values, np.ndarray):
        total = np.bincount(flat, values.reshape(-1), count)[:count]
        points = np.bincount(flat, minlength=count)[:count]
    else:
        import torch

        total = torch.bincount(flat, values.reshape(-1).double(), count)[:count]
        points = torch.bincount(flat, minlength=count)[:count]
    means: Values = total / points.clip(1)
    return means


def radial_filter(
    volume: Float[np.ndarray, "box box box"], gain: Float[np.ndarray, " box//2"]
) -> Float32[np.ndarray, "box box box"]:
    """Multiply each Fourier shell of a volume (D, D, D) by `gain` (D//2,); what lies beyond becomes zero."""
    box = volume.shape[0]
    table = np.concatenate([np.asarray(gain, dtype=np.float32), np.zeros(box, dtype=np.float32)])
    transform = scipy.fft.rfftn(volume.astype(np.float32), workers=-1) * table[shell_indices(box)]
    result: NDArray[np.float32] = scipy.fft.irfftn(transform, s=volume.shape, workers=-1).astype(np.float32)
    return result


def resample_volume(volume: Float[np.ndarray, "old old old"], box: int) -> Float32[np.ndarray, "{box} {box} {box}"]:
    """The same density sampled on `box` voxels a side over the same extent, by Fourier cropping or padding.

    Grey levels stay, the origin stays at voxel D//2 (both boxes even, so no phase is needed), the Nyquist planes of the
    smaller box become zero. Raises ValueError for odd boxes.
    """
    old = volume.shape[0]
    if old % 2 or box % 2:
        raise ValueError(f"boxes must be even, not {old} and {box}")
    if box == old:
        return np.array(volume, dtype=np.float32)
    transform = resized_transform(scipy.fft.rfftn(volume.astype(np.float32), workers=-1), box)
    sampled: np.ndarray = scipy.fft.irfftn(transform, s=(box,) * 3, workers=-1).astype(np.float32)
    return sampled


def resized_transform(transform: Transform, side: int) -> Transform:
    """The frequencies that two boxes share, from one's unshifted rfft half (..., D, D, D // 2 + 1) in the other's.

    Grey levels stay as they are, so coefficients are multiplied by (side / D)^3; Nyquist planes and what the old box
    does not hold are zero. Both boxes even, origin at voxel D // 2: no phase is needed. Arrays and tensors alike.
    """
    old = transform.shape[-2]
    if side == old:
        return transform
    keep = min(old, side) // 2
    rows = np.arange(-(keep - 1), keep)
    here, there = rows % side, rows % old
    shape = (*transform.shape[:-3], side, side, side // 2 + 1)
    is_array = isinstance(transform, np.ndarray)
    result: Any = np.zeros(shape, transform.dtype) if is_array else transform.new_zeros(shape)
    result[..., here[:, None], here[None, :], :keep] = transform[..., there[:, None], there[None, :], :keep]
    scaled: Transform = result * (side / old) ** 3
    return scaled
