"""The reconstruction service's stage: from particles to the mean map, principal components and latent coordinates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from covaria import particles as particle_files
from covaria.errors import InvalidInput
from covaria.imaging import volumes
from covaria.imaging.images import Images
from covaria.imaging.ranks import Ranks
from covaria.maps import fsc
from covaria.stage import Context, Job
from covaria.tree import Tree
from covaria_reconstruction.components import LinearModel, cross_half_power, half_set_prior, half_set_steps, m_step
from covaria_reconstruction.embedding import Embedding, embed, embedding_statistics
from covaria_reconstruction.expectation_maximisation import Problem, Report, fit_components, gradients
from covaria_reconstruction.mean_model import MeanModel, estimate_mean_model
from covaria_reconstruction.results import Components, write_results
from covaria_reconstruction.significance import significant_components

LEAST_IMAGES = 10
"""In each half-set."""
COARSE_RADIUS = 16
"""Up to which the half-sets are compared as independent fits."""
UNCONFIRMED = 1e-3


def run(job: Job, context: Context) -> None:
    """Read OUT/.covaria/particles.npz, write OUT/model and OUT/output.

    Raises InvalidInput where the particles cannot be reconstructed (too few images in a half-set).
    """
    request, tree = job.request, Tree(job.request.out)
    options = request.reconstruction
    particles = particle_files.load(tree.particles)
    ranks = Ranks()
    images = Images(
        particles,
        device=context.device,
        memory_bytes=context.memory_bytes,
        rank=ranks.rank,
        ranks=ranks.size,
        progress=lambda done, total: context.progress("reading images", done, total),
    )
    if np.bincount(images.half, minlength=2).min() < LEAST_IMAGES:
        raise InvalidInput(
            f"half-sets of {np.bincount(images.half, minlength=2).tolist()} images; each needs at least {LEAST_IMAGES}",
            file=particles.source,
            hint="give more particles (see --ind, --n-images and --halfsets)",
        )
    mean = _mean_step(images, job, context)
    context.log.info(
        f"mean map: data sign {int(images.sign):+d}, contrast spread {float(mean.contrast_sd):.3f}, "
        f"mask {100 * float((mean.mask > 0.5).mean()):.1f} % of the box"
    )
    components: Components | None = None
    embeddings: dict[int, Embedding] | None = None
    if not options.only_mean:
        count = max(4, *options.zdim)
        components = _components_step(images, mean, count, request.seed, context)
        context.log.info(f"components: {components.significant} significant of {count}")
        stats = embedding_statistics(
            images,
            mean.noise,
            mean.residual_mean * images.scale,
            components.eigenvolumes,
            report=lambda done, total: context.progress("embedding", done, total),
        )
        embeddings = {
            q: embed(stats, components.eigenvalues, q, float(mean.contrast_sd)) for q in sorted(set(options.zdim))
        }
    if ranks.rank == 0:
        write_results(tree, job, particles, images, mean, components, embeddings)


def _mean_step(images: Images, job: Job, context: Context) -> MeanModel:
    kept = context.checkpoints.load("mean")
    if kept is None:
        model = estimate_mean_model(images, job.request.reconstruction, context.progress)
        context.checkpoints.save("mean", model.arrays())
        return model
    model = MeanModel(**kept)
    images.sign = float(model.data_sign)
    return model


def _components_step(images: Images, mean: MeanModel, count: int, seed: int, context: Context) -> Components:
    kept = context.checkpoints.load("components")
    if kept is not None:
        return Components(**kept)
    problem = Problem(images, mean.noise, mean.residual_mean, mean.component_mask, float(mean.contrast_sd), images.half)
    model, _ = fit_components(problem, count, seed=seed, report=context.progress, log=context.log.info)
    found = last_step(problem, model, context.progress)
    radius = min(COARSE_RADIUS, images.box // 2 - 1)
    tested = significant_components(problem, count, radius, seed, report=context.progress)
    context.log.info(f"components: held-out z-scores {np.round(tested.z_score, 1).tolist()}")
    found = confirmed(found, tested.count)
    context.checkpoints.save("components", found.__dict__)
    return found


def confirmed(found: Components, count: int) -> Components:
    """The first `count` eigenvalues as they are; the others, which the other half did not confirm, next to zero.

    Half-sets that share latents agree on noise, and an eigenvalue fitted to noise would move particles along it.
    """
    kept = np.where(np.arange(len(found.eigenvalues)) < count, 1.0, UNCONFIRMED)
    return replace(found, eigenvalues=found.eigenvalues * kept, significant=np.array(count))


def last_step(problem: Problem, model: LinearModel, report: Report) -> Components:
    """One more M-step from the converged latents: of all images, and of each half-set alone in the same axes."""
    mask = problem.mask_at(model.radius)
    halves, second_moment = gradients(problem.sums(model, report), mask)
    free = half_set_steps(model.components, halves, second_moment, mask)
    prior, curves = half_set_prior(free, halves, second_moment)
    combined, own, axes = m_step(model.components, halves, second_moment, prior, mask)
    free = [np.tensordot(axes, half, 1) for half in free]
    curves = np.stack([fsc(a, b) for a, b in zip(*free, strict=True)])
    box, scale = len(problem.mask), problem.images.scale
    full = [volumes.resize_fourier(torch.as_tensor(v), box).numpy() * scale for v in (combined, *own)]
    norm = np.sqrt((full[0].astype(np.float64) ** 2).sum((1, 2, 3)))
    sign = np.sign([v.ravel()[np.abs(v).argmax()] for v in full[0]])
    unit = (sign / np.maximum(norm, 1e-30)).astype(np.float32)[:, None, None, None]
    power = cross_half_power(free[0], free[1], curves) * (scale**2 * mask.size / box**3)
    eigenvalues = np.where(power > 0, power, norm**2)
    curves = np.pad(curves, ((0, 0), (0, box // 2 - curves.shape[1])))
    return Components(full[0] * unit, eigenvalues, full[1] * unit, full[2] * unit, curves, np.array(0))
