"""A finished reconstruction, read back as the frozen model that states need."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput, MissingFile
from covaria.estimation.latents.model import Latents
from covaria.estimation.states.model import HalfSetModels
from covaria.imaging.images import Images, read_images
from covaria.maps.volume import read_volume
from covaria.particles import Particles, load
from covaria.results.latents import RECONSTRUCT_FIRST, read_latents, stored_zdim
from covaria.results.model import read_half_models, read_half_sets
from covaria.results.parameters import Parameters, read_parameters
from covaria.results.particle_table import noise_of_images, with_refined_poses
from covaria.stage import Context
from covaria.tree import Tree


@dataclass(frozen=True)
class Run:
    """The images and the linear model of OUT at one zdim.

    total      rows of the input file
    confirmed  how many of the coordinates say where an image lies; the others are noise
    """

    images: Images
    model: HalfSetModels
    total: int
    confirmed: int


def checked_targets(tree: Tree, zdim: int, targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """Latent points as (T, zdim) float64. Raises InvalidInput for a zdim that OUT lacks, another width, or NaN."""
    stored_zdim(tree, zdim)
    points = np.asarray(targets, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != zdim or len(points) == 0:
        raise InvalidInput(
            f"latent points of shape {points.shape}; (T, {zdim}) is needed", hint="one point a row, zdim numbers each"
        )
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise InvalidInput(f"latent point {bad[0] + 1} holds a value that is not a finite number", row=int(bad[0]) + 1)
    return points


@dataclass(frozen=True)
class Known:
    """What OUT says of its particles: used (N,) those with a latent and a half-set, half_set (N,) 0, 1 or -1."""

    parameters: Parameters
    particles: Particles
    latents: Latents
    half_set: np.ndarray
    used: np.ndarray


def read_known(tree: Tree, zdim: int, context: Context) -> Known:
    """Raises MissingFile and InvalidInput where OUT is not a finished reconstruction."""
    if not tree.particles.is_file():
        raise MissingFile("is not there", file=tree.particles, hint=RECONSTRUCT_FIRST)
    parameters = read_parameters(tree)
    particles, latents = load(tree.particles, context.roots), read_latents(tree, zdim)
    if len(latents) != len(particles):
        raise InvalidInput(
            f"holds {len(latents)} rows, the particles {len(particles)}",
            file=tree.latent_coords(zdim),
            hint=RECONSTRUCT_FIRST,
        )
    particles = with_refined_poses(tree, particles)
    half_set = read_half_sets(tree, len(particles))
    if particles.particle is not None:
        latents = latents.take(particles.lead_of_row)
    used = particles.used & (half_set >= 0) & latents.used & np.isfinite(latents.contrasts)
    return Known(parameters, particles, latents, half_set, used)


def load_run(tree: Tree, zdim: int, context: Context) -> Run:
    """Read OUT's particles, model and latents at `zdim`. Images with no latent (excluded) are left out.

    Raises MissingFile and InvalidInput where OUT is not a finished reconstruction.
    """
    known = read_known(tree, zdim, context)
    parameters, particles = known.parameters, known.particles
    images = read_images(
        replace(particles, half_set=known.half_set, used=known.used),
        device=context.device,
        memory_bytes=context.memory_bytes,
        rank=context.ranks.rank,
        ranks=context.ranks.size,
        progress=lambda done, total: context.progress("reading images", done, total),
    ).signed(parameters.data_sign)
    noise = parameters.noise(images.scale, images.groups)
    model = HalfSetModels(
        read_half_models(tree, zdim, images.box),
        known.latents.take(images.rows),
        noise_of_images(tree, noise, images.rows, len(particles)),
        read_volume(tree.dilated_mask)[0],
    )
    return Run(images, model, len(particles), min(zdim, parameters.significant_components))
