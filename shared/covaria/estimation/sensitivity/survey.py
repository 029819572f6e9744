"""The table of motions that a run could have seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.sensitivity.energies import EnergyRows
from covaria.estimation.sensitivity.motions import DIRECTIONS, Array, cut, leaving, turning
from covaria.estimation.sensitivity.power import Outlook, outlook
from covaria.imaging import volumes
from covaria.running.side_by_side import shared_out

MASSES = (0.05, 0.15, 0.30)
"""Shares of the particle's mass that move."""
WAYS_ANGSTROM = (2.0, 4.0, 6.0, 10.0, 15.0)
"""Ways of the part's centre of mass."""
POPULATIONS = (0.1, 0.3, 0.5)
"""Shares of the particles that are in the second of two states."""
PARTICLES, AT_ONCE = 300, 24
"""That the energies are taken from, and motions that are sliced together."""
FINER = 2
"""The grid on which parts are turned, over the coarsest that holds the test's shells."""


@dataclass(frozen=True)
class Sensitivity:
    """Arrays only, M motions times P populations.

    mass (M,); way_angstrom (M,), 0: the part is there or not; population (P,);
    overlap, score, probability (M, P), as those of `Outlook`; mean over the directions of the part
    """

    mass: Array
    way_angstrom: Array
    population: Array
    overlap: Array
    score: Array
    probability: Array


def sensitivity(problem: Problem, solvent: NDArray[np.floating], pixel_size: float, radius: int) -> Sensitivity:
    """What the test at `radius` would confirm of this very set: its mean, poses, CTFs, noise and number of images.

    solvent (D, D, D): the mask that holds the particle; of a focus mask, parts are cut and seen inside it alone;
    pixel_size in angstrom.
    """
    box = len(problem.mean)
    side = min(box, FINER * volumes.cube_side(radius))
    density, solid, looked_at = (
        volumes.resize_fourier(torch.as_tensor(v, dtype=torch.float32), side).numpy().astype(np.float64)
        for v in (problem.mean, solvent, problem.mask)
    )
    looked_at = np.clip(looked_at * (side / box) ** 3, 0, 1)
    mask = solid * (side / box) ** 3 * (looked_at > 0.5)
    voxel = pixel_size * box / side
    names = [(mass, way) for mass in MASSES for way in (0.0, *WAYS_ANGSTROM)]

    def motions_of(part: tuple[float, Array]) -> torch.Tensor:
        moved = cut(density, mask, *part)
        ways = [leaving(density, moved), *(turning(density, moved, way / voxel) for way in WAYS_ANGSTROM)]
        return torch.as_tensor(np.stack(ways) * looked_at, dtype=torch.float32, device=problem.images.device)

    parts = [(mass, direction) for mass in MASSES for direction in DIRECTIONS]
    shapes = [(1 + len(WAYS_ANGSTROM), *density.shape)] * len(parts)
    ranks = problem.passes.context.ranks
    motions = torch.cat(shared_out(motions_of, parts, shapes, ranks, problem.images.device)).cpu().numpy()
    population = np.array(POPULATIONS)
    energy = energies(problem, motions, radius)
    energy = energy.reshape(len(MASSES), len(DIRECTIONS), -1, radius + 1).swapaxes(1, 2)
    energy = energy.reshape(len(names), 1, len(DIRECTIONS), radius + 1)
    found = outlook_of(problem, energy * (population * (1 - population))[:, None, None], radius)
    mass, way = np.array(names).T
    return Sensitivity(mass, way, population, *(v.mean(2) for v in (found.overlap, found.score, found.probability)))


def energies(problem: Problem, motions: NDArray[np.floating], radius: int) -> Array:
    """Mean energy of each motion (K, d, d, d) up to each shell, (K, radius + 1), in all images of a particle together.

    From particles spread over the set. Motions are in units of the cache, on a cube whose DFT coefficients are those of
    the full box.
    """
    images, leads = problem.images, problem.images.leads
    leads = leads[np.unique(np.linspace(0, len(leads) - 1, min(PARTICLES, len(leads))).astype(int))]
    chosen = np.zeros(len(images))
    chosen[leads] = 1
    some, weight = images.by_particle(chosen) > 0, _weights(problem)[leads]
    some = np.tile(some.reshape(images.copies, -1).any(0), images.copies)
    passes, found = problem.passes.named("sensitivity"), []
    for first in range(0, len(motions), AT_ONCE):
        rows = EnergyRows(problem, motions[first : first + AT_ONCE], radius)
        table = passes.rows(images, rows, subset=some)["energy"].astype(np.float64)
        found.append(np.einsum("n,nrk->kr", weight, images.by_particle(table)[leads]) / weight.sum())
    return np.concatenate(found)


def outlook_of(problem: Problem, energy: Array, radius: int) -> Outlook:
    """What the held-out test makes of motions of these energies (..., radius + 1)."""
    inside = float((problem.mask_at(radius).astype(np.float64) ** 2).mean())
    leads = problem.images.leads[problem.split[problem.images.leads] >= 0]
    particles = np.bincount(problem.split[leads], _weights(problem)[leads], minlength=2)
    return outlook(energy, float(particles.min()), inside)


def _weights(problem: Problem) -> Array:
    """How far each image counts, (N,)."""
    return problem.noise.weight if len(problem.noise.weight) else np.ones(len(problem.images))
