"""Where the pixels of a run's images lie: in memory in single or half precision, on the card, or in a scratch file."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class PixelStore:
    """Pixels (slots, n, 2) of images, one slot each; written once while they are read, then only looked at.

    scratch  the file that holds them where memory does not; it is removed with the store
    """

    pixels: Float[torch.Tensor, "slot pixel 2"]
    scratch: Any = None

    @staticmethod
    def within(memory_bytes: int, images: int, pixels: int) -> PixelStore:
        """An empty store that takes a third of the memory: float32 if that suffices, else float16, else a file."""
        shape = (images, pixels, 2)
        single = 4 * images * pixels * 2
        if single <= memory_bytes // 3:
            return PixelStore(torch.empty(shape, dtype=torch.float32))
        if single // 2 <= memory_bytes // 3:
            return PixelStore(torch.empty(shape, dtype=torch.float16))
        scratch = tempfile.NamedTemporaryFile(prefix="covaria-images-", suffix=".f16")  # noqa: SIM115
        # Room is taken now: where there is none, a page of a mapped file that finds no place ends the process.
        os.posix_fallocate(scratch.fileno(), 0, single // 2)
        return PixelStore(torch.from_numpy(np.memmap(scratch.name, np.float16, "r+", shape=shape)), scratch)

    def put(self, slots: Int[np.ndarray, " image"], pixels: Float[torch.Tensor, "image pixel 2"]) -> None:
        """Keep pixels (b, n, 2) in their slots (b,)."""
        self.pixels[torch.as_tensor(slots)] = pixels.to(self.pixels.dtype)

    def near(self, device: torch.device) -> PixelStore:
        """The same pixels on a CUDA device, where they take less than half of what is free there; else this store."""
        if device.type != "cuda":
            return self
        free, _ = torch.cuda.mem_get_info(device)
        if self.pixels.element_size() * self.pixels.numel() >= free // 2:
            return self
        return PixelStore(self.pixels.to(device))

    def take(
        self, slots: Int[np.ndarray, " image"], count: int, device: torch.device
    ) -> Float[torch.Tensor, "image {count} 2"]:
        """The first `count` pixels of some slots, (b, count, 2) float32 on `device`."""
        chosen = self.pixels[torch.as_tensor(slots, device=self.pixels.device)][:, :count]
        return chosen.to(device, torch.float32)
