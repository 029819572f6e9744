"""Images of other pixel sizes, boxes and magnifications on one grid, by their own Fourier transform at its frequencies.

    value(k) = scale sum_x image(x) exp(-2 pi i (A k) (x - centre)),   A k in cycles per pixel of the recorded image

The transform is exact but for the kernel's 1e-5: image / kernel's transform, twofold padding, FFT, exponential of
semicircle over 6 points (Barnett, Magland & af Klinteberg, SIAM J. Sci. Comput. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH = 6
SHAPE = 2.30 * WIDTH
KINDS_KEPT = 4


@dataclass(frozen=True)
class Resampling:
    """How each row's recorded image becomes one of `box` pixels: K kinds.

    kind      (N,) of each row; -1 where its image does not fit
    recorded  (K,) box of the image on disk
    cropped   (K,) the centre of it that is used
    matrix    (K, 2, 2) A: recorded frequency, in cycles per pixel, of a frequency of the common grid in whole numbers
    scale     (K,) that keeps grey levels
    """

    box: int
    kind: NDArray[np.int64]
    recorded: NDArray[np.int64]
    cropped: NDArray[np.int64]
    matrix: NDArray[np.float64]
    scale: NDArray[np.float64]

    def take(self, rows: NDArray[np.int64]) -> Resampling:
        return Resampling(self.box, self.kind[rows], self.recorded, self.cropped, self.matrix, self.scale)

    def recorded_of(self, rows: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
        """(kind, places into `rows`) of every kind among them."""
        kinds = self.kind[rows]
        return [(int(kind), np.flatnonzero(kinds == kind)) for kind in np.unique(kinds)]

    def resample(self, images: NDArray[np.float32], kind: int) -> NDArray[np.float32]:
        """Images (n, recorded, recorded) of one kind as (n, box, box); pixel box // 2 is the centre of both."""
        size, whole = int(self.cropped[kind]), images.shape[-1]
        first = whole // 2 - size // 2
        images = images[:, first : first + size, first : first + size]
        values = transform(images, self.box, tuple(self.matrix[kind].ravel().tolist())) * self.scale[kind]
        out: NDArray[np.float32] = np.fft.irfft2(values, s=(self.box, self.box)).astype(np.float32)
        return out


def transform(images: NDArray[np.float32], box: int, matrix: tuple[float, ...]) -> NDArray[np.complex64]:
    """(n, box, box // 2 + 1) rfft half of images (n, D, D) at `matrix` k; the origin is moved from pixel D // 2.

    The Nyquist row and column, and what lies beyond the images' own Nyquist frequency, are zero.
    """
    from scipy import fft

    size = images.shape[-1]
    centre, double = size // 2, 2 * size
    deconvolution, interpolation, places = _gridding(size, box, matrix)
    out = np.zeros((len(images), box * (box // 2 + 1)), np.complex64)
    for image, values in zip(images, out, strict=True):
        padded = np.zeros((double, double), np.float32)
        padded[:size, :size] = image * deconvolution
        padded = np.roll(padded, (-centre, -centre), (0, 1))
        values[places] = interpolation @ fft.fft2(padded).ravel()
    return out.reshape(len(images), box, box // 2 + 1)


@lru_cache(maxsize=KINDS_KEPT)
def _gridding(size: int, box: int, matrix: tuple[float, ...]) -> tuple[NDArray[np.float32], Any, NDArray[np.int64]]:
    """What divides the image, the matrix from its padded transform to the listed pixels, and their places."""
    from scipy.sparse import csr_matrix

    half, double = box // 2, 2 * size
    ky, kx = (axis.ravel() for axis in np.meshgrid(np.arange(1 - half, half), np.arange(half), indexing="ij"))
    frequency = np.stack([kx, ky], 1) @ np.array(matrix).reshape(2, 2).T
    inside = np.abs(frequency).max(axis=1) <= 0.5
    kx, ky, point = kx[inside], ky[inside], double * frequency[inside]
    first = np.ceil(point - WIDTH / 2)
    near = first[..., None] + np.arange(WIDTH)
    weight = _kernel((near - point[..., None]) * (2 / WIDTH))
    index = near.astype(np.int64) % double
    columns = index[:, 1, :, None] * double + index[:, 0, None, :]
    values = weight[:, 1, :, None] * weight[:, 0, None, :] * (1.0 - 2.0 * ((kx + ky) % 2))[:, None, None]
    rows = np.arange(0, WIDTH**2 * len(kx) + 1, WIDTH**2)
    entries = (values.ravel().astype(np.complex64), columns.ravel(), rows)
    interpolation = csr_matrix(entries, shape=(len(kx), double**2))
    away = _kernel_transform((np.arange(size) - size // 2) / double)
    deconvolution = (1 / (away[:, None] * away)).astype(np.float32)
    return deconvolution, interpolation, (ky % box) * (half + 1) + kx


def _kernel(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """At -1 .. 1 from end to end."""
    found: NDArray[np.float64] = np.exp(SHAPE * (np.sqrt(np.clip(1 - z**2, 0, None)) - 1))
    return found


def _kernel_transform(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """At `frequency` in cycles per grid point, by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    values = weights * _kernel(nodes) * (WIDTH / 2)
    return np.cos(2 * np.pi * np.multiply.outer(frequency, nodes * WIDTH / 2)) @ values
