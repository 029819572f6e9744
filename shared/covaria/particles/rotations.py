"""Rotations as matrices: from RELION's Euler angles and cryoSPARC's rotation vectors, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def matrices_from_euler(angles_degree: NDArray[np.float64]) -> NDArray[np.float64]:
    """RELION's A(rot, tilt, psi) = Rz(psi) Ry(tilt) Rz(rot), passive. angles (N, 3) in degrees -> (N, 3, 3).

    Heymann, Chagoyen & Belnap 2005, J. Struct. Biol. 151.
    """
    rot, tilt, psi = np.deg2rad(np.asarray(angles_degree, dtype=np.float64)).T
    with np.errstate(invalid="ignore"):  # an infinite angle gives NaN, which the row checks refuse
        ca, cb, cc = np.cos(rot), np.cos(tilt), np.cos(psi)
        sa, sb, sc = np.sin(rot), np.sin(tilt), np.sin(psi)
    out = np.empty((len(rot), 3, 3))
    out[:, 0, 0] = cc * cb * ca - sc * sa
    out[:, 0, 1] = cc * cb * sa + sc * ca
    out[:, 0, 2] = -cc * sb
    out[:, 1, 0] = -sc * cb * ca - cc * sa
    out[:, 1, 1] = -sc * cb * sa + cc * ca
    out[:, 1, 2] = sc * sb
    out[:, 2, 0] = sb * ca
    out[:, 2, 1] = sb * sa
    out[:, 2, 2] = cb
    return out


def euler_from_matrices(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `matrices_from_euler`: (N, 3, 3) -> rot, tilt, psi in degrees (N, 3).

    tilt lies in [0, 180]; where it is 0 or 180, only rot and psi together matter: psi is 0.
    """
    r = np.asarray(rotations, dtype=np.float64)
    sin_tilt = np.hypot(r[:, 2, 0], r[:, 2, 1])
    tilt = np.arctan2(sin_tilt, r[:, 2, 2])
    rot = np.arctan2(r[:, 2, 1], r[:, 2, 0])
    psi = np.arctan2(r[:, 1, 2], -r[:, 0, 2])
    poles = sin_tilt < 1e-9
    rot = np.where(poles, np.arctan2(r[:, 0, 1] * np.sign(r[:, 2, 2]), r[:, 1, 1]), rot)
    rot = np.where(poles & (r[:, 2, 2] < 0), np.arctan2(-r[:, 1, 0], r[:, 1, 1]), rot)
    psi = np.where(poles, 0.0, psi)
    result: NDArray[np.float64] = np.rad2deg(np.stack([rot, tilt, psi], axis=1))
    return result


def matrices_from_rotation_vectors(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """cryoSPARC's pose (axis x angle, radians, (N, 3)) as our R: the TRANSPOSE of the exponential (Rodrigues)."""
    v = np.asarray(vectors, dtype=np.float64)
    angle = np.linalg.norm(v, axis=1)
    with np.errstate(invalid="ignore"):  # an infinite vector gives NaN, which the row checks refuse
        x, y, z = (v / np.where(angle > 0, angle, 1.0)[:, None]).T
        sine, versine = np.sin(angle)[:, None, None], (1.0 - np.cos(angle))[:, None, None]
        zero = np.zeros_like(x)
        k = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
        result: NDArray[np.float64] = (np.eye(3) + sine * k + versine * (k @ k)).transpose(0, 2, 1)
        return result


def orthonormality_error(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each matrix the largest |R R^T - 1|, or infinity for a reflection; NaN stays NaN."""
    error = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    return np.where(np.linalg.det(rotations) < 0, np.inf, error)
