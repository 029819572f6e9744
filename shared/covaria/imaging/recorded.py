"""Whether images look as their file says: noise that was multiplied by a CTF vanishes at its zeros."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from covaria.imaging.ctf import MULTIPLIED, CtfTable
from covaria.imaging.plane import half_plane
from covaria.particles.model import Particles

SAMPLE = 256
LOW, HIGH = 0.2, 0.8
"""Magnitudes of the CTF below and above which pixels are compared."""
FEWEST = 20
"""Pixels of either kind, for a shell to count."""
LIKE_NOISE, LIKE_PRODUCT = 0.6, 0.25
"""Ratios of power: 1 is expected of plain images in shells of noise, next to 0 of multiplied ones."""


def contradictions(particles: Particles) -> list[str]:
    """Words on images said to be multiplied by their CTF that are not, and on others that are."""
    rows = particles.rows
    applied = np.zeros(len(particles)) if particles.ctf.applied is None else particles.ctf.applied
    multiplied = applied[rows] == MULTIPLIED
    found = []
    said = power_at_zeros(particles, rows[multiplied])
    if said is not None and said > LIKE_NOISE:
        found.append(
            f"images are said to be multiplied by their CTF, but have {said:.0%} of their power at its zeros: "
            "set _rlnCtfDataAreCtfPremultiplied to 0 if they are not"
        )
    unsaid = power_at_zeros(particles, rows[~multiplied])
    if unsaid is not None and unsaid < LIKE_PRODUCT:
        found.append(
            f"images have {unsaid:.0%} of their power at the zeros of their CTF, as if they had been multiplied by it: "
            "set _rlnCtfDataAreCtfPremultiplied to 1 if they were"
        )
    return found


def power_at_zeros(particles: Particles, rows: np.ndarray) -> float | None:
    """Mean power of pixels where the CTF is next to 0, over that where it is next to 1: the median over the shells of
    the outer half of the band. None where the CTF does not reach both, or there are no rows.
    """
    if not len(rows):
        return None
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(int))]
    plane = half_plane(particles.box)
    bare = replace(particles.ctf.take(rows), b_factor_angstrom2=None, scale=None, dose=None)
    ctf = CtfTable(bare, particles.pixel_size_angstrom, particles.box).evaluate(np.arange(len(rows)), plane).abs()
    power = plane.take(torch.from_numpy(particles.images.read(rows))).square().sum(2)
    ratios = []
    for shell in range(particles.box // 4, particles.box // 2):
        inside = torch.as_tensor(plane.shell == shell)
        values, transfer = power[:, inside], ctf[:, inside]
        low, high = transfer < LOW, transfer > HIGH
        if int(low.sum()) >= FEWEST and int(high.sum()) >= FEWEST:
            ratios.append(float(values[low].mean() / values[high].mean().clamp_min(1e-30)))
    return float(np.median(ratios)) if ratios else None
