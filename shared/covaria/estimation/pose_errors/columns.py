"""What a small error of an image's pose adds to it: five slices beside the mean's; and one of its defocus, a sixth.

With M the transform of the map, S(k) = M(R^T k) its slice and k = (kx, ky, 0), a rotation of the particle by the small
vector w about the image's axes (true rotation exp([w]x) R) and a shift d that is missing from the translation give

    dS / dd_x = 2 pi i kx / D S,                                dS / dd_y = 2 pi i ky / D S
    dS / dw_x = -ky G_z,   dS / dw_y = kx G_z,   dS / dw_z = ky G_x - kx G_y,     G = R grad M

and grad M is -2 pi i times the transform of (x mu / d, y mu / d, z mu / d), d the side of the map's cube: three more
volumes to slice. An error of the defocus adds its size times dCTF/ddefocus S. (Chain rule; each is tested against
finite differences.)
"""

from __future__ import annotations

import numpy as np
import torch

from covaria.imaging.plane import HalfPlane
from covaria.imaging.slices import project

COUNT = 5
"""Shift x, y in pixels of the image; rotations about the image's x, y, z in radians."""
MOMENTS = 3


def moments(mean: np.ndarray) -> np.ndarray:
    """x mu / d, y mu / d and z mu / d of a cube mu (d, d, d): (3, d, d, d) float32, origin at the centre voxel."""
    side = len(mean)
    axis = ((np.arange(side) - side // 2) / side).astype(np.float32)
    return np.stack([mean * axis, mean * axis[:, None], mean * axis[:, None, None]])


def slices_with_errors(
    padded: torch.Tensor,
    rotations: torch.Tensor,
    plane: HalfPlane,
    ctf: torch.Tensor,
    pixels: torch.Tensor,
    scale: torch.Tensor,
    ctf_slope: torch.Tensor | None = None,
) -> torch.Tensor:
    """CTF-applied slices of the mean, of the p errors, each times its `scale` (p,), of the components; the image last.

    padded (M, M, H, 2 (1+K) or 2 (1+K+3)): mean, components and, where p is not 0, the mean's moments;
    rotations (b, 3, 3), ctf (b, n), pixels (b, n, 2), ctf_slope (b, n) where p = 6, the last error that of the defocus.
    Returns (b, n, 2, 1+p+K+1) float32.
    """
    if len(scale) > COUNT:
        if ctf_slope is None:
            raise ValueError("an error of the defocus needs the slope of the CTF")
        found = slices_with_errors(padded, rotations, plane, ctf, pixels, scale[:COUNT])
        channels = [0, padded.shape[-1] // 2]
        still = project(padded[..., channels].contiguous(), rotations, plane)
        of_defocus = still * (scale[COUNT] * ctf_slope)[:, :, None, None]
        return torch.cat([found[..., : 1 + COUNT], of_defocus, found[..., 1 + COUNT :]], -1)
    errors = len(scale)
    count = padded.shape[-1] // 2 - 1 - (MOMENTS if errors else 0)
    shape = (*pixels.shape, 1 + errors + count + 1)
    if padded.device.type == "cpu":
        from covaria.estimation.pose_errors.kernels import slices

        out = torch.empty(shape)
        per_box = scale.numpy() / np.array([plane.box, plane.box, 1, 1, 1], np.float32)[:errors]
        c, y = ctf.contiguous().numpy(), pixels.contiguous().numpy()
        slices(padded.numpy(), rotations.numpy(), plane.kx, plane.ky, c, y, per_box, out.numpy())
        return out
    return plain_slices_with_errors(padded, rotations, plane, ctf, pixels, scale)


def plain_slices_with_errors(
    padded: torch.Tensor,
    rotations: torch.Tensor,
    plane: HalfPlane,
    ctf: torch.Tensor,
    pixels: torch.Tensor,
    scale: torch.Tensor,
) -> torch.Tensor:
    """`slices_with_errors` by the operators of plain torch: for devices without a kernel of its own."""
    found, errors = project(padded, rotations, plane), len(scale)
    moments = found.shape[3] - (MOMENTS if errors else 0)
    out = torch.empty((*pixels.shape, moments + errors + 1), device=found.device)
    out[..., 0] = found[..., 0]
    if errors:
        out[..., 1 : 1 + errors] = _errors(found, rotations, plane, scale)
    out[..., 1 + errors : -1] = found[..., 1:moments]
    out[..., :-1] *= ctf[:, :, None, None]
    out[..., -1] = pixels
    return out


def _errors(found: torch.Tensor, rotations: torch.Tensor, plane: HalfPlane, scale: torch.Tensor) -> torch.Tensor:
    """The five slices (b, n, 2, 5) in plain torch."""
    kx, ky = (
        torch.as_tensor(k, dtype=torch.float32, device=found.device)[:, None] * (2 * np.pi)
        for k in (plane.kx, plane.ky)
    )
    slope = _times_i(torch.matmul(found[..., -MOMENTS:], rotations.transpose(1, 2)[:, None]))
    gx, gy, gz = (-slope).unbind(-1)  # the gradient in the image's axes: G / 2 pi
    s = _times_i(found[..., :1])[..., 0]
    columns = [kx * s / plane.box, ky * s / plane.box, -ky * gz, kx * gz, ky * gx - kx * gy]
    return torch.stack(columns, -1) * scale


def _times_i(values: torch.Tensor) -> torch.Tensor:
    """i x values, real and imaginary parts on the third axis: (b, n, 2, K)."""
    return torch.stack([-values[:, :, 1], values[:, :, 0]], 2)
