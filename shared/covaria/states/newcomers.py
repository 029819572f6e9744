"""New images in the coordinates of a finished run: nothing of the run is fitted again, its mean and components stand.

Of the new images alone come their noise, how far each is to be trusted, their contrasts and their mean, which must be
the run's mean: poses of another refinement, or another molecule, are refused.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.estimation.latents.embedding import embed, embedding_rows
from covaria.estimation.latents.model import Latents
from covaria.estimation.linear_model import LinearModel
from covaria.estimation.mean.agreement import AGREE, agreement_of
from covaria.estimation.mean.contrasts import ContrastRows
from covaria.estimation.mean.model import MeanModel, estimate_mean_model
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.imaging.images import Images, read_images
from covaria.maps import read_volume
from covaria.particles import Particles, read_particles
from covaria.particles.halves import with_half_sets
from covaria.particles.shrink import shrink
from covaria.request.model import SYMMETRY, IngestOptions, ReconstructionOptions
from covaria.results.latents import stored_zdim
from covaria.results.model import read_half_models
from covaria.results.parameters import Parameters, read_parameters
from covaria.running.passes import Pass
from covaria.stage import Context
from covaria.tree import Tree

FEWEST = 50
"""Images from which noise and contrasts can be told."""
SAME_PIXEL = 1e-3


@dataclass(frozen=True)
class Newcomers:
    """In the new file's row order, NaN where a row is not used.

    regularised, unregularised  latent coordinates of zdim, in the run's units, with prior and without
    micrograph (N,) number, -1: unknown;  half (N,) 0 or 1, -1
    together (N,) rows of one number are one measurement; None: each is its own
    agreement   correlation of the new mean with the run's, as a part of what noise leaves possible; NaN: too few images
    """

    regularised: Latents
    unregularised: Latents
    micrograph: NDArray[np.int64]
    half: NDArray[np.int64]
    agreement: float
    together: NDArray[np.int64] | None = None


def embed_newcomers(tree: Tree, zdim: int, options: IngestOptions, seed: int, context: Context) -> Newcomers:
    """Coordinates of the particles that `options` name, in the run of `tree` at `zdim`. Raises InvalidInput."""
    stored_zdim(tree, zdim)
    parameters = read_parameters(tree)
    with tempfile.TemporaryDirectory(prefix="covaria-") as folder:
        particles = with_half_sets(_at_the_runs_box(options, parameters, Path(folder), context), seed)
        images = read_images(
            particles,
            device=context.device,
            memory_bytes=context.memory_bytes,
            progress=lambda done, total: context.progress("reading images", done, total),
        ).signed(parameters.data_sign)
        if len(images) < FEWEST:
            raise InvalidInput(
                f"{len(images)} images: their noise cannot be told", file=options.particles,
                hint=f"give at least {FEWEST}",
            )  # fmt: skip
        return _embedded(tree, zdim, parameters, particles, images, context)


def _embedded(
    tree: Tree, zdim: int, parameters: Parameters, particles: Particles, images: Images, context: Context
) -> Newcomers:
    passes, model = Pass(context), _model_of(tree, zdim, images.box)
    alike = ReconstructionOptions(mask=tree.mask, uninvert_data="true" if parameters.data_sign > 0 else "false")
    own = estimate_mean_model(images, alike, passes)
    agreement = agreement_of(own.halves, own.dilated_mask, model.mean)
    if agreement < AGREE:
        raise InvalidInput(
            f"the mean of these images correlates with the run's by only {agreement:.2f} of what their noise allows",
            file=particles.source,
            hint="is it the same molecule, sign and hand, with poses in the run's frame (refined against its map)?",
        )
    level = _level(images, own, model.mean / images.scale, passes)
    spread, pose = float(own.contrast_sd), PoseSpread(*own.pose_spread.tolist())
    seen = LinearModel(level * model.mean, level * model.components, 1.0, spread, pose)
    eigenvalues = np.asarray(parameters.s, np.float64)[:zdim]
    rows = embedding_rows(images, own.noise, seen, eigenvalues, own.contrasts, passes)
    found = embed(rows.statistics, eigenvalues, zdim, spread, own.noise.weight)
    leads, total = images.leads, len(particles)
    both = (found.regularised, found.unregularised)
    with_prior, without = (one.take(leads).in_input_order(images.rows[leads], total) for one in both)
    half = np.full(total, -1, np.int64)
    half[images.rows] = images.half
    return Newcomers(with_prior, without, particles.micrograph.astype(np.int64), half, agreement, particles.together)


def _at_the_runs_box(options: IngestOptions, parameters: Parameters, folder: Path, context: Context) -> Particles:
    """The new particles, made smaller where theirs is a larger box of the same width. Raises InvalidInput."""
    box, pixel = parameters.volume_shape[0], parameters.voxel_size
    particles = read_particles(options)
    if particles.box > box:
        small = shrink(options, box, folder, progress=lambda done, total: context.progress("downsample", done, total))
        if small.star is None:
            raise InvalidInput(f"lacks {', '.join(small.missing)}", file=options.particles, hint="see covaria inspect")
        symmetry = {name: getattr(options, name) for name in SYMMETRY}
        particles = read_particles(IngestOptions(particles=small.star, **symmetry))
    same = particles.box == box and abs(particles.pixel_size_angstrom / pixel - 1) < SAME_PIXEL
    if not same:
        raise InvalidInput(
            f"comes to {particles.box} pixels of {particles.pixel_size_angstrom:.4g} angstrom, the run has {box} of "
            f"{pixel:.4g}", file=options.particles,
            hint=f"extract the particles in a box of {box * pixel:.1f} angstrom",
        )  # fmt: skip
    return particles


def _model_of(tree: Tree, zdim: int, box: int) -> LinearModel:
    """The run's mean and its first components, densities. Raises MissingFile and InvalidInput."""
    first, second = read_half_models(tree, zdim, box)
    components = np.stack([read_volume(tree.eigenvolume(k))[0] for k in range(zdim)])
    return LinearModel((first.mean + second.mean) / 2, components, 1.0)


def _level(images: Images, own: MeanModel, mean: np.ndarray, passes: Pass) -> float:
    """Grey level of the new images over the run's: sum <A mu, y> / sum |A mu|^2 of the images that hold a particle."""
    table = passes.named("level").rows(images, ContrastRows(images, own.noise, mean.astype(np.float32)))
    overlap, energy = table["overlap"][:, 0].astype(np.float64), table["gram"][:, 0, 0].astype(np.float64)
    weight = own.noise.weight
    return float((weight * overlap).sum() / (weight * energy).sum())
