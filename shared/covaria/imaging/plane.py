"""The half plane of Fourier pixels in which an image is known.

A real image's transform is Hermitian: each pixel k stands for itself and for -k. `HalfPlane` lists one of each pair
(kx > 0, or kx = 0 and ky > 0, or k = 0) inside the radius limit, in rings: all pixels with abs(k) <= r are a prefix of
the list, so a coarser resolution is a slice, and within a ring pixels follow one another by angle, so neighbours in the
list are neighbours in a volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from jaxtyping import Complex, Float, Int


@dataclass(frozen=True, eq=False)
class HalfPlane:
    """Pixels of a `box` x `box` image with abs(k) <= `radius`; n of them.

    kx, ky   (n,) int32   integer frequencies
    shell    (n,) int64   round(abs(k))
    weight   (n,) float32 how many pixels of the whole plane each stands for: 2, and 1 at k = 0
    """

    box: int
    radius: int
    kx: Int[np.ndarray, " pixel"]
    ky: Int[np.ndarray, " pixel"]
    shell: Int[np.ndarray, " pixel"]
    weight: Float[np.ndarray, " pixel"]

    def __len__(self) -> int:
        return len(self.kx)

    def prefix(self, radius: int) -> HalfPlane:
        """The pixels with abs(k) <= `radius`: the first ones of this list."""
        return half_plane(self.box, min(radius, self.radius))

    def take(self, images: Float[torch.Tensor, "image box box"]) -> Float[torch.Tensor, "image pixel 2"]:
        """Transform real images (b, box, box) and list their pixels: (b, n, 2) float32, origin at pixel box // 2."""
        transform = torch.fft.rfft2(images)
        index = torch.as_tensor((self.ky % self.box) * (self.box // 2 + 1) + self.kx, device=images.device)
        pixels = transform.flatten(1)[:, index] * self._sign(images.device)
        return torch.view_as_real(pixels.to(torch.complex64))

    def put(self, pixels: Float[torch.Tensor, "image pixel 2"]) -> Float[torch.Tensor, "image box box"]:
        """The real images (b, box, box) whose listed pixels are (b, n, 2), zero elsewhere: the inverse of `take`."""
        columns = self.box // 2 + 1
        half = torch.zeros((len(pixels), self.box * columns), dtype=torch.complex64, device=pixels.device)
        values = torch.view_as_complex(pixels.contiguous()) * self._sign(pixels.device)
        index = torch.as_tensor((self.ky % self.box) * columns + self.kx, device=pixels.device)
        half[:, index] = values
        edge = torch.as_tensor(np.flatnonzero((self.kx == 0) & (self.ky > 0)), device=pixels.device)
        mate = torch.as_tensor((-self.ky % self.box) * columns, device=pixels.device)[edge]
        half[:, mate] = values[:, edge].conj()
        result: torch.Tensor = torch.fft.irfft2(half.view(len(pixels), self.box, columns), s=(self.box, self.box))
        return result

    def _sign(self, device: torch.device) -> torch.Tensor:
        return torch.as_tensor(1.0 - 2.0 * ((self.kx + self.ky) % 2), dtype=torch.float32, device=device)

    def phase_ramp(self, translations: Float[torch.Tensor, "image 2"]) -> Complex[torch.Tensor, "image pixel"]:
        """exp(-2 pi i k.t / box) for translations (b, 2) in pixels: moves image content by +t. (b, n) complex64."""
        k = torch.as_tensor(np.stack([self.kx, self.ky]), dtype=torch.float32, device=translations.device)
        angle = (-2 * np.pi / self.box) * (translations.float() @ k)
        return torch.polar(torch.ones_like(angle), angle)

    def frequencies(
        self, device: torch.device | str = "cpu"
    ) -> tuple[Int[torch.Tensor, " pixel"], Int[torch.Tensor, " pixel"]]:
        """kx and ky on a device."""
        return torch.as_tensor(self.kx, device=device), torch.as_tensor(self.ky, device=device)

    def shell_tensor(self, device: torch.device | str = "cpu") -> torch.Tensor:
        return torch.as_tensor(self.shell, device=device)


@lru_cache(maxsize=64)
def half_plane(box: int, radius: int | None = None) -> HalfPlane:
    """The half plane of a box (even) up to `radius` (default and largest: box // 2 - 1, so Nyquist is never used)."""
    if box % 2:
        raise ValueError(f"box must be even, got {box}")
    limit = box // 2 - 1
    radius = limit if radius is None else radius
    if not 1 <= radius <= limit:
        raise ValueError(f"radius must be within 1..{limit} for box {box}, got {radius}")
    grid = np.meshgrid(np.arange(-radius, radius + 1), np.arange(0, radius + 1), indexing="ij")
    ky, kx = (axis.ravel() for axis in grid)
    length = np.hypot(kx, ky)
    keep = (length <= radius) & ((kx > 0) | (ky >= 0))
    ky, kx, length = ky[keep], kx[keep], length[keep]
    order = np.lexsort((np.arctan2(ky, kx), np.ceil(length)))
    ky, kx, length = ky[order], kx[order], length[order]
    weight = np.where((kx == 0) & (ky == 0), 1.0, 2.0)
    return HalfPlane(
        box,
        radius,
        kx.astype(np.int32),
        ky.astype(np.int32),
        np.rint(length).astype(np.int64),
        weight.astype(np.float32),
    )
