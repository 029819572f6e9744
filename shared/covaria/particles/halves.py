"""Half-sets: the file's own, or drawn by seed from what is independent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.independence import joined
from covaria.particles.model import Particles

ENOUGH_MICROGRAPHS = 20
"""From here on whole micrographs are drawn: two random halves of them differ little in number and in defocus."""
LEAST_IMAGES = 10
"""In each half-set, for a reconstruction."""
UNEQUAL = 0.05
"""How far the halves of whole micrographs may differ in size, as a fraction of all rows."""


def with_half_sets(particles: Particles, seed: int) -> Particles:
    """Every row assigned to half 0 or 1.

    Rows that the input assigns stay. Where it assigns none in use, or all of them to one half, objects (see
    `Particles.together`) are drawn by `seed`: whole micrographs where there are enough, and the halves as equal as the
    objects allow. Raises InvalidInput where it assigns some only, or fewer than two rows are in use.
    """
    half = particles.half_set.copy()
    used = particles.used
    notes = particles.notes
    assigned = half[used]
    if np.count_nonzero(used) < 2:
        raise InvalidInput(
            f"{np.count_nonzero(used)} particle in use: two half-sets need at least 2",
            file=particles.source,
            hint="give more particles (see --ind, --n-images)",
        )
    if np.all(assigned >= 0) and len(np.unique(assigned)) == 2:
        return replace(particles, notes=(*notes, "half-sets are those of the input", *_shared(particles)))
    if np.any(assigned >= 0) and not np.all(assigned >= 0):
        row = int(np.flatnonzero(used & (half < 0))[0])
        raise InvalidInput(
            "has no half-set while others have", file=particles.source, row=row + 1, hint="give --halfsets FILE.pkl"
        )
    if np.all(assigned >= 0):
        notes = (*notes, f"the input assigns every particle to half-set {int(assigned[0]) + 1}: not used")
    codes = np.arange(len(particles)) if particles.together is None else particles.together
    drawn, unit = draw(codes, used, seed), ""
    by_micrograph = _micrographs(particles, codes)
    if by_micrograph is not None:
        whole = draw(by_micrograph, used, seed)
        if abs(int(np.sum(whole[used] == 0)) - int(np.sum(whole[used] == 1))) <= UNEQUAL * used.sum():
            drawn, unit = whole, ", whole micrographs"
    if len(np.unique(drawn[used])) < 2:
        raise InvalidInput(
            "all particles in use are one object (one image, one filament): two half-sets need two",
            file=particles.source,
            hint="give --halfsets FILE.pkl to split them nevertheless",
        )
    return replace(particles, half_set=drawn, notes=(*notes, f"half-sets drawn at random (seed {seed}){unit}"))


def draw(codes: NDArray[np.int64], used: NDArray[np.bool_], seed: int) -> NDArray[np.int8]:
    """(N,) 0 or 1, the same for all rows of one code: in random order, each to the half with fewer rows in use."""
    rng = np.random.default_rng(seed)
    half = np.full(len(codes), -1, dtype=np.int8)
    for rows in (np.flatnonzero(used), np.flatnonzero(~used)):
        rows = rows[half[rows] < 0]
        kinds, member, sizes = np.unique(codes[rows], return_inverse=True, return_counts=True)
        of_kind = np.empty(len(kinds), dtype=np.int8)
        order = rng.permutation(len(kinds))
        if sizes.max(initial=1) == 1:
            of_kind[order] = np.arange(len(kinds)) % 2
        else:
            difference = 0
            for kind in order.tolist():
                of_kind[kind] = 0 if difference <= 0 else 1
                difference += int(sizes[kind]) * (1 - 2 * int(of_kind[kind]))
        half[rows] = of_kind[member]
        known = dict(zip(kinds.tolist(), of_kind.tolist(), strict=True)) if sizes.max(initial=1) > 1 else {}
        for row in np.flatnonzero(half < 0).tolist() if known else ():
            half[row] = known.get(int(codes[row]), -1)
    return half


def _micrographs(particles: Particles, codes: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Codes of whole micrographs, where there are enough of them."""
    micrograph = particles.micrograph
    if np.any(micrograph[particles.used] < 0):
        return None
    if len(np.unique(micrograph[particles.used])) < ENOUGH_MICROGRAPHS:
        return None
    own = np.where(micrograph < 0, micrograph.max() + 1 + np.arange(len(micrograph)), micrograph)
    return joined([codes, np.unique(own, return_inverse=True)[1].astype(np.int64)])


def _shared(particles: Particles) -> tuple[str, ...]:
    """A note where the input's own half-sets share objects."""
    if particles.together is None:
        return ()
    codes, half = particles.together[particles.used], particles.half_set[particles.used]
    count = int(codes.max()) + 1
    in_both = (np.bincount(codes[half == 0], minlength=count) > 0) & (
        np.bincount(codes[half == 1], minlength=count) > 0
    )
    if not in_both.any():
        return ()
    return (
        f"{int(in_both.sum())} objects (images, particles or filaments) have rows in both half-sets of the input: "
        "half-maps agree by what they share",
    )
