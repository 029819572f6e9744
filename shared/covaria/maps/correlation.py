"""Fourier shell correlation, and what is read off it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from covaria.maps.fourier import shell_sum

if TYPE_CHECKING:
    from jaxtyping import Complex, Float

ONE_SEVENTH = 1.0 / 7.0


def fsc(
    a: Float[np.ndarray, "*a"], b: Float[np.ndarray, "*b"], mask: Float[np.ndarray, "*mask"] | None = None
) -> Float[np.ndarray, " shell"]:
    """Fourier shell correlation of two real-space volumes (D, D, D) at shells 0 .. D//2-1, shell = round(|k|).

    FSC(r) = Re sum a conj(b) / sqrt(sum |a|^2 sum |b|^2) over the whole shell. An empty shell (no power in one of the
    volumes) gives 0. `mask` multiplies both in real space first.
    """
    if a.shape != b.shape or a.ndim != 3 or len(set(a.shape)) != 1:
        raise ValueError(f"two cubic volumes of one size are needed, not {a.shape} and {b.shape}")
    first, second = (
        scipy.fft.rfftn(volume.astype(np.float32) if mask is None else (volume * mask).astype(np.float32), workers=-1)
        for volume in (a, b)
    )
    return fsc_of_transforms(first, second)


def fsc_of_transforms(
    first: Complex[np.ndarray, "d d d//2+1"], second: Complex[np.ndarray, "d d d//2+1"]
) -> Float[np.ndarray, " shell"]:
    """`fsc` of two volumes whose unshifted rfft halves (D, D, D//2+1) are at hand."""
    box = first.shape[0]
    cross = shell_sum(first.real * second.real + first.imag * second.imag, box)
    power = shell_sum(np.abs(first) ** 2, box) * shell_sum(np.abs(second) ** 2, box)
    curve: np.ndarray = np.divide(cross, np.sqrt(power), out=np.zeros(box // 2), where=power > 0)
    return curve


def crossing(curve: Float[np.ndarray, " shell"], threshold: float = ONE_SEVENTH) -> float:
    """The shell (a real number) where the curve first falls below `threshold`; the last shell if it never does.

    Shell 0 is not looked at. A curve that starts below gives shell 1.
    """
    below = np.flatnonzero(np.asarray(curve)[1:] < threshold)
    if len(below) == 0:
        return float(len(curve) - 1)
    shell = int(below[0]) + 1
    if shell == 1:
        return 1.0
    high, low = float(curve[shell - 1]), float(curve[shell])
    return shell - 1 + (high - threshold) / (high - low)


def resolution_at(
    curve: Float[np.ndarray, " shell"], pixel_size_angstrom: float, threshold: float = ONE_SEVENTH
) -> float:
    """Resolution in angstrom where an FSC curve (D//2,) first falls below `threshold`."""
    return 2 * len(curve) * pixel_size_angstrom / crossing(curve, threshold)


def fsc_area(curve: Float[np.ndarray, " shell"]) -> float:
    """Mean of an FSC curve over shells 1 .. D//2-1: 1 for equal volumes."""
    return float(np.mean(np.asarray(curve)[1:]))
