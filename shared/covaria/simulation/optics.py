"""A realistic microscope session: defocus by micrograph, and the contrast transfer function in RELION's sign."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covaria.particles.model import ContrastTransfer

PARTICLES_PER_MICROGRAPH = 50


def wavelength_angstrom(voltage_kv: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relativistic electron wavelength: 12.2643247 / sqrt(V (1 + 0.978466e-6 V)), V in volts."""
    volts = np.asarray(voltage_kv) * 1e3
    return 12.2643247 / np.sqrt(volts * (1 + 0.978466e-6 * volts))


def draw_session(
    count: int, defocus_range_angstrom: tuple[float, float], voltage_kv: float, rng: np.random.Generator
) -> tuple[ContrastTransfer, NDArray[np.int64]]:
    """CTF parameters and micrograph number for each particle.

    Mean defocus uniform over the range for each micrograph, spread by 100 A within it (particle height in the ice);
    astigmatism about 250 A at a random angle; Cs 2.7 mm, amplitude contrast 0.1, no phase plate.
    """
    micrograph = np.arange(count) // PARTICLES_PER_MICROGRAPH
    n = micrograph[-1] + 1
    mean = rng.uniform(*defocus_range_angstrom, n)[micrograph] + rng.normal(0, 100, count)
    half_difference = np.abs(rng.normal(0, 125, n))[micrograph]
    angle = rng.uniform(0, np.pi, n)[micrograph]
    ctf = ContrastTransfer(
        defocus_u_angstrom=np.round(mean + half_difference, 2),
        defocus_v_angstrom=np.round(mean - half_difference, 2),
        defocus_angle_rad=np.deg2rad(np.round(np.rad2deg(angle), 4)),
        voltage_kv=np.full(count, voltage_kv),
        spherical_aberration_mm=np.full(count, 2.7),
        amplitude_contrast=np.full(count, 0.1),
        phase_shift_rad=np.zeros(count),
    )
    return ctf, micrograph.astype(np.int64)


def transfer_function(ctf: ContrastTransfer, box: int, pixel_size_angstrom: float) -> NDArray[np.float32]:
    """CTF (n, D, D//2 + 1) over the unshifted rfft half; + amplitude contrast at zero frequency.

    sqrt(1 - w^2) sin(chi) + w cos(chi), chi = pi lambda df(angle) s^2 - pi/2 Cs lambda^3 s^4 + phase shift;
    of tilts times scale x exp(-B s^2 / 4).
    """
    length = box * pixel_size_angstrom
    sx = np.arange(box // 2 + 1) / length
    sy = np.fft.fftfreq(box, 1 / box)[:, None] / length
    s2 = sx**2 + sy**2

    def column(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values)[:, None, None]

    wavelength = column(wavelength_angstrom(ctf.voltage_kv))
    azimuth = np.arctan2(sy, sx) - column(ctf.defocus_angle_rad)
    u, v = column(ctf.defocus_u_angstrom), column(ctf.defocus_v_angstrom)
    defocus = 0.5 * (u + v + (u - v) * np.cos(2 * azimuth))
    cs = column(ctf.spherical_aberration_mm) * 1e7
    chi = np.pi * wavelength * s2 * (defocus - 0.5 * cs * wavelength**2 * s2) + column(ctf.phase_shift_rad)
    w = column(ctf.amplitude_contrast)
    values = np.sqrt(1 - w**2) * np.sin(chi) + w * np.cos(chi)
    if ctf.scale is not None and ctf.b_factor_angstrom2 is not None:
        values = values * column(ctf.scale) * np.exp(-column(ctf.b_factor_angstrom2) * s2 / 4)
    result: NDArray[np.float32] = values.astype(np.float32)
    return result


def draw_angles(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """RELION's rot, tilt, psi in degrees (n, 3), uniform over all orientations, to the 6 decimals a STAR file keeps."""
    rot, psi = rng.uniform(-180, 180, (2, count))
    tilt = np.rad2deg(np.arccos(rng.uniform(-1, 1, count)))
    return np.round(np.stack([rot, tilt, psi], axis=1), 6)


def rotation_matrices(angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """RELION's A(rot, tilt, psi) (n, 3, 3): rotation of the frame about z, the new y, the new z."""
    rot, tilt, psi = np.deg2rad(angles_deg).T
    (ca, cb, cg), (sa, sb, sg) = np.cos([rot, tilt, psi]), np.sin([rot, tilt, psi])
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def euler_angles(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """RELION's rot, tilt, psi in degrees (n, 3) of matrices (n, 3, 3), to the 6 decimals a STAR file keeps.

    Where tilt is 0 or 180 only the sum or difference of rot and psi is known: rot is 0 there.
    """
    a = rotations
    sine = np.hypot(a[:, 2, 0], a[:, 2, 1])
    pole = sine < 1e-9
    rot = np.where(pole, 0.0, np.arctan2(a[:, 2, 1], a[:, 2, 0]))
    at_pole = np.arctan2(a[:, 0, 1], np.sign(a[:, 2, 2]) * a[:, 0, 0])
    psi = np.where(pole, at_pole, np.arctan2(a[:, 1, 2], -a[:, 0, 2]))
    angles: NDArray[np.float64] = np.rad2deg(np.stack([rot, np.arctan2(sine, a[:, 2, 2]), psi], axis=1))
    return np.round(angles, 6)
