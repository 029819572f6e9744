"""How grey levels become numbers of the cache: measured on some images of a set, or as they were for images before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from covaria.imaging.ramps import NO_RAMPS, Ramps, find_ramps
from covaria.particles.model import Particles

SOME = 256


@dataclass(frozen=True)
class Greys:
    """scale: grey level of a DFT coefficient for each cache unit; ramps: what is taken off images as they are read."""

    scale: float
    ramps: Ramps = NO_RAMPS


def greys_of(particles: Particles) -> Greys:
    """From up to SOME used images spread over the set: the same on every rank."""
    rows = particles.rows
    some = rows[np.unique(np.linspace(0, len(rows) - 1, min(SOME, len(rows))).astype(int))]
    pixels = torch.from_numpy(particles.images.read(some))
    ramps = find_ramps(pixels)
    variances = ramps.taken_from(pixels).numpy().var(axis=(1, 2), dtype=np.float64)
    return Greys(float(particles.box) * (float(np.sqrt(np.median(variances))) or 1.0), ramps)
