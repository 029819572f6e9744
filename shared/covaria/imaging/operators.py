"""covaria::project and covaria::backproject: torch operators, a kernel for each device, shapes and adjoints declared.

    project(volumes, rotations, kx, ky, n_complex) -> (b, n, C)      trilinear gather from a padded grid (M, M, H, C)
    backproject_(sums!, values, gain, weights, rotations, kx, ky)     trilinear scatter, added in place
    backproject(values, gain, weights, rotations, kx, ky, side)       the same onto an empty grid of side M

A pixel whose x is negative is read at its mate: channels n_complex .. 2 n_complex - 1 (imaginary parts) change sign.
`gain` (b, n) multiplies the complex values on their way: what an image was multiplied by is undone by the same numbers.
The plain torch functions serve every device without a kernel of its own, and are what a kernel is compared with.
"""

from __future__ import annotations

from typing import Any

import torch

# Not torch.library.custom_op: its wrapper loads torch._dynamo, 1.7 s of every process.
torch.library.define(
    "covaria::project", "(Tensor volumes, Tensor rotations, Tensor kx, Tensor ky, int n_complex) -> Tensor"
)
torch.library.define(
    "covaria::backproject_",
    "(Tensor(a!) sums, Tensor values, Tensor gain, Tensor weights, Tensor rotations, Tensor kx, Tensor ky) -> ()",
)
torch.library.define(
    "covaria::backproject",
    "(Tensor values, Tensor gain, Tensor weights, Tensor rotations, Tensor kx, Tensor ky, int side) -> Tensor",
)
project = torch.ops.covaria.project.default
backproject_ = torch.ops.covaria.backproject_.default
backproject = torch.ops.covaria.backproject.default


def _gather(
    volumes: torch.Tensor, rotations: torch.Tensor, kx: torch.Tensor, ky: torch.Tensor, n_complex: int
) -> torch.Tensor:
    from covaria.imaging.kernels import gather

    out = torch.empty((len(rotations), len(kx), volumes.shape[-1]))
    volumes, rotations = volumes.detach().contiguous(), rotations.detach()
    gather(volumes.numpy(), rotations.numpy(), kx.numpy(), ky.numpy(), n_complex, out.numpy())
    return out


def _scatter(
    sums: torch.Tensor,
    values: torch.Tensor,
    gain: torch.Tensor,
    weights: torch.Tensor,
    rotations: torch.Tensor,
    kx: torch.Tensor,
    ky: torch.Tensor,
) -> None:
    from covaria.imaging.kernels import scatter, z_slabs

    given = (sums, rotations, kx, ky, values.contiguous(), gain.contiguous(), weights.contiguous())
    onto, turned, x, y, complex_values, factor, real_values = (tensor.detach().numpy() for tensor in given)
    scatter(onto, turned, x, y, complex_values, factor, real_values, z_slabs(sums.shape[0]))


def _project_shape(
    volumes: torch.Tensor, rotations: torch.Tensor, kx: torch.Tensor, ky: torch.Tensor, n_complex: int
) -> torch.Tensor:
    return volumes.new_empty((rotations.shape[0], kx.shape[0], volumes.shape[-1]))


def _backproject_in_place_shape(
    sums: torch.Tensor,
    values: torch.Tensor,
    gain: torch.Tensor,
    weights: torch.Tensor,
    rotations: torch.Tensor,
    kx: torch.Tensor,
    ky: torch.Tensor,
) -> None:
    return None


def _onto_nothing(
    values: torch.Tensor,
    gain: torch.Tensor,
    weights: torch.Tensor,
    rotations: torch.Tensor,
    kx: torch.Tensor,
    ky: torch.Tensor,
    side: int,
) -> torch.Tensor:
    sums = values.new_zeros((side, side, side // 2, values.shape[-1] + weights.shape[-1]))
    backproject_(sums, values, gain, weights, rotations, kx, ky)
    return sums


def _backproject_shape(
    values: torch.Tensor,
    gain: torch.Tensor,
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
    ones = torch.ones_like(grad[..., 0])
    return backproject(values, ones, weights, rotations, kx, ky, ctx.side), None, None, None, None


def _backproject_setup(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    values, gain, _, rotations, kx, ky, _ = inputs
    ctx.save_for_backward(gain, rotations, kx, ky)
    ctx.complex_channels = values.shape[-1]


def _backproject_adjoint(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    gain, rotations, kx, ky = ctx.saved_tensors
    back = project(grad.contiguous(), rotations, kx, ky, ctx.complex_channels // 2)
    values, weights = back[..., : ctx.complex_channels] * gain[..., None], back[..., ctx.complex_channels :]
    return values, None, weights, None, None, None, None


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
    gain: torch.Tensor,
    weights: torch.Tensor,
    rotations: torch.Tensor,
    kx: torch.Tensor,
    ky: torch.Tensor,
) -> None:
    """`backproject_` in plain torch."""
    index, weight, sign = _corners(sums.shape, rotations, kx, ky)
    n_complex = values.shape[-1] // 2
    values = values * gain[..., None]
    points = torch.cat([values[..., :n_complex], values[..., n_complex:] * sign[..., None], weights], -1)
    flat = sums.view(-1, sums.shape[-1])
    for corner in range(8):
        flat.index_add_(
            0, index[..., corner].reshape(-1), (points * weight[..., corner, None]).reshape(-1, points.shape[-1])
        )


torch.library.register_fake("covaria::project", _project_shape)
torch.library.register_fake("covaria::backproject_", _backproject_in_place_shape)
torch.library.register_fake("covaria::backproject", _backproject_shape)
torch.library.impl("covaria::project", "default", plain_project)
torch.library.impl("covaria::project", "cpu", _gather)
torch.library.impl("covaria::backproject_", "default", plain_backproject_)
torch.library.impl("covaria::backproject_", "cpu", _scatter)
torch.library.impl("covaria::backproject", "default", _onto_nothing)
