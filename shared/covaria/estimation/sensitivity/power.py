"""How likely the held-out test is to confirm a motion, from how much of it the images hold.

Fitting one half-set is finding a spike among noise. The noise fills the d(r) numbers that a volume inside the mask has
up to shell r; N particles of mean energy g(r) along the motion lift it out of the noise where g^2 N > d, and the fitted
direction then overlaps with the true one (Baik, Ben Arous and Péché 2005; Paul 2007; for whitened volumes):

    d(r) = 4/3 pi (r + 1/2)^3 x share of the box inside the mask,     gamma = d / N,     s = g / sqrt(gamma)
    overlap rho^2 = (1 - 1 / s^2) / (1 + sqrt(gamma) / s)

The other half's particles have the energy h = rho^2 g along what was fitted. Their likelihood rises by
(h - log(1 + h)) / 2 on average, with a standard deviation of h / sqrt 2, so its z-score is

    z = sqrt(N) (h - log(1 + h)) / (sqrt 2 h)

both at the shell of the largest overlap. What the theory leaves out is measured on whole tests (docs/accuracy.md): from
a random start in few steps a motion is found where the overlap can be MIDDLE, and its z-score is then GAIN times as
high, because finer shells and shrinkage help.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

FIRST_SHELL = 4
MIDDLE, SPREAD = 0.48, 0.07
"""The overlap of a motion that half of all sets confirm, and over what range that changes."""
GAIN = 1.8
NEEDED = 4.0
"""The held-out z-score that counts."""


@dataclass(frozen=True)
class Outlook:
    """Of motions (...): overlap of what one half would find with the truth, 0 .. 1; held-out z-score of it."""

    overlap: Array
    score: Array

    @property
    def probability(self) -> Array:
        """That both half-sets confirm it."""
        found: Array = ndtr((self.overlap - MIDDLE) / SPREAD) * ndtr(GAIN * self.score - NEEDED)
        return found


def outlook(energy: Array, particles: float, inside: float) -> Outlook:
    """energy (..., R + 1): mean over particles of a motion's energy up to each shell, its latent's variance included;
    particles: of the smaller half-set; inside: share of the box that the mask holds."""
    shells = np.arange(FIRST_SHELL, energy.shape[-1])
    root = np.sqrt(4 / 3 * np.pi * (shells + 0.5) ** 3 * inside / particles)
    s = np.maximum(energy[..., FIRST_SHELL:] / root, 1.0)
    overlaps = (1 - s**-2) / (1 + root / s)
    best = overlaps.argmax(-1)[..., None]
    overlap = np.take_along_axis(overlaps, best, -1)[..., 0]
    held = overlap * np.take_along_axis(energy[..., FIRST_SHELL:], best, -1)[..., 0]
    # For small h the quotient is h / 2, lost in rounding.
    rise = np.where(held > 1e-4, (held - np.log1p(held)) / np.maximum(held, 1e-4), held / 2)
    return Outlook(overlap, np.sqrt(particles / 2) * rise)
