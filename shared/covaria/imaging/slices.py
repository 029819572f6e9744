"""Project and back-project: the only two operators that touch a volume with image geometry.

They are exact adjoints of each other in the inner product of the whole plane and the whole volume (each listed pixel
counts `HalfPlane.weight` times). Kernel: trilinear on a grid padded twofold in real space, the volume divided by the
kernel's transform sinc^2 beforehand (`covaria.imaging.volumes`).

    project      image(kx, ky) = volume(R^T (kx, ky, 0))
    backproject  sums(q) += trilinear weight x value, for each listed pixel once

Images hold one of each Hermitian pair, so do volumes (x >= 0): `volumes.completed` adds what the other half gives.
"""

from __future__ import annotations

import numpy as np
import torch

from covaria.imaging.plane import HalfPlane


def project(volumes: torch.Tensor, rotations: torch.Tensor, plane: HalfPlane) -> torch.Tensor:
    """Central slices of padded volumes.

    volumes    (M, M, H, 2K) float32, the K real parts, then the K imaginary parts (`volumes.to_padded`)
    rotations  (b, 3, 3) float32
    Returns (b, n, 2, K) float32, real and imaginary parts.
    """
    n_complex = volumes.shape[-1] // 2
    if volumes.device.type == "cpu":
        from covaria.imaging.kernels import gather

        out = np.empty((len(rotations), len(plane), volumes.shape[-1]), np.float32)
        gather(volumes.numpy(), rotations.numpy(), plane.kx, plane.ky, n_complex, out)
        return torch.from_numpy(out).view(len(rotations), len(plane), 2, n_complex)
    return _project_torch(volumes, rotations, plane).view(len(rotations), len(plane), 2, n_complex)


def backproject(
    sums: torch.Tensor, values: torch.Tensor, weights: torch.Tensor, rotations: torch.Tensor, plane: HalfPlane
) -> None:
    """Add image values to padded volumes, in place: the adjoint of `project`.

    sums       (M, M, H, 2K + L) float32
    values     (b, n, 2, K) float32, complex pixels
    weights    (b, n, L) float32, real and even pixels (such as CTF^2); L may be 0
    """
    values = values.reshape(*values.shape[:2], -1)
    if sums.device.type == "cpu":
        from covaria.imaging.kernels import scatter, z_slabs

        scatter(
            sums.numpy(),
            rotations.numpy(),
            plane.kx,
            plane.ky,
            values.contiguous().numpy(),
            weights.contiguous().numpy(),
            z_slabs(sums.shape[0]),
        )
    else:
        _backproject_torch(sums, values, weights, rotations, plane)


def _corners(
    shape: torch.Size, rotations: torch.Tensor, plane: HalfPlane
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Flat voxel index (b, n, 8), trilinear weight (b, n, 8) and sign of the imaginary part (b, n) of each pixel."""
    device = rotations.device
    kx = torch.as_tensor(plane.kx, dtype=torch.float32, device=device)
    ky = torch.as_tensor(plane.ky, dtype=torch.float32, device=device)
    q = 2.0 * (kx[:, None] * rotations[:, None, 0] + ky[:, None] * rotations[:, None, 1])
    sign = torch.where(q[..., 0] < 0, -1.0, 1.0)
    q = q * sign[..., None]
    floor = q.floor()
    fraction = q - floor
    cell = floor.long()
    centre, size, columns = shape[0] // 2, shape[1], shape[2]
    index, weight = [], []
    for dz in (0, 1):
        for dy in (0, 1):
            for dx in (0, 1):
                index.append(
                    ((cell[..., 2] + centre + dz) * size + cell[..., 1] + centre + dy) * columns + cell[..., 0] + dx
                )
                part = [fraction[..., a] if d else 1 - fraction[..., a] for a, d in ((2, dz), (1, dy), (0, dx))]
                weight.append(part[0] * part[1] * part[2])
    return torch.stack(index, -1), torch.stack(weight, -1), sign


def _project_torch(volumes: torch.Tensor, rotations: torch.Tensor, plane: HalfPlane) -> torch.Tensor:
    """`project` in plain torch: for other devices than the CPU, and the reference of the CPU loops' tests."""
    flat = volumes.reshape(-1, volumes.shape[-1])
    index, weight, sign = _corners(volumes.shape, rotations, plane)
    out = torch.zeros((*index.shape[:2], flat.shape[1]), device=volumes.device)
    for corner in range(8):
        out += weight[..., corner, None] * flat[index[..., corner]]
    out[..., flat.shape[1] // 2 :] *= sign[..., None]
    return out


def _backproject_torch(
    sums: torch.Tensor, values: torch.Tensor, weights: torch.Tensor, rotations: torch.Tensor, plane: HalfPlane
) -> None:
    index, weight, sign = _corners(sums.shape, rotations, plane)
    n_complex = values.shape[-1] // 2
    points = torch.cat([values[..., :n_complex], values[..., n_complex:] * sign[..., None], weights], -1)
    flat = sums.view(-1, sums.shape[-1])
    for corner in range(8):
        flat.index_add_(
            0, index[..., corner].reshape(-1), (points * weight[..., corner, None]).reshape(-1, points.shape[-1])
        )
