"""What the experiment was like, and what was drawn by lot for each image."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from covaria.particles.model import ContrastTransfer
from covaria.simulation import optics
from covaria.simulation.ensemble import Ensemble
from covaria.simulation.nuisances import Nuisances

BOX_LENGTH_ANGSTROM = 256.0
"""The built-in phantom's field of view: sets the pixel size where none is given."""


@dataclass(frozen=True)
class SimulationOptions:
    """What the experiment was like."""

    n_images: int = 4000
    box: int = 64
    pixel_size_angstrom: float = BOX_LENGTH_ANGSTROM / 64
    snr: float = 0.05
    """Variance of the CTF-applied signal over noise variance, inside a disk of radius 0.35 D, before any nuisance."""
    contrast_sd: float = 0.15
    shift_sd_pixels: float = 1.5
    defocus_range_angstrom: tuple[float, float] = (8000.0, 22000.0)
    voltage_kv: float = 300.0
    atom_sigma_angstrom: float = 2.5
    dark: bool = False
    """Particles darker than the background, as the camera sees them."""
    seed: int = 0
    nuisances: Nuisances = field(default_factory=Nuisances)


@dataclass(frozen=True)
class Experiment:
    """One entry for each image (N): state, RELION's angles (N, 3) in degrees and their matrices (N, 3, 3), the
    translations (N, 2) in pixels that centre it, CTF, micrograph number, contrast, half-set 0 or 1, magnification
    relative to the pixel size."""

    state: NDArray[np.int64]
    angles_deg: NDArray[np.float64]
    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]
    ctf: ContrastTransfer
    micrograph: NDArray[np.int64]
    contrast: NDArray[np.float64]
    half_set: NDArray[np.int64]
    magnification: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.state)


def draw(ensemble: Ensemble, options: SimulationOptions, rng: np.random.Generator) -> Experiment:
    """An experiment without nuisances."""
    n = options.n_images
    angles = optics.draw_angles(n, rng)
    state = rng.choice(len(ensemble), size=n, p=ensemble.probabilities)
    translations = np.round(rng.normal(0, options.shift_sd_pixels, (n, 2)), 4)
    contrast = np.maximum(rng.normal(1, options.contrast_sd, n), 0.1)
    half_set = rng.permutation(n) % 2
    ctf, micrograph = optics.draw_session(n, options.defocus_range_angstrom, options.voltage_kv, rng)
    rotations = optics.rotation_matrices(angles)
    return Experiment(
        state, angles, rotations, translations, ctf, micrograph, contrast, half_set, magnification=np.ones(n)
    )
