"""The reconstruction service's stage: from particles to the mean map, principal components and latent coordinates."""

from __future__ import annotations

from dataclasses import astuple, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from covaria import particles as particle_files
from covaria.errors import InvalidInput
from covaria.estimation.components.confirmation import Significance, significant_components
from covaria.estimation.components.expectation_maximisation import Problem, Step, fit_components
from covaria.estimation.latents.embedding import Embedding, ImageRows, embed, embedding_rows
from covaria.estimation.linear_model import LinearModel
from covaria.estimation.mean.model import MeanModel, estimate_mean_model
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.estimation.refinement.rounds import Refined
from covaria.estimation.reliability.bands import BandNoise
from covaria.estimation.reliability.residuals import noise_of_residuals
from covaria.estimation.sensitivity.survey import Sensitivity, sensitivity
from covaria.imaging import volumes
from covaria.imaging.images import Images, read_images
from covaria.maps.correlation import resolution_at
from covaria.maps.masks import load_focus_mask, refuse_elsewhere
from covaria.particles.halves import LEAST_IMAGES
from covaria.particles.symmetry import copies_of
from covaria.request.model import ReconstructionOptions, Request
from covaria.running.again import Again
from covaria.running.console import TOLD
from covaria.running.passes import Pass
from covaria.running.room import require_room_for
from covaria.running.steps import once
from covaria.stage import Context, Job
from covaria.tree import Tree, record
from covaria_reconstruction.components import Components
from covaria_reconstruction.findings import findings_of
from covaria_reconstruction.parts import parts_of
from covaria_reconstruction.poses import posed_source, refine_poses
from covaria_reconstruction.results import write_results

COARSE_RADIUS = 16
"""Up to which the half-sets are compared as independent fits."""
UNCONFIRMED = 1e-3
FLAT = 1e-12
"""Power of the outermost band over that of the innermost: what rounding leaves of a constant image."""

