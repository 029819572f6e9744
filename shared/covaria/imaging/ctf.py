"""The contrast transfer function, in RELION's sign: +amplitude contrast at zero frequency.

    lambda = 12.2643247 / sqrt(V (1 + 0.978466e-6 V))                                        [angstrom, V in volt]
    gamma  = -pi lambda defocus(theta) s^2 + pi/2 Cs lambda^3 s^4 - atan(w / sqrt(1 - w^2)) - phase shift
    CTF    = -sin(gamma) scale exp(-B s^2 / 4)
    defocus(theta) = (U + V)/2 + (U - V)/2 cos 2(theta - theta_0)
Even phases of an aberration are added to gamma. Odd ones are no part of the CTF: they are taken from the images when
they are read, and so is what the images have been multiplied by (`CtfTable.undone`).

(RELION's closed form, src/ctf.h, in words: Rohou and Grigorieff, JSB 2015, eq. 2-4.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from covaria.imaging.plane import HalfPlane
from covaria.particles.model import ContrastTransfer
from covaria.particles.phases import exponents, monomials

if TYPE_CHECKING:
    from jaxtyping import Complex, Float, Int

SMALLEST_DIVISOR = 0.05
"""Images that were multiplied by their CTF are divided by it, or by this where it is smaller: nothing is seen there,
and a box that was cropped afterwards holds noise of its neighbours."""
FLIPPED, MULTIPLIED = 1, 2
"""`ContrastTransfer.applied`"""


def wavelength_angstrom(voltage_kv: Float[np.ndarray, "*particle"]) -> Float[np.ndarray, "*particle"]:
    """Relativistic electron wavelength."""
    volt = np.asarray(voltage_kv, np.float64) * 1e3
    return np.asarray(12.2643247 / np.sqrt(volt * (1 + 0.978466e-6 * volt)))


def critical_exposure(frequency: Float[np.ndarray, " pixel"]) -> Float[np.ndarray, " pixel"]:
    """Nc(s) in e/A^2 at 300 kV: 0.245 s^-1.665 + 2.81 (Grant and Grigorieff, eLife 2015), s in 1/angstrom."""
    return np.asarray(0.245 * frequency**-1.665 + 2.81)


class CtfTable:
    """CTF coefficients of many particles, evaluated on the pixels of a half plane.

    cos 2(theta - theta_0) is expanded in the pixel's own kx^2 - ky^2 and 2 kx ky: no angle is computed for any pixel.
    """

    def __init__(self, ctf: ContrastTransfer, pixel_size_angstrom: float, box: int) -> None:
        wavelength = wavelength_angstrom(ctf.voltage_kv)
        step2 = 1.0 / (box * pixel_size_angstrom) ** 2  # (frequency unit)^2 in 1/angstrom^2
        mean = -np.pi * wavelength * 0.5 * (ctf.defocus_u_angstrom + ctf.defocus_v_angstrom) * step2
        half = -np.pi * wavelength * 0.5 * (ctf.defocus_u_angstrom - ctf.defocus_v_angstrom) * step2
        quartic = 0.5 * np.pi * ctf.spherical_aberration_mm * 1e7 * wavelength**3 * step2**2
        w = ctf.amplitude_contrast
        constant = -np.arctan2(w, np.sqrt(1 - w**2)) - ctf.phase_shift_rad
        angle = 2 * ctf.defocus_angle_rad
        columns = [constant, mean, half * np.cos(angle), half * np.sin(angle), quartic]
        step = np.sqrt(step2)
        self.even = 0 if ctf.even_phase is None else ctf.even_phase.shape[1]
        if ctf.even_phase is not None:
            columns += list((ctf.even_phase * _powers(step, self.even, odd=False)).T)
        self.table = np.stack(columns, 1)
        self._per_defocus = -np.pi * wavelength * step2  # of the phase, for each k^2 and angstrom
        self.odd: np.ndarray | None = None
        """(N, T) radian in units of frequency"""
        if ctf.odd_phase is not None:
            self.odd = ctf.odd_phase * _powers(step, ctf.odd_phase.shape[1], odd=True)
        self.applied = ctf.applied
        self.dose = ctf.dose
        self._step = float(step)
        scale, b_factor = ctf.scale, ctf.b_factor_angstrom2
        self.envelope: np.ndarray | None = None
        """(N, 2): the scale, and what multiplies k^2 in the exponent; None where every image has 1 and 0."""
        if (scale is not None and np.any(scale != 1)) or (b_factor is not None and np.any(b_factor != 0)):
            ones = np.ones(len(w))
            decay = -0.25 * step2 * (b_factor if b_factor is not None else 0 * ones)
            self.envelope = np.stack([scale if scale is not None else ones, decay], 1)

    def evaluate(
        self, rows: Int[np.ndarray, " image"], plane: HalfPlane, device: torch.device | str = "cpu"
    ) -> Float[torch.Tensor, "image pixel"]:
        """CTF of the particles `rows` on `plane`: (len(rows), n) float32."""
        return self._damped(-torch.sin(self._phase(rows, plane, device)), rows, plane)

    def slope(
        self, rows: Int[np.ndarray, " image"], plane: HalfPlane, device: torch.device | str = "cpu"
    ) -> Float[torch.Tensor, "image pixel"]:
        """The CTF's derivative by the defocus (along both axes alike), per angstrom: (len(rows), n) float32."""
        by_k2 = torch.as_tensor(self._per_defocus[rows], dtype=torch.float32, device=device)
        k2 = torch.as_tensor(plane.kx.astype(np.float32) ** 2 + plane.ky.astype(np.float32) ** 2, device=device)
        return self._damped(-torch.cos(self._phase(rows, plane, device)) * (by_k2[:, None] * k2), rows, plane)

    def _phase(self, rows: np.ndarray, plane: HalfPlane, device: torch.device | str) -> torch.Tensor:
        coefficients = torch.as_tensor(self.table[rows], dtype=torch.float32, device=device)
        kx, ky = plane.kx.astype(np.float64), plane.ky.astype(np.float64)
        k2 = kx**2 + ky**2
        basis = np.stack([np.ones_like(k2), k2, kx**2 - ky**2, 2 * kx * ky, k2**2])
        if self.even:
            basis = np.concatenate([basis, monomials(kx, ky, self.even, odd=False)])
        phase: torch.Tensor = coefficients @ torch.as_tensor(basis, dtype=torch.float32, device=device)
        return phase

    def _damped(self, values: torch.Tensor, rows: np.ndarray, plane: HalfPlane) -> torch.Tensor:
        """Values (b, n) of the particles `rows` times what dose, scale and B-factor leave of them."""
        device, k2 = values.device, plane.kx.astype(np.float64) ** 2 + plane.ky.astype(np.float64) ** 2
        if self.dose is not None:
            frequency = self._step * np.maximum(np.sqrt(k2), 0.5)
            rate = torch.as_tensor(0.5 / critical_exposure(frequency), dtype=torch.float32, device=device)
            values *= torch.exp(-torch.as_tensor(self.dose[rows], dtype=torch.float32, device=device)[:, None] * rate)
        if self.envelope is None:
            return values
        scale, decay = torch.as_tensor(self.envelope[rows], dtype=torch.float32, device=device).T[..., None]
        damped: torch.Tensor = (
            values * scale * torch.exp(decay * torch.as_tensor(k2, dtype=torch.float32, device=device))
        )
        return damped

    def undone(
        self, pixels: Complex[torch.Tensor, "image pixel"], rows: Int[np.ndarray, " image"], plane: HalfPlane
    ) -> Complex[torch.Tensor, "image pixel"]:
        """Recorded pixels of the particles `rows` as CTF x slice + noise: without odd phases, flips or a second CTF."""
        if self.odd is not None:
            kx, ky = plane.kx.astype(np.float64), plane.ky.astype(np.float64)
            phase = torch.as_tensor(self.odd[rows] @ monomials(kx, ky, self.odd.shape[1], odd=True))
            pixels = pixels * torch.polar(torch.ones_like(phase), -phase).to(pixels.dtype)
        if self.applied is not None and self.applied[rows].any():
            ctf, applied = self.evaluate(rows, plane), torch.as_tensor(self.applied[rows])[:, None]
            sign = torch.where(ctf < 0, -1.0, 1.0)
            pixels = torch.where(applied == FLIPPED, pixels * sign, pixels)
            divided = pixels / (sign * ctf.abs().clamp_min(SMALLEST_DIVISOR))
            pixels = torch.where(applied == MULTIPLIED, divided, pixels)
        return pixels


def _powers(step: float, count: int, *, odd: bool) -> Float[np.ndarray, " {count}"]:
    """The units of the monomials, where a frequency is counted in `step`."""
    return np.array([step ** (a + b) for a, b in exponents(count, odd=odd)])
