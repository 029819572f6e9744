"""The reconstruction service's stage: from particles to the mean map, principal components and latent coordinates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from covaria import particles as particle_files
from covaria.errors import InvalidInput
from covaria.estimation.components.confirmation import significant_components
from covaria.estimation.components.expectation_maximisation import Problem, Step, fit_components
from covaria.estimation.latents.embedding import Embedding, embed, embedding_statistics
from covaria.estimation.mean.model import MeanModel, estimate_mean_model
from covaria.imaging import volumes
from covaria.imaging.images import Images
from covaria.running.ranks import Ranks
from covaria.stage import Context, Job
from covaria.tree import Tree
from covaria_reconstruction.results import Components, write_results

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
    radius = min(COARSE_RADIUS, images.box // 2 - 1)
    tested = significant_components(problem, count, radius, seed, report=context.progress)
    context.log.info(f"components: held-out z-scores {np.round(tested.z_score, 1).tolist()}")
    report, log = context.progress, context.log.info
    step = fit_components(problem, count, start=tested.model, limit=radius, last_steps=0, report=report, log=log)
    found = full_size(problem, step)
    if tested.count:
        step = fit_components(problem, tested.count, start=tested.confirmed, report=report, log=log)
        found = joined(full_size(problem, step), found)
    found = confirmed(found, tested.count)
    context.checkpoints.save("components", found.__dict__)
    return found


def confirmed(found: Components, count: int) -> Components:
    """The first `count` eigenvalues as they are; the others, which the other half did not confirm, next to zero.

    Half-sets that share latents agree on noise, and an eigenvalue fitted to noise would move particles along it.
    """
    kept = np.where(np.arange(len(found.eigenvalues)) < count, 1.0, UNCONFIRMED)
    return replace(found, eigenvalues=found.eigenvalues * kept, significant=np.array(count))


def full_size(problem: Problem, step: Step) -> Components:
    """The components of a step on the full box, in density units, as eigenvolumes and eigenvalues; none confirmed."""
    box, scale, found = len(problem.mask), problem.images.scale, step.found
    both, first, second = (
        volumes.resize_fourier(torch.as_tensor(v), box).numpy() * scale for v in (found.components, *found.halves)
    )
    norm = np.sqrt((both.astype(np.float64) ** 2).sum((1, 2, 3)))
    sign = np.sign([v.ravel()[np.abs(v).argmax()] for v in both])
    unit = (sign / np.maximum(norm, 1e-30)).astype(np.float32)[:, None, None, None]
    eigenvalues = found.power * scale**2 * (found.components.shape[-1] / box) ** 3
    curves = np.pad(found.fsc, ((0, 0), (0, box // 2 - found.fsc.shape[1])))
    return Components(both * unit, eigenvalues, first * unit, second * unit, curves, np.array(0))


def joined(confirmed: Components, coarse: Components) -> Components:
    """The confirmed components, and what a coarser fit of more of them holds besides: as many together as that fit."""
    count, total = len(confirmed.eigenvalues), len(coarse.eigenvalues)
    if count == total:
        return confirmed
    overlap = np.einsum("kzyx,lzyx->kl", coarse.eigenvolumes, confirmed.eigenvolumes, optimize=True)
    eigenvolumes, half1, half2 = (
        one - np.einsum("kl,lzyx->kzyx", overlap, known, optimize=True)
        for one, known in (
            (coarse.eigenvolumes, confirmed.eigenvolumes),
            (coarse.half1, confirmed.half1),
            (coarse.half2, confirmed.half2),
        )
    )
    flat = eigenvolumes.reshape(total, -1) * np.sqrt(coarse.eigenvalues)[:, None]
    values, vectors = np.linalg.eigh(flat @ flat.T)
    values, vectors = values[::-1][: total - count], vectors[:, ::-1][:, : total - count]
    turn = (vectors * np.sqrt(coarse.eigenvalues)[:, None] / np.sqrt(values)).T
    rest = (np.einsum("kl,lzyx->kzyx", turn, one, optimize=True) for one in (eigenvolumes, half1, half2))
    return Components(
        np.concatenate([confirmed.eigenvolumes, next(rest)]).astype(np.float32),
        np.concatenate([confirmed.eigenvalues, values]),
        np.concatenate([confirmed.half1, next(rest)]).astype(np.float32),
        np.concatenate([confirmed.half2, next(rest)]).astype(np.float32),
        np.concatenate([confirmed.fsc, vectors.T**2 @ coarse.fsc]),
        confirmed.significant,
    )
