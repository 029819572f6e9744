"""A version of a growing set beside the one before it: what may not have changed, and half-sets that last."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.halves import ENOUGH_MICROGRAPHS
from covaria.particles.identity import Rows
from covaria.particles.independence import joined
from covaria.particles.model import Particles
from covaria.request.model import SYMMETRY, IngestOptions, Request

SAME_PIXEL = 1e-4
ROW_BOUND = ("ind", "n_images", "halfsets", "poses", "ctf", "class_number", "tomograms", "ntilts", *SYMMETRY)
"""Options that number rows, copy them or read them from elsewhere."""
OF_ONE_VERSION = ("only_mean", "refine_poses")
"""Options of the reconstruction that leave nothing to go on from, or poses that the next version would not have."""
FLAGS = {"class_number": "class"}


def refuse_what_cannot_grow(request: Request) -> None:
    """Raise InvalidInput for options that a set that grows cannot have."""
    options = request.ingest
    names = [name for name in ROW_BOUND if getattr(options, name) is not None]
    names += [name for name in OF_ONE_VERSION if getattr(request.reconstruction, name)]
    if names:
        raise InvalidInput(
            f"--{FLAGS.get(names[0], names[0].replace('_', '-'))} and a set that grows do not go together",
            file=options.particles, hint="leave it out, or run without --growing",
        )  # fmt: skip


@dataclass(frozen=True)
class Matched:
    """then: the particles of the version before. before (N,) row there, -1: new; gone: rows there that are not here."""

    then: Particles
    rows: Rows
    before: NDArray[np.int64]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(N,) rows that were there before."""
        return self.before >= 0

    @property
    def gone(self) -> NDArray[np.int64]:
        """Rows of the version before that are not here."""
        left = np.ones(len(self.then), bool)
        left[self.before[self.kept]] = False
        return np.flatnonzero(left)

    def refuse_half_written(self, file: IngestOptions) -> None:
        """Raise InvalidInput where the file is the beginning of what it was, or has nothing of it."""
        if not self.kept.any():
            raise InvalidInput(
                "names none of the images that OUT holds", file=file.particles,
                hint="is it the file of the same set? `covaria embed` places other particles in OUT's coordinates",
            )  # fmt: skip
        if len(self.gone) and self.kept.all() and np.array_equal(self.before, np.arange(len(self.before))):
            raise InvalidInput(
                f"holds the first {len(self.before):,} of OUT's {len(self.then):,} rows and nothing else: "
                "it seems to be half written",
                file=file.particles, hint="wait until it is whole; a selection is for a run in another folder",
            )  # fmt: skip

    def refuse_other_scale(self, box: int, pixel_size_angstrom: float, file: IngestOptions) -> None:
        """Raise InvalidInput where images have another box or pixel size than those of the version before."""
        box_then, pixel_then = int(self.rows.box), float(self.rows.pixel_size_angstrom)
        if box != box_then or abs(pixel_size_angstrom / pixel_then - 1) > SAME_PIXEL:
            raise InvalidInput(
                f"{box} pixels of {pixel_size_angstrom:.5g} angstrom, OUT's images have {box_then} of "
                f"{pixel_then:.5g}",
                file=file.particles, hint="extract the new particles as the others were, or run into a new folder",
            )  # fmt: skip


def lasting_half_sets(now: Particles, matched: Matched, micrographs: NDArray[np.void], seed: int) -> Particles:
    """`now` with half-sets in which every row of the version before keeps its own.

    A new row goes where the file says, else where its object or micrograph lies already, else to the half that lacks
    rows. Raises InvalidInput where the file moves a row to the other half.
    """
    then = matched.then.half_set
    known = np.where(matched.kept, then[matched.before], -1)
    said = now.half_set
    if np.all(said[now.used] >= 0) and len(np.unique(said[now.used])) == 2:
        moved = np.flatnonzero((known >= 0) & (said != known) & now.used)
        if len(moved):
            raise InvalidInput(
                f"{len(moved):,} rows are in the other half-set than before: half-maps would share images",
                file=now.source, row=int(moved[0]) + 1, hint="keep the half-sets, or run into a new folder",
            )  # fmt: skip
        return now
    codes = np.arange(len(now)) if now.together is None else now.together
    if _by_micrograph(matched.then, then):
        named = micrographs != np.zeros((), "V8")
        places = np.unique(micrographs, return_inverse=True)[1].reshape(-1).astype(np.int64)
        own = np.where(named, places, places.max() + 1 + np.arange(len(now)))
        codes = joined([codes, np.unique(own, return_inverse=True)[1].astype(np.int64)])
    return replace(now, half_set=_drawn(codes, known.astype(np.int8), now.used, seed + int(matched.rows.version)))


def _by_micrograph(then: Particles, half: NDArray[np.int8]) -> bool:
    """Whether no micrograph of the version before has rows in use in both halves."""
    of, used = then.micrograph, then.used & (then.micrograph >= 0)
    if not used.all() and not used.any():
        return False
    first, second = (np.unique(of[used & (half == number)]) for number in (0, 1))
    return len(first) + len(second) >= ENOUGH_MICROGRAPHS and not len(np.intersect1d(first, second))


def _drawn(codes: NDArray[np.int64], known: NDArray[np.int8], used: NDArray[np.bool_], seed: int) -> NDArray[np.int8]:
    half = known.copy()
    kinds, member = np.unique(codes, return_inverse=True)
    of_kind = np.full(len(kinds), -1, np.int8)
    of_kind[member[known >= 0]] = known[known >= 0]
    sizes = np.bincount(member, used, minlength=len(kinds))
    difference = int(np.sum(used & (known == 0))) - int(np.sum(used & (known == 1)))
    for kind in np.random.default_rng(seed).permutation(np.flatnonzero(of_kind < 0)).tolist():
        of_kind[kind] = 0 if difference <= 0 else 1
        difference += int(sizes[kind]) * (1 - 2 * int(of_kind[kind]))
    drawn: NDArray[np.int8] = np.where(half >= 0, half, of_kind[member])
    return drawn
