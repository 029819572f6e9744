"""Half-sets: the file's own, or drawn by seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from covaria.errors import InvalidInput
from covaria.particles.model import Particles


def with_half_sets(particles: Particles, seed: int) -> Particles:
    """Every row assigned to half 0 or 1.

    Rows that the input assigns stay. Where it assigns none in use, or all of them to one half, the used rows are split
    by `seed`, equal to within one. Raises InvalidInput where it assigns some only, or fewer than two rows are in use.
    """
    half = particles.half_set.copy()
    used = particles.used
    notes = particles.notes
    assigned = half[used]
    if np.all(assigned >= 0) and len(np.unique(assigned)) == 2:
        notes = (*notes, "half-sets are those of the input")
    else:
        if np.any(assigned >= 0) and not np.all(assigned >= 0):
            row = int(np.flatnonzero(used & (half < 0))[0])
            raise InvalidInput(
                "has no half-set while others have", file=particles.source, row=row + 1, hint="give --halfsets FILE.pkl"
            )
        if len(assigned) and np.all(assigned >= 0):
            notes = (*notes, f"the input assigns every particle to half-set {int(assigned[0]) + 1}: not used")
        half[:] = -1
        rng = np.random.default_rng(seed)
        for rows in (np.flatnonzero(used), np.flatnonzero(~used)):
            half[rng.permutation(rows)] = np.arange(len(rows)) % 2
        notes = (*notes, f"half-sets drawn at random (seed {seed})")
    if np.count_nonzero(used) < 2:
        raise InvalidInput(
            f"{np.count_nonzero(used)} particle in use: two half-sets need at least 2", file=particles.source
        )
    return replace(particles, half_set=half, notes=notes)
