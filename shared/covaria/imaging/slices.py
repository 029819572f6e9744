"""Project and back-project: the only two operators that touch a volume with image geometry.

They are exact adjoints of each other in the inner product of the whole plane and the whole volume (each listed pixel
counts `HalfPlane.weight` times). Kernel: trilinear on a grid padded twofold in real space, the volume divided by the
kernel's transform sinc^2 beforehand (`covaria.imaging.volumes`).

    project      image(kx, ky) = volume(R^T (kx, ky, 0))
    backproject  sums(q) += trilinear weight x value, for each listed pixel once

Images hold one of each Hermitian pair, so do volumes (x >= 0): `volumes.completed` adds what the other half gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from covaria.imaging import operators
from covaria.imaging.plane import HalfPlane

if TYPE_CHECKING:
    from jaxtyping import Float


def project(
    volumes: Float[torch.Tensor, "m m d channels"], rotations: Float[torch.Tensor, "image 3 3"], plane: HalfPlane
) -> Float[torch.Tensor, "image pixel 2 channels//2"]:
    """Central slices of padded volumes.

    volumes    (M, M, H, 2K) float32, the K real parts, then the K imaginary parts (`volumes.to_padded`)
    rotations  (b, 3, 3) float32
    Returns (b, n, 2, K) float32, real and imaginary parts.
    """
    n_complex = volumes.shape[-1] // 2
    found: torch.Tensor = operators.project(volumes, rotations, *plane.frequencies(volumes.device), n_complex)
    return found.view(len(rotations), len(plane), 2, n_complex)


def backproject(
    sums: Float[torch.Tensor, "m m h channels"],
    values: Float[torch.Tensor, "image pixel 2 channel"],
    gain: Float[torch.Tensor, "image pixel"],
    weights: Float[torch.Tensor, "image pixel real"],
    rotations: Float[torch.Tensor, "image 3 3"],
    plane: HalfPlane,
) -> None:
    """Add image values to padded volumes, in place: the adjoint of `project`, of slices that are multiplied by `gain`.

    sums       (M, M, H, 2K + L) float32
    values     (b, n, 2, K) float32, complex pixels;  gain (b, n) what they are multiplied by (such as the CTF)
    weights    (b, n, L) float32, real and even pixels (such as CTF^2); L may be 0
    """
    operators.backproject_(sums, values.flatten(2), gain, weights, rotations, *plane.frequencies(sums.device))
