"""The images of a run, read once and kept as whitenable Fourier pixels.

Each used image is transformed, moved to its centre, listed on the half plane, freed of odd phases (`CtfTable.undone`)
and divided by `scale` (noise of about one for each coefficient). No window is applied: a window correlates the noise it
leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from covaria.imaging.bands import band_freedom, band_sums
from covaria.imaging.ctf import CtfTable
from covaria.imaging.noise import Noise
from covaria.imaging.pixel_store import PixelStore
from covaria.imaging.plane import HalfPlane, half_plane
from covaria.particles.model import Particles

CHUNK_BYTES = 64 << 20
"""Of images read from the stack at a time."""


@dataclass(frozen=True)
class Batch:
    """Images of one half-set, whitened: noise has unit variance in every direction.

    index      (b,) int64    position among the used images
    pixels     (b, n, 2)     sqrt(weight / Lambda) y, real and imaginary
    ctf        (b, n)        sqrt(weight / Lambda) CTF
    rotations  (b, 3, 3)
    weight     (b,)          how far each image counts in sums; its pixels and CTF do not hold it
    Plain sums over pixels are inner products of the whole plane.
    """

    index: np.ndarray
    pixels: torch.Tensor
    ctf: torch.Tensor
    rotations: torch.Tensor
    weight: torch.Tensor
    plane: HalfPlane


@dataclass(frozen=True, eq=False)
class Images:
    """The used images of a data set on one device (those of this rank, where there are several).

    rows    (N,) original row of each used image;  `batches` speaks of positions in this list
    half    (N,) 0 or 1;  group (N,) optics group
    mine    positions of the images that this rank holds, half-set by half-set, neighbours in viewing direction together
    store   pixels of the images at `mine`, in that order
    sign    +1 for bright particles, -1 for dark ones: `batches` multiplies pixels by it
    scale   grey level of a DFT coefficient for each cache unit: volume densities are multiplied by it on the way out
    power   (N, bands) mean power of each image's pixels in each of `imaging.bands`, 0 for the images of other ranks
    shift   (N, 2) pixels by which the images are moved beyond the translations that they were read with; None: 0
    """

    rows: np.ndarray
    box: int
    pixel_size_angstrom: float
    half: np.ndarray
    group: np.ndarray
    mine: np.ndarray
    store: PixelStore
    ctf: CtfTable
    rotations: torch.Tensor
    scale: float
    power: np.ndarray
    sign: float = 1.0
    shift: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        return self.rotations.device

    @property
    def plane(self) -> HalfPlane:
        return half_plane(self.box)

    @property
    def groups(self) -> int:
        """How many optics groups there are."""
        return int(self.group.max()) + 1

    def signed(self, sign: float) -> Images:
        """The same images with particles of the given sign made bright."""
        return replace(self, sign=float(sign))

    def posed(self, rotations: np.ndarray, shift: np.ndarray) -> Images:
        """The same images at other poses: rotations (N, 3, 3), and `shift` (N, 2) as above."""
        turned, moved = (torch.as_tensor(x, dtype=torch.float32, device=self.device) for x in (rotations, shift))
        return replace(self, rotations=turned, shift=moved)

    def batches(
        self, subset: np.ndarray, noise: Noise, *, radius: int | None = None, size: int = 64, skip: int = 0
    ) -> Iterator[Batch]:
        """Whitened batches of the images in `subset` ((N,) bool), in the order of `mine`, up to `radius`.

        The first `skip` images are left out: a walk that was broken off goes on behind them.
        """
        plane = self.plane if radius is None else self.plane.prefix(radius)
        local = np.flatnonzero(subset[self.mine])
        for start in range(skip, len(local), size):
            slots = local[start : start + size]
            index = self.mine[slots]
            whitening = noise.whitening(index, self.group[index], plane, self.device)
            yield Batch(
                index,
                self._pixels(slots, index, plane) * (self.sign * whitening)[..., None],
                self.ctf.evaluate(index, plane, self.device) * whitening,
                self.rotations[torch.as_tensor(index, device=self.device)],
                noise.weights(index, self.device),
                plane,
            )

    def _pixels(self, slots: np.ndarray, index: np.ndarray, plane: HalfPlane) -> torch.Tensor:
        pixels = self.store.take(slots, len(plane), self.device)
        if self.shift is None:
            return pixels
        ramp = plane.phase_ramp(self.shift[torch.as_tensor(index, device=self.device)])
        return torch.view_as_real(torch.view_as_complex(pixels.contiguous()) * ramp)


def read_images(
    particles: Particles,
    *,
    device: str = "cpu",
    memory_bytes: int = 4 << 30,
    rank: int = 0,
    ranks: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Images:
    """Read the used images of `particles`, in the order of the files; of several ranks, each its own share."""
    rows, plane = particles.rows, half_plane(particles.box)
    half = particles.half_set[rows].astype(np.int64)
    share = np.array_split(np.arange(len(rows)), ranks)[rank]
    order = np.lexsort((viewing_order(particles.rotations[rows[share], 2]), half[share]))
    slot = np.empty(len(share), np.int64)
    slot[order] = np.arange(len(share))
    store = PixelStore.within(memory_bytes, len(share), len(plane))
    scale = float(particles.box) * (_grey_level_spread(particles) or 1.0)
    translations = torch.as_tensor(particles.translations[rows[share]], dtype=torch.float32)
    freedom = band_freedom(particles.box)
    ctf = CtfTable(particles.ctf.take(rows), particles.pixel_size_angstrom, particles.box)
    power = np.zeros((len(rows), len(freedom)))
    step = max(1, CHUNK_BYTES // (particles.box * particles.box * 4))
    for start in range(0, len(share), step):
        chunk = slice(start, min(start + step, len(share)))
        raw = torch.from_numpy(particles.images.read(rows[share[chunk]]))
        pixels = torch.view_as_complex(plane.take(raw)) * plane.phase_ramp(translations[chunk]) / scale
        pixels = ctf.undone(pixels, share[chunk], plane)
        store.put(slot[chunk], torch.view_as_real(pixels))
        by_pixel = pixels.abs().square() * torch.as_tensor(plane.weight)
        power[share[chunk]] = band_sums(by_pixel, plane).double().numpy() / freedom
        if progress:
            progress(chunk.stop, len(share))
    on = torch.device(device)
    return Images(
        rows,
        particles.box,
        particles.pixel_size_angstrom,
        half,
        particles.optics_group[rows],
        share[order],
        store.near(on),
        ctf,
        torch.as_tensor(particles.rotations[rows], dtype=torch.float32, device=on),
        scale,
        power,
    )


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


def _grey_level_spread(particles: Particles) -> float:
    """Root mean square deviation of a pixel, from up to 256 images spread over the set (the same on every rank)."""
    rows = particles.rows
    some = rows[np.unique(np.linspace(0, len(rows) - 1, min(256, len(rows))).astype(int))]
    return float(np.sqrt(np.median(particles.images.read(some).var(axis=(1, 2), dtype=np.float64))))
