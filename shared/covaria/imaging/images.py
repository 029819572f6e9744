"""The images of a run, read once and kept as whitenable Fourier pixels.

Each used image is transformed, moved to its centre, listed on the half plane and divided by `scale` (noise of about one
for each coefficient). It is kept in single precision if that fits the memory given, else in half precision, else in a
memory-mapped scratch file. No window is applied: a window correlates the noise it leaves.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from covaria.imaging.ctf import CtfTable
from covaria.imaging.plane import HalfPlane, half_plane
from covaria.particles.model import Particles


@dataclass(frozen=True)
class Noise:
    """Noise power of the cached pixels: spectrum[shell] x factor[group of the image].

    spectrum  (box // 2,) float64, E abs(pixel)^2 in units of the cache
    factor    (groups,) float64, mean about 1
    """

    spectrum: np.ndarray
    factor: np.ndarray

    @staticmethod
    def white(box: int, groups: int) -> Noise:
        return Noise(np.ones(box // 2), np.ones(groups))


@dataclass(frozen=True)
class Batch:
    """Images of one half-set, whitened: noise has unit variance in every direction.

    index      (b,) int64    position among the used images
    pixels     (b, n, 2)     sqrt(weight / Lambda) y, real and imaginary
    ctf        (b, n)        sqrt(weight / Lambda) CTF
    rotations  (b, 3, 3)
    Plain sums over pixels are inner products of the whole plane.
    """

    index: np.ndarray
    pixels: torch.Tensor
    ctf: torch.Tensor
    rotations: torch.Tensor
    plane: HalfPlane


def viewing_order(directions: np.ndarray) -> np.ndarray:
    """The place of each viewing direction (n, 3) in a walk over the half sphere that takes short steps, (n,).

    Slices that follow each other then share most of the volume's cache lines: gather and scatter take two thirds of
    their time. The walk goes to and fro over strips of an equal-area map.
    """
    up = directions * np.where(directions[:, 2:] < 0, -1.0, 1.0)
    x, y = (up[:, :2] / np.sqrt(1 + up[:, 2:])).T
    strips = max(1, round(float(np.sqrt(len(x))) / 1.5))
    strip = np.floor((x + 1) / 2 * strips)
    place = np.empty(len(x), np.int64)
    place[np.lexsort((np.where(strip % 2, y, -y), strip))] = np.arange(len(x))
    return place


class Images:
    """The used images of `particles` on one device (those of this rank, where there are several).

    rows    (N,) original row of each used image;  `batches` speaks of positions in this list
    mine    positions of the images that this rank holds, half-set by half-set, neighbours in viewing direction together
    half    (N,) 0 or 1;  group (N,) optics group
    scale   grey level of a DFT coefficient for each cache unit: volume densities are multiplied by it on the way out
    """

    def __init__(
        self,
        particles: Particles,
        *,
        device: str = "cpu",
        memory_bytes: int = 4 << 30,
        rank: int = 0,
        ranks: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.rows = particles.rows
        self.box = particles.box
        self.pixel_size_angstrom = particles.pixel_size_angstrom
        self.plane = half_plane(self.box)
        self.half = particles.half_set[self.rows].astype(np.int64)
        self.group = particles.optics_group[self.rows]
        self.groups = int(self.group.max()) + 1
        self.device = torch.device(device)
        self.sign = 1.0
        mine = np.array_split(np.arange(len(self.rows)), ranks)[rank]
        views = particles.rotations[self.rows[mine], 2]
        self._slot = np.empty(len(mine), np.int64)
        order = np.lexsort((viewing_order(views), self.half[mine]))
        self._slot[order] = np.arange(len(mine))
        self.mine = mine[order]
        self._ctf = CtfTable(particles.ctf.take(self.rows), self.pixel_size_angstrom, self.box)
        self._rotations = torch.as_tensor(particles.rotations[self.rows], dtype=torch.float32, device=self.device)
        self._read(particles, mine, memory_bytes, progress)

    def __len__(self) -> int:
        return len(self.rows)

    def _read(
        self,
        particles: Particles,
        mine: np.ndarray,
        memory_bytes: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Read the images at positions `mine`, in the order of the files, each to its slot."""
        shape = (len(mine), len(self.plane), 2)
        single = 4 * int(np.prod(shape))
        self._scratch = None
        if single <= memory_bytes // 3:
            self._pixels = torch.empty(shape, dtype=torch.float32)
        elif single // 2 <= memory_bytes // 3:
            self._pixels = torch.empty(shape, dtype=torch.float16)
        else:
            self._scratch = tempfile.NamedTemporaryFile(prefix="covaria-images-", suffix=".f16")  # noqa: SIM115
            self._pixels = torch.from_numpy(np.memmap(self._scratch.name, np.float16, "w+", shape=shape))
        translations = torch.as_tensor(particles.translations[self.rows[mine]], dtype=torch.float32)
        step = max(1, (64 << 20) // (self.box * self.box * 4))
        self.scale = float(self.box) * self._grey_level_spread(particles)
        for start in range(0, len(mine), step):
            chunk = slice(start, min(start + step, len(mine)))
            raw = torch.from_numpy(particles.images.read(self.rows[mine[chunk]]))
            pixels = torch.view_as_complex(self.plane.take(raw))
            pixels = pixels * self.plane.phase_ramp(translations[chunk]) / self.scale
            self._pixels[torch.as_tensor(self._slot[chunk])] = torch.view_as_real(pixels).to(self._pixels.dtype)
            if progress:
                progress(chunk.stop, len(mine))
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            if self._pixels.element_size() * self._pixels.numel() < free // 2:
                self._pixels = self._pixels.to(self.device)

    def _grey_level_spread(self, particles: Particles) -> float:
        """Root mean square deviation of a pixel, from up to 256 images spread over the set (the same on every rank)."""
        some = self.rows[np.unique(np.linspace(0, len(self.rows) - 1, min(256, len(self.rows))).astype(int))]
        return float(np.sqrt(np.median(particles.images.read(some).var(axis=(1, 2), dtype=np.float64))))

    def batches(
        self, subset: np.ndarray, noise: Noise, *, radius: int | None = None, size: int = 64
    ) -> Iterator[Batch]:
        """Whitened batches of the images in `subset` ((N,) bool), in the order of `mine`, up to `radius`."""
        plane = self.plane if radius is None else self.plane.prefix(radius)
        local = np.flatnonzero(subset[self.mine])
        shell = np.minimum(plane.shell, len(noise.spectrum) - 1)
        whitening = torch.as_tensor(
            np.sqrt(plane.weight / noise.spectrum[shell]), dtype=torch.float32, device=self.device
        )
        for start in range(0, len(local), size):
            chosen = local[start : start + size]
            index = self.mine[chosen]
            factor = torch.as_tensor(
                1 / np.sqrt(noise.factor[self.group[index]]), dtype=torch.float32, device=self.device
            )
            weight = whitening * factor[:, None]
            pixels = self._pixels[torch.as_tensor(chosen, device=self._pixels.device)][:, : len(plane)]
            ctf = self._ctf.evaluate(index, plane, self.device)
            yield Batch(
                index,
                pixels.to(self.device, torch.float32) * (self.sign * weight)[..., None],
                ctf * weight,
                self._rotations[torch.as_tensor(index, device=self.device)],
                plane,
            )
