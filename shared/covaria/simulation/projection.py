"""Exact central slices: of Gaussian atoms by separable sums (BLAS), of a voxel volume by a non-uniform FFT.

Both give spectra about the box centre, unshifted rfft half, in the unnormalised DFT of an image or volume whose pixels
hold density; zero beyond shell D//2 - 1.  A slice is F(R^T (kx, ky, 0)); a projection is therefore the sum over voxels.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from covaria.simulation.atoms import Atoms


class Slices(Protocol):
    """One state of the particle, seen through its Fourier transform."""

    def project(
        self, rotations: NDArray[np.float64], magnification: NDArray[np.float64] | None = None
    ) -> NDArray[np.complex64]:
        """rotations (n, 3, 3), magnification (n,) or 1 -> (n, D, D//2 + 1): m^2 F(m R^T (kx, ky, 0)), the same grey
        levels m times as large."""
        ...

    def volume(self) -> NDArray[np.float32]:
        """Density [z, y, x], origin at voxel D//2."""
        ...


def frequencies(box: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """kx (D//2+1,), ky (D,) in integer units and whether a coefficient (D, D//2+1) lies within shell D//2 - 1."""
    kx = np.arange(box // 2 + 1, dtype=np.float64)
    ky: NDArray[np.float64] = np.fft.fftfreq(box, 1 / box).astype(np.float64)
    return kx, ky, np.rint(np.hypot(kx, ky[:, None])) <= box // 2 - 1


def centre_signs(box: int, dimensions: int) -> NDArray[np.float32]:
    """(-1)^(sum k) over the rfft half: moves the origin between voxel 0 and voxel D//2 (D//2 even or odd alike)."""
    sign = np.where(np.arange(box) % 2, -1.0, 1.0).astype(np.float32)
    out = sign[: box // 2 + 1]
    for _ in range(dimensions - 1):
        out = np.multiply.outer(sign, out)
    return out


class AtomSlices:
    """F(k) = sum_a w_a exp(-2 pi^2 sigma^2 |k|^2 / L^2) exp(-2 pi i k x_a / L), L the box length: no interpolation."""

    def __init__(self, atoms: Atoms, box: int, pixel_size_angstrom: float, sigma_angstrom: float) -> None:
        self.box = box
        self.positions = atoms.positions_angstrom / pixel_size_angstrom
        keep = atoms.weights != 0
        self.positions, self.weights = self.positions[keep], atoms.weights[keep]
        self.sigma = sigma_angstrom / pixel_size_angstrom

    def project(
        self, rotations: NDArray[np.float64], magnification: NDArray[np.float64] | None = None
    ) -> NDArray[np.complex64]:
        box = self.box
        kx, ky, inside = frequencies(box)
        squared = kx**2 + ky[:, None] ** 2
        out = np.empty((len(rotations), box, box // 2 + 1), np.complex64)
        for slice_, rotation, m in zip(out, rotations, _magnified(rotations, magnification), strict=True):
            x, y = (m * rotation[:2]) @ self.positions.T
            along_x = (_powers(x, box) * self.weights).astype(np.complex64)
            np.matmul(_both_signs(_powers(y, box).astype(np.complex64)), along_x.T, out=slice_)
            damping = m**2 * np.exp(-2 * (np.pi * m * self.sigma / box) ** 2 * squared) * inside
            slice_ *= damping.astype(np.float32)
        return out

    def volume(self) -> NDArray[np.float32]:
        box = self.box
        x, y, z = (_powers(axis, box) for axis in self.positions.T)
        along_x = (x * self.weights).astype(np.complex64).T.copy()
        along_y, along_z = (_both_signs(axis.astype(np.complex64)) for axis in (y, z))
        spectrum = np.stack([np.matmul(along_y * plane, along_x) for plane in along_z])
        kx, k, _ = frequencies(box)
        squared = k[:, None, None] ** 2 + k[:, None] ** 2 + kx**2
        spectrum *= np.exp(-2 * (np.pi * self.sigma / box) ** 2 * squared) * (np.rint(np.sqrt(squared)) <= box // 2 - 1)
        return np.fft.irfftn(spectrum * centre_signs(box, 3), s=(box,) * 3, axes=(0, 1, 2)).astype(np.float32)


def _magnified(rotations: NDArray[np.float64], magnification: NDArray[np.float64] | None) -> NDArray[np.float64]:
    return np.ones(len(rotations)) if magnification is None else magnification


def _powers(positions: NDArray[np.float64], box: int) -> NDArray[np.complex128]:
    """exp(-2 pi i k x / D) for k = 0 .. D//2: (D//2 + 1, A), by repeated multiplication."""
    table = np.empty((box // 2 + 1, len(positions)), np.complex128)
    table[0] = 1
    table[1:] = np.exp(-2j * np.pi / box * positions)
    return np.multiply.accumulate(table, axis=0)


def _both_signs(half: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """k = 0 .. D//2 -> the D frequencies in fft order (the row of -D//2 is masked by the caller)."""
    return np.concatenate([half[:-1], half[:0:-1].conj()])


KERNEL_WIDTH = 7
"""Grid points across the interpolation kernel; with twofold padding its relative error is about 1e-6."""
KERNEL_SHAPE = 2.30 * KERNEL_WIDTH


class VolumeSlices:
    """Slices of a voxel volume by a type-2 non-uniform FFT.

    Kernel: exponential of semicircle, twofold padding (Barnett, Magland & af Klinteberg, SIAM J. Sci. Comput. 2019).
    """

    def __init__(self, volume: NDArray[np.float32]) -> None:
        self.box = box = volume.shape[0]
        spectrum = np.fft.rfftn(volume.astype(np.float64))
        kx, k, _ = frequencies(box)
        spectrum *= np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + kx**2)) <= box // 2 - 1
        self.density = np.fft.irfftn(spectrum, s=(box,) * 3, axes=(0, 1, 2))
        kernel = _kernel_transform(np.arange(-(box // 2), box - box // 2) / (2.0 * box))
        padded = np.zeros((2 * box,) * 3)
        inner = slice(box - box // 2, 2 * box - box // 2)
        padded[inner, inner, inner] = self.density / (kernel[:, None, None] * kernel[:, None] * kernel)
        self.grid = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(padded))).astype(np.complex64)

    def project(
        self, rotations: NDArray[np.float64], magnification: NDArray[np.float64] | None = None
    ) -> NDArray[np.complex64]:
        from covaria.simulation.gridding import gather

        kx, ky, _ = frequencies(self.box)
        radius = np.hypot(kx, ky[:, None])
        out = np.zeros((len(rotations), self.box, self.box // 2 + 1), np.complex64)
        for slice_, rotation, m in zip(out, rotations, _magnified(rotations, magnification), strict=True):
            # Enlarged, the volume's last shell lies further in; beyond it there is nothing.
            rows, columns = np.nonzero(np.rint(max(m, 1.0) * radius) <= self.box // 2 - 1)
            plane = np.stack([kx[columns], ky[rows]], axis=1)
            points = 2 * (plane @ (m * rotation[:2])) + self.box
            slice_[rows, columns] = m**2 * gather(self.grid, points, KERNEL_WIDTH, KERNEL_SHAPE)
        return out

    def volume(self) -> NDArray[np.float32]:
        return self.density.astype(np.float32)


def _kernel_transform(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fourier transform of the kernel at `frequency` (cycles per grid point), by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    values = weights * np.exp(KERNEL_SHAPE * (np.sqrt(1 - nodes**2) - 1)) * (KERNEL_WIDTH / 2)
    return np.cos(2 * np.pi * np.multiply.outer(frequency, nodes * KERNEL_WIDTH / 2)) @ values