USED_LATE = ("scipy.ndimage", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg")
"""What is imported on use: a worker imports it before the first job comes."""


def run(job: Job, context: Context) -> None:
    """Read OUT/.covaria/particles.npz, write OUT/model and OUT/output.

    Raises InvalidInput where the particles cannot be reconstructed (too few images in a half-set).
    """
    request, tree = job.request, Tree(job.request.out, context.pen)
    options = request.reconstruction
    particles = particle_files.load(tree.particles, context.roots)
    source = posed_source(request, particles, context.roots)
    require_room_for("reconstruction", request, total=len(particles), box=particles.box)
    images = read_images(
        particles,
        device=context.device,
        memory_bytes=context.memory_bytes,
        rank=context.ranks.rank,
        ranks=context.ranks.size,
        progress=lambda done, total: context.progress("reading images", done, total),
    )
    if np.bincount(images.half, minlength=2).min() < LEAST_IMAGES:
        raise InvalidInput(
            f"half-sets of {np.bincount(images.half, minlength=2).tolist()} images; each needs at least {LEAST_IMAGES}",
            file=particles.source,
            hint="give more particles (see --ind, --n-images and --halfsets)",
        )
    refuse_no_images(images, particles.source)
    passes = Pass(context)
    mean, images = settled_mean(images, options, passes)
    refined: Refined | None = None
    if source is not None:
        refined = refined_poses(images, mean, request, len(particles), passes)
        if refined.rounds:
            passes = Pass(Again(context, "refined-"))
            mean, images = settled_mean(refined.images(images), options, passes)
    components: Components | None = None
    embeddings: dict[int, Embedding] | None = None
    rows: ImageRows | None = None
    seen: Sensitivity | None = None
    if not options.only_mean:
        count = components_asked(request)
        problem = problem_of(images, mean, passes)
        make = partial(find_components, problem, count, request.seed)
        components = once(passes.context, "components", Components, make)
        context.log.info(f"components: {components.confirmed} confirmed of {count}", extra=TOLD)
        if options.sensitivity:
            survey = partial(sensitivity, problem, mean.mask, images.pixel_size_angstrom, test_radius(images.box))
            seen = once(passes.context, "sensitivity", Sensitivity, survey)
        mean = judged_anew(mean, components)
        rows = embedding_rows_of(images, mean, components, passes)
        spread, weight = float(mean.contrast_sd), mean.noise.weight
        embeddings = {
            q: embed(rows.statistics, components.eigenvalues, q, spread, weight) for q in sorted(set(options.zdim))
        }
    if context.ranks.first:
        context.progress("results", 0, 1, "files")
        parts = parts_of(options, images, context.roots)
        write_results(tree, job, particles, images, mean, components, embeddings, rows, refined, source, seen, parts)
        found = findings_of(particles, images, mean, components, refined, seen, parts)
        record.write_findings(tree, "reconstruction", found)


def settled_mean(images: Images, options: ReconstructionOptions, passes: Pass) -> tuple[MeanModel, Images]:
    """All that is settled before components, and the images with their particles made bright."""
    context = passes.context
    mean = once(context, "mean", MeanModel, partial(estimate_mean_model, images, options, passes))
    for path in options.focus_files:
        part = load_focus_mask(path, images.box, images.pixel_size_angstrom, context.roots)
        refuse_elsewhere(part, mean.dilated_mask, path)
    images = images.signed(float(mean.data_sign))
    context.log.info(
        f"mean map: data sign {int(images.sign):+d}, contrast spread {float(mean.contrast_sd):.3f}, "
        f"mask {100 * float((mean.mask > 0.5).mean()):.1f} % of the box, "
        f"{resolution_at(mean.fsc, images.pixel_size_angstrom):.1f} angstrom",
        extra=TOLD,
    )
    return mean, images


def refined_poses(images: Images, mean: MeanModel, request: Request, total: int, passes: Pass) -> Refined:
    """`--refine-poses`, with the components that each half-set finds and the other confirms as part of the model."""
    problem, own = problem_of(images, mean, passes), (np.zeros((0, *mean.mask.shape), np.float32),) * 2
    if not request.reconstruction.only_mean:
        own = tested_components(problem, components_asked(request), request.seed).own
    return refine_poses(problem, mean, own, copies_of(request.ingest), total)


def components_asked(request: Request) -> int:
    """How many components are looked for."""
    return max(4, *request.reconstruction.zdim)


def test_radius(box: int) -> int:
    """The shell up to which the half-sets are compared."""
    return min(COARSE_RADIUS, box // 2 - 1)


def refuse_no_images(images: Images, source: Path) -> None:
    """Raises InvalidInput where the images say nothing: constant, or copies of one another."""
    power = images.power[images.mine]
    if not np.isfinite(power).all():
        row = int(images.rows[images.mine[np.flatnonzero(~np.isfinite(power).all(1))[0]]])
        raise InvalidInput("holds pixels that are not finite numbers", file=source, row=row + 1, hint="leave it out")
    flat = int((power[:, -1] <= FLAT * power[:, 0]).sum())
    if 2 * flat > len(power):
        raise InvalidInput(
            f"{flat:,} of {len(power):,} images are constant", file=source, hint="look at the stack that it names"
        )
    kinds = np.round(np.log(np.maximum(power, 1e-30)), 4)
    one_of_each = np.unique(np.column_stack([images.units[images.mine], kinds]), axis=0)[:, 1:]
    copies = len(one_of_each) - len(np.unique(one_of_each, axis=0))
    if 2 * copies > len(power):
        raise InvalidInput(
            f"{copies:,} of {len(power):,} images are copies of others",
            file=source,
            hint="look at the image numbers: half-sets of copies agree on noise",
        )


def judged_anew(mean: MeanModel, components: Components) -> MeanModel:
    """The images' noise from what the confirmed components leave of them, where there are some."""
    if not len(components.level):
        return mean
    return replace(mean, level=components.level, outlier=components.outlier, band_noise=components.band_noise)


def embedding_rows_of(images: Images, mean: MeanModel, components: Components, passes: Pass) -> ImageRows:
    """The embedding's pass: the model is that of all images, pose errors are part of the noise."""
    pose = PoseSpread(*components.pose_spread.tolist())
    spread = float(mean.contrast_sd)
    model = LinearModel(mean.residual_mean * images.scale, components.eigenvolumes, 1.0, spread, pose)
    return embedding_rows(images, mean.noise, model, components.eigenvalues, mean.contrasts, passes)


def problem_of(images: Images, mean: MeanModel, passes: Pass) -> Problem:
    """What the components are fitted to: the residuals of the mean, inside the mask of the components."""
    spread, pose = float(mean.contrast_sd), PoseSpread(*mean.pose_spread.tolist())
    return Problem(images, passes, mean.noise, mean.residual_mean, mean.component_mask, spread, images.half, pose)


def find_components(problem: Problem, count: int, seed: int) -> Components:
    """`count` components on the full box: those that both half-sets confirm, refined, and a coarse fit of the rest.

    Before they are refined, images are judged anew by what the confirmed components leave of them.
    """
    radius = test_radius(problem.images.box)
    tested = tested_components(problem, count, seed)
    problem.log(f"components: held-out z-scores {np.round(tested.z_score, 1).tolist()}")
    coarse = "components.coarse"
    step = fit_components(problem, count, start=tested.model, limit=radius, last_steps=0, name=coarse)
    found = full_size(problem, step)
    if not tested.count:
        return confirmed(found, tested)
    full = replace(
        problem.model(problem.images.box // 2 - 1, tested.confirmed.components), pose_spread=step.model.pose_spread
    )
    make = partial(noise_of_residuals, problem.images, problem.noise, full, problem.passes)
    own = once(problem.passes.context, "components.own-noise", BandNoise, make)
    problem = replace(problem, noise=replace(problem.noise, bands=own.noise))
    step = fit_components(problem, tested.count, start=tested.confirmed, name="components.fine")
    found = joined(full_size(problem, step), found)
    return replace(confirmed(found, tested), level=own.level, outlier=own.probability, band_noise=own.noise)


def tested_components(problem: Problem, count: int, seed: int) -> Significance:
    """Each half-set's own, up to a coarse radius, as the other half-set confirms them."""
    return significant_components(problem, count, test_radius(problem.images.box), seed)


def confirmed(found: Components, tested: Significance) -> Components:
    """The eigenvalues of the components that count as they are; those that the other half did not confirm next to zero.

    Half-sets that share latents agree on noise, and an eigenvalue fitted to noise would move particles along it.
    """
    kept = np.where(np.arange(len(found.eigenvalues)) < tested.count, 1.0, UNCONFIRMED)
    scores = np.sort(tested.z_score, axis=1)[:, ::-1].min(0)
    return replace(found, eigenvalues=found.eigenvalues * kept, confirmed=np.array(tested.count), z_score=scores)


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
    pose = np.array(astuple(step.model.pose_spread or PoseSpread(0.0, 0.0)))
    nothing = np.array(0), np.zeros(len(eigenvalues))
    return Components(both * unit, eigenvalues, first * unit, second * unit, curves, *nothing, pose)


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
        confirmed.confirmed,
        coarse.z_score,
        confirmed.pose_spread,
    )
