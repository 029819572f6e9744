"""Smaller images by cropping their Fourier transform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def downsample_images(images: NDArray[np.floating], box: int, *, workers: int = 1) -> NDArray[np.float32]:
    """float32 (n, box, box) from (n, D, D), box <= D, box even: the grey level is kept, pixel D//2 stays the centre.

    The central box x box coefficients of the DFT are kept, times (box/D)^2; the Nyquist row and column, whose sign is
    ambiguous after cropping, are set to zero. An odd D has its centre at (D - 1)/2, a fraction of D that is not 1/2;
    a phase ramp moves it to pixel box/2. `workers` threads.
    """
    size = images.shape[-1]
    if images.shape[-2] != size or box % 2 or not 0 < box <= size:
        raise ValueError(f"cannot crop images of {images.shape[-2:]} to {box}")
    if box == size:
        return np.ascontiguousarray(images, dtype=np.float32)
    from scipy import fft

    half = box // 2
    transform = fft.rfft2(np.asarray(images, dtype=np.float32), axes=(-2, -1), workers=workers)
    small = np.zeros((*images.shape[:-2], box, half + 1), dtype=transform.dtype)
    small[..., :half, :half] = transform[..., :half, :half]
    small[..., half + 1 :, :half] = transform[..., size - half + 1 :, :half]
    small *= np.float32((box / size) ** 2)
    if size % 2:
        shift = (size // 2) / size - 0.5
        ramp = np.exp(2j * np.pi * shift * np.fft.fftfreq(box, 1 / box))
        small *= (ramp[:, None] * ramp[None, : half + 1]).astype(transform.dtype)
    result: NDArray[np.float32] = fft.irfft2(small, s=(box, box), axes=(-2, -1), workers=workers).astype(
        np.float32, copy=False
    )
    return result
