"""covaria::project and covaria::backproject: torch operators, a kernel for each device, shapes and adjoints declared.

    project(volumes, rotations, kx, ky, n_complex) -> (b, n, C)      trilinear gather from a padded grid (M, M, H, C)
    backproject_(sums!, values, weights, rotations, kx, ky)           trilinear scatter, added in place
    backproject(values, weights, rotations, kx, ky, side) -> sums     the same onto an empty grid of side M

A pixel whose x is negative is read at its mate: channels n_complex .. 2 n_complex - 1 (imaginary parts) change sign.
The plain torch functions serve every device without a kernel of its own, and are what a kernel is compared with.
"""

from __future__ import annotations

from typing import Any

import torch


@torch.library.custom_op("covaria::project", mutates_args=())
def project(
    volumes: torch.Tensor, rotations: torch.Tensor, kx: torch.Tensor, ky: torch.Tensor, n_complex: int
) -> torch.Tensor:
    """Values of padded volumes (M, M, H, C) at R^T (kx, ky, 0) for rotations (b, 3, 3), pixels (n,): (b, n, C)."""
    return plain_project(volumes, rotations, kx, ky, n_complex)


@project.register_kernel("cpu")
def _(
    volumes: torch.Tensor, rotations: torch.Tensor, kx: torch.Tensor, ky: torch.Tensor, n_complex: int
) -> torch.Tensor:
    from covaria.imaging.kernels import gather

    out = torch.empty((len(rotations), len(kx), volumes.shape[-1]))
    volumes, rotations = volumes.detach(), rotations.detach()
    gather(volumes.numpy(), rotations.numpy(), kx.numpy(), ky.numpy(), n_complex, out.numpy())
    return out


@project.register_fake
def _(
    volumes: torch.Tensor, rotations: torch.Tensor, kx: torch.Tensor, ky: torch.Tensor, n_complex: int
) -> torch.Tensor:
    return volumes.new_empty((rotations.shape[0], kx.shape[0], volumes.shape[-1]))


@torch.library.custom_op("covaria::backproject_", mutates_args={"sums"})
def backproject_(
    sums: torch.Tensor,
    values: torch.Tensor,
    weights: torch.Tensor,
    rotations: torch.Tensor,
    kx: torch.Tensor,
    ky: torch.Tensor,
) -> None:
    """Add complex values (b, n, 2K) and real, even weights (b, n, L) to sums (M, M, H, 2K + L)."""
    plain_backproject_(sums, values, weights, rotations, kx, ky)


@backproject_.register_kernel("cpu")
def _(
    sums: torch.Tensor,
    values: torch.Tensor,
    weights: torch.Tensor,
    rotations: torch.Tensor,
    kx: torch.Tensor,
    ky: torch.Tensor,
) -> None:
    from covaria.imaging.kernels import scatter, z_slabs

    given = (sums, rotations, kx, ky, values.contiguous(), weights.contiguous())
    onto, turned, x, y, complex_values, real_values = (tensor.detach().numpy() for tensor in given)
    scatter(onto, turned, x, y, complex_values, real_values, z_slabs(sums.shape[0]))


@backproject_.register_fake
def _(
    sums: torch.Tensor,
    values: torch.Tensor,
    weights: torch.Tensor,
    rotations: torch.Tensor,
    kx: torch.Tensor,
    ky: torch.Tensor,
) -> None:
    return None


@torch.library.custom_op("covaria::backproject", mutates_args=())
def backproject(
    values: torch.Tensor,
    weights: torch.Tensor,
    rotations: torch.Tensor,
    kx: torch.Tensor,
    ky: torch.Tensor,
    side: int,
) -> torch.Tensor:
    """`backproject_` onto an empty grid (side, side, side // 2, 2K + L)."""
    sums = values.new_zeros((side, side, side // 2, values.shape[-1] + weights.shape[-1]))
    backproject_(sums, values, weights, rotations, kx, ky)
    return sums


@backproject.register_fake
def _(
    values: torch.Tensor,
    weights: torch.Tensor,
    rotations: torch.Tensor,
    kx: torch.Tensor,
    ky: torch.Tensor,
    side: int,
) -> torch.Tensor:
    return values.new_empty((side, side, side // 2, values.shape[-1] + weights.shape[-1]))


def _project_setup(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    volumes, rotations, kx, ky, n_complex = inputs
    ctx.save_for_backward(rotations, kx, ky)
    ctx.side, ctx.n_complex, ctx.channels = volumes.shape[0], n_complex, volumes.shape[-1]


def _project_adjoint(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    rotations, kx, ky = ctx.saved_tensors
    complex_channels = 2 * ctx.n_complex
    grad = grad.contiguous()
    values, weights = grad[..., :complex_channels], grad[..., complex_channels:]
    return backproject(values, weights, rotations, kx, ky, ctx.side), None, None, None, None


def _backproject_setup(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    values, _, rotations, kx, ky, _ = inputs
    ctx.save_for_backward(rotations, kx, ky)
    ctx.complex_channels = values.shape[-1]


def _backproject_adjoint(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    rotations, kx, ky = ctx.saved_tensors
    back = project(grad.contiguous(), rotations, kx, ky, ctx.complex_channels // 2)
    return back[..., : ctx.complex_channels], back[..., ctx.complex_channels :], None, None, None, None


torch.library.register_autograd("covaria::project", _project_adjoint, setup_context=_project_setup)
torch.library.register_autograd("covaria::backproject", _backproject_adjoint, setup_context=_backproject_setup)


def _corners(
    shape: torch.Size, rotations: torch.Tensor, kx: torch.Tensor, ky: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Flat voxel index (b, n, 8), trilinear weight (b, n, 8) and sign of the imaginary part (b, n) of each pixel."""
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


def plain_project(
    volumes: torch.Tensor, rotations: torch.Tensor, kx: torch.Tensor, ky: torch.Tensor, n_complex: int
) -> torch.Tensor:
    """`project` in plain torch."""
    flat = volumes.reshape(-1, volumes.shape[-1])
    index, weight, sign = _corners(volumes.shape, rotations, kx, ky)
    out = torch.zeros((*index.shape[:2], flat.shape[1]), device=volumes.device)
    for corner in range(8):
        out += weight[..., corner, None] * flat[index[..., corner]]
    out[..., n_complex : 2 * n_complex] *= sign[..., None]
    return out


def plain_backproject_(
    sums: torch.Tensor,
    values: torch.Tensor,
    weights: torch.Tensor,
    rotations: torch.Tensor,
    kx: torch.Tensor,
    ky: torch.Tensor,
) -> None:
    """`backproject_` in plain torch."""
    index, weight, sign = _corners(sums.shape, rotations, kx, ky)
    n_complex = values.shape[-1] // 2
    points = torch.cat([values[..., :n_complex], values[..., n_complex:] * sign[..., None], weights], -1)
    flat = sums.view(-1, sums.shape[-1])
    for corner in range(8):
        flat.index_add_(
            0, index[..., corner].reshape(-1), (points * weight[..., corner, None]).reshape(-1, points.shape[-1])
        )
