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
from covaria.imaging.greys import Greys, greys_of
from covaria.imaging.noise import Noise
from covaria.imaging.order import share_of, with_copies
from covaria.imaging.pixel_store import PixelStore
from covaria.imaging.plane import HalfPlane, half_plane
from covaria.imaging.ramps import NO_RAMPS, Ramps
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
    copies     of a symmetry: row g b / copies + i sees the g-th asymmetric unit of image i
    particle   (b / copies,) int64 of a tilt series: 0, 0, .. 1, .. the particle of each image, whole particles only
    ramp       (b, n)        phases that move what is centred on a row's unit to where it lies beside the first; None: 1
    ctf_slope  (b, n)        as `ctf`: the CTF's derivative by the defocus, per angstrom; where it is asked for
    Plain sums over pixels are inner products of the whole plane.
    """

    index: np.ndarray
    pixels: torch.Tensor
    ctf: torch.Tensor
    rotations: torch.Tensor
    weight: torch.Tensor
    plane: HalfPlane
    particle: torch.Tensor | None = None
    copies: int = 1
    ramp: torch.Tensor | None = None
    ctf_slope: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Images:
    """The used images of a data set on one device (those of this rank, where there are several).

    rows    (N,) original row of each used image;  `batches` speaks of positions in this list
    half    (N,) 0 or 1;  group (N,) optics group
    mine    positions of the images that this rank holds, half-set by half-set, neighbours in viewing direction together
    store   pixels of the images at `mine`, in that order; of symmetry copies once
    sign    +1 for bright particles, -1 for dark ones: `batches` multiplies pixels by it
    scale   grey level of a DFT coefficient for each cache unit: volume densities are multiplied by it on the way out
    particle (N,) of a tilt series: which particle each image shows; those of one are neighbours in `mine`
    power   (N, bands) mean power of each image's pixels in each of `imaging.bands`, 0 for the images of other ranks
    shift   (N, 2) pixels by which the images are moved beyond the translations that they were read with; None: 0
    copies  of a symmetry: g N / copies + i is copy g of image i; `mine` has all copies of an image next to each other
    offset  (N, 2) pixels by which each copy is moved beyond the first, to be centred; None: 0
    together (N,) rows of one number are not independent; None: those of one particle are
    ramps   of grey that were taken from the images
    defocus_errors  whether batches carry the CTF's slope, for a model in which the defocus may be wrong
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
    particle: np.ndarray | None = None
    copies: int = 1
    offset: torch.Tensor | None = None
    together: np.ndarray | None = None
    ramps: Ramps = NO_RAMPS
    defocus_errors: bool = False

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

    @property
    def leads(self) -> np.ndarray:
        """The first image of each particle, ascending."""
        every = np.arange(len(self))
        return every if self.particle is None else np.sort(np.unique(self.particle, return_index=True)[1])

    def by_particle(self, values: np.ndarray) -> np.ndarray:
        """Sums of values (N, ...) over the images of each particle, given to every image of it: (N, ...)."""
        if self.particle is None:
            return values
        sums = np.zeros((int(self.particle.max()) + 1, *values.shape[1:]))
        np.add.at(sums, self.particle, values)
        result: np.ndarray = sums[self.particle]
        return result

    def of_leads(self, values: np.ndarray) -> np.ndarray:
        """Values (P, ...) of the `leads` given to every image of their particle: (N, ...)."""
        if self.particle is None:
            return values
        place = np.empty(len(self.leads), np.int64)
        place[self.particle[self.leads]] = np.arange(len(place))
        result: np.ndarray = values[place[self.particle]]
        return result

    @property
    def units(self) -> np.ndarray:
        """(N,) rows of one number are one measurement: images of a particle, copies of an image, segments of a tube."""
        codes = self.together if self.together is not None else self.particle
        return np.arange(len(self)) if codes is None else codes

    def in_parts(self, count: int, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(len(rows),) numbers 0 .. count - 1 by lot, in parts as equal as `units` allow, the same for all of one."""
        codes, member = np.unique(self.units[rows], return_inverse=True)
        drawn: np.ndarray = rng.permutation(np.arange(len(codes)) % count)[member]
        return drawn

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

        The first `skip` images are left out: a walk that was broken off goes on behind them. Tilts of one particle
        are never parted: a batch may then be smaller, or as large as one particle.
        """
        plane = self.plane if radius is None else self.plane.prefix(radius)
        if self.copies > 1 and np.any(subset.reshape(self.copies, -1) != subset[: len(self) // self.copies]):
            raise ValueError("copies of one image belong together")
        local = np.flatnonzero(subset[self.mine])
        for start, stop in self._pieces(self.mine[local], skip, size):
            slots = local[start:stop].reshape(-1, self.copies).T.ravel()
            index = self.mine[slots]
            image = index % (len(self) // self.copies)
            whitening = noise.whitening(image, self.group[index], plane, self.device)
            particle = None if self.particle is None else self.particle[image[: len(image) // self.copies]]
            yield Batch(
                index,
                self._pixels(slots, index, plane) * (self.sign * whitening)[..., None],
                self.ctf.evaluate(index, plane, self.device) * whitening,
                self.rotations[torch.as_tensor(index, device=self.device)],
                noise.weights(image, self.device),
                plane,
                None if particle is None else self._places(particle),
                self.copies,
                self._moved(self.offset, index, plane, -1),
                self.ctf.slope(index, plane, self.device) * whitening if self.defocus_errors else None,
            )

    def _pixels(self, slots: np.ndarray, index: np.ndarray, plane: HalfPlane) -> torch.Tensor:
        pixels = self.store.take(slots // self.copies, len(plane), self.device)
        for shift, sign in ((self.offset, 1), (self.shift, 1)):
            ramp = self._moved(shift, index, plane, sign)
            if ramp is not None:
                pixels = torch.view_as_real(torch.view_as_complex(pixels.contiguous()) * ramp)
        return pixels

    def _moved(self, shift: torch.Tensor | None, index: np.ndarray, plane: HalfPlane, sign: int) -> torch.Tensor | None:
        """The phases of moving the images `index` by sign x shift (N, 2)."""
        return None if shift is None else plane.phase_ramp(sign * shift[torch.as_tensor(index, device=self.device)])

    def _pieces(self, index: np.ndarray, skip: int, size: int) -> Iterator[tuple[int, int]]:
        """Where batches of the images `index` begin and end, from `skip` on."""
        if self.particle is None and self.copies == 1:
            yield from ((start, min(start + size, len(index))) for start in range(skip, len(index), size))
            return
        of = index % (len(self) // self.copies)
        of = of if self.particle is None else self.particle[of]
        ends = np.append(np.flatnonzero(of[1:] != of[:-1]) + 1, len(index))
        start = skip
        while start < len(index):
            fitting = int(np.searchsorted(ends, start + size, side="right")) - 1
            stop = int(ends[max(fitting, int(np.searchsorted(ends, start, side="right")))])
            yield start, stop
            start = stop

    def _places(self, of: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.cumsum(np.append(0, of[1:] != of[:-1])), device=self.device)


def read_images(
    particles: Particles,
    *,
    device: str = "cpu",
    memory_bytes: int = 4 << 30,
    rank: int = 0,
    ranks: int = 1,
    progress: Callable[[int, int], None] | None = None,
    greys: Greys | None = None,
) -> Images:
    """Read the used images of `particles`, in the order of the files; of several ranks, each its own share.

    `greys` are found from the images where they are not given.
    """
    rows, plane = particles.rows, half_plane(particles.box)
    half = particles.half_set[rows].astype(np.int64)
    particle = None if particles.particle is None else np.unique(particles.particle[rows], return_inverse=True)[1]
    count = len(rows) // particles.copies
    of_images = None if particle is None else particle[:count]
    share, order = share_of(particles.rotations[rows[:count], 2], half[:count], of_images, rank, ranks)
    slot = np.empty(len(share), np.int64)
    slot[order] = np.arange(len(share))
    store = PixelStore.within(memory_bytes, len(share), len(plane))
    greys = greys_of(particles) if greys is None else greys
    translations = torch.as_tensor(particles.translations[rows[share]], dtype=torch.float32)
    freedom = band_freedom(particles.box)
    ctf = CtfTable(particles.ctf.take(rows), particles.pixel_size_angstrom, particles.box)
    power = np.zeros((particles.copies, count, len(freedom)))
    step = max(1, CHUNK_BYTES // (particles.box * particles.box * 4))
    for start in range(0, len(share), step):
        chunk = slice(start, min(start + step, len(share)))
        raw = greys.ramps.taken_from(torch.from_numpy(particles.images.read(rows[share[chunk]])))
        pixels = torch.view_as_complex(plane.take(raw)) * plane.phase_ramp(translations[chunk]) / greys.scale
        pixels = ctf.undone(pixels, share[chunk], plane)
        store.put(slot[chunk], torch.view_as_real(pixels))
        by_pixel = pixels.abs().square() * torch.as_tensor(plane.weight)
        power[:, share[chunk]] = band_sums(by_pixel, plane).double().numpy() / freedom
        if progress:
            progress(chunk.stop, len(share))
    on = torch.device(device)
    share, order = with_copies(share, order, count, particles.copies)
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
        greys.scale,
        power.reshape(len(rows), -1),
        particle=particle,
        copies=particles.copies,
        offset=_offsets(particles, rows, on),
        together=None if particles.together is None else particles.together[rows],
        ramps=greys.ramps,
    )


def _offsets(particles: Particles, rows: np.ndarray, device: torch.device) -> torch.Tensor | None:
    """(N, 2) pixels by which copies are moved beyond the first; None where they all lie there."""
    moved = particles.translations[rows].reshape(particles.copies, -1, 2)
    moved = (moved - moved[0]).reshape(-1, 2)
    return torch.as_tensor(moved, dtype=torch.float32, device=device) if np.any(moved) else None
