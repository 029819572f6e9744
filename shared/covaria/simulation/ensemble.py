"""Which states there are, how often each occurs, and its place in the true latent space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.simulation.atoms import Atoms, read_structures
from covaria.simulation.phantom import Conformation, phantom


@dataclass(frozen=True)
class Ensemble:
    """S states. probabilities (S,) sum to 1; latents (S, L) is what a method should find (one zero column: nothing)."""

    structures: tuple[Atoms | Path, ...]
    probabilities: NDArray[np.float64]
    latents: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.structures)


def homogeneous(n_states: int) -> Ensemble:
    """One rigid particle."""
    return _of([Conformation()], np.zeros((1, 1)))


def discrete(n_states: int) -> Ensemble:
    """Three states in unequal amounts: arm down, arm up, head turned and the extra part lost."""
    states = [
        Conformation(hinge_deg=-25.0),
        Conformation(hinge_deg=25.0),
        Conformation(rotation_deg=60.0, occupancy=0.0),
    ]
    latents = np.array([[s.hinge_deg, s.rotation_deg] for s in states])
    return _of(states, latents, np.array([0.5, 0.3, 0.2]))


def presence(n_states: int) -> Ensemble:
    """The extra part is there (60 %) or not."""
    return _of([Conformation(), Conformation(occupancy=0.0)], np.array([[1.0], [0.0]]), np.array([0.6, 0.4]))


def curved(n_states: int) -> Ensemble:
    """One latent: the arm swings through 70 degrees, a curved line in the space of maps."""
    fraction = _grid(n_states)
    return _of([Conformation(hinge_deg=70 * t - 35) for t in fraction], fraction[:, None])


def plane(n_states: int) -> Ensemble:
    """Two independent latents: the arm's hinge and the head's rotation, on a square grid of about n_states points."""
    side = _grid(max(2, round(n_states**0.5)))
    latents = np.array([(a, b) for a in side for b in side])
    return _of([Conformation(hinge_deg=70 * a - 35, rotation_deg=100 * b - 50) for a, b in latents], latents)


def ring(n_states: int) -> Ensemble:
    """A closed loop: the arm's tip goes round on a cone; the latents are the two coordinates of the circle."""
    angle = 2 * np.pi * np.arange(n_states) / n_states
    latents = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _of([Conformation(hinge_deg=30 * a, swing_deg=30 * b) for a, b in latents], latents)


BUILT_IN: dict[str, Callable[[int], Ensemble]] = {
    f.__name__: f for f in (homogeneous, discrete, presence, curved, plane, ring)
}


def from_files(paths: Sequence[Path]) -> Ensemble:
    """Equally frequent states from PDB/mmCIF files or from .mrc volumes (not both). The latent is the file's number."""
    volumes = [path.suffix.lower() in (".mrc", ".map") for path in paths]
    if any(volumes) and not all(volumes):
        raise InvalidInput(
            f"structures and volumes are mixed: {', '.join(map(str, paths))}",
            hint="give only .pdb/.cif or only .mrc files",
        )
    structures: Sequence[Atoms | Path] = list(paths) if all(volumes) else read_structures(paths)
    return Ensemble(tuple(structures), np.full(len(paths), 1 / len(paths)), np.arange(len(paths), dtype=float)[:, None])


def _of(
    states: Sequence[Conformation], latents: NDArray[np.float64], probabilities: NDArray[np.float64] | None = None
) -> Ensemble:
    share = np.full(len(states), 1 / len(states)) if probabilities is None else probabilities
    return Ensemble(tuple(phantom(state) for state in states), share, latents)


def _grid(count: int) -> NDArray[np.float64]:
    """Midpoints of `count` equal parts of [0, 1]."""
    return (np.arange(count) + 0.5) / count
