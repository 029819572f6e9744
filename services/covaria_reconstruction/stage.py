"""The reconstruction service's stage: from particles to the mean map, principal components and latent coordinates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from covaria import particles as particle_files
from covaria.errors import InvalidInput
from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.growth.memory import Kept
from covaria.estimation.latents.embedding import Embedding, ImageRows, embed, embedding_rows
from covaria.estimation.linear_model import LinearModel
from covaria.estimation.mean.model import MeanModel, estimate_mean_model
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.estimation.refinement.rounds import Refined
from covaria.estimation.sensitivity.survey import Sensitivity, sensitivity
from covaria.imaging.greys import Greys
from covaria.imaging.images import Images, read_images
from covaria.maps.correlation import resolution_at
from covaria.maps.masks import load_focus_mask, refuse_elsewhere
from covaria.particles import Particles
from covaria.particles.halves import LEAST_IMAGES
from covaria.particles.identity import read_rows
from covaria.particles.symmetry import copies_of
from covaria.request.model import ReconstructionOptions, Request
from covaria.results.foreseen import write_foreseen
from covaria.running.again import Again
from covaria.running.console import TOLD
from covaria.running.passes import Pass
from covaria.running.room import require_room_for
from covaria.running.steps import once
from covaria.selection.refined import PosedSource
from covaria.stage import Context, Job
from covaria.tree import Tree, record
from covaria_reconstruction.components import Components
from covaria_reconstruction.early import forget_early, show_early
from covaria_reconstruction.findings import findings_of
from covaria_reconstruction.fitting import find_components, problem_of, test_radius, tested_components
from covaria_reconstruction.growth import (
    Grown,
    Start,
    grown,
    growth_of,
    in_their_places,
    kept_of,
    start_of,
    told,
    why_afresh,
)
from covaria_reconstruction.parts import parts_of
from covaria_reconstruction.places import write_places
from covaria_reconstruction.poses import posed_source, refine_poses
from covaria_reconstruction.remember import remember, remember_update
from covaria_reconstruction.results import write_results

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
    kept = kept_of(request, context.roots)
    found = found_in(particles, source, kept, request, context)
    images, components = found.images, found.components
    mean, rows, embeddings = embedded(found, options)
    if request.ingest.growing and components is not None:
        remember_version(tree, request, kept, found, context)
    if context.ranks.first:
        context.progress("results", 0, 1, "files")
        parts, refined, seen = parts_of(options, images, context.roots), found.refined, found.seen
        write_results(tree, job, particles, images, mean, components, embeddings, rows, refined, source, seen, parts)
        forget_early(tree)
        said = findings_of(particles, images, mean, components, refined, seen, parts)
        growth = None if not request.ingest.growing else growth_of(kept, found.update, found.why)
        record.write_findings(tree, "reconstruction", said if growth is None else said.grown(growth))
        write_places(tree, particles)
        write_foreseen(tree)


@dataclass(frozen=True)
class Found:
    """The model of these images; update: of a growing set, what was only gone on with; why: or why not."""

    images: Images
    mean: MeanModel
    components: Components | None
    passes: Pass
    refined: Refined | None = None
    seen: Sensitivity | None = None
    update: Grown | None = None
    why: str = ""


def found_in(
    particles: Particles, source: PosedSource | None, kept: Kept | None, request: Request, context: Context
) -> Found:
    """The model of the particles, gone on with from what the version before kept where that will do."""
    images = images_of(particles, context, None if kept is None else kept.memory.greys)
    start = None if kept is None else start_of(request, kept, particles, images, context.roots)
    found = updated(images, start, request, context)
    if isinstance(found, str):
        return fitted_afresh(images, particles, source, kept, request, context, why=found)
    return found


def embedded(
    found: Found, options: ReconstructionOptions
) -> tuple[MeanModel, ImageRows | None, dict[int, Embedding] | None]:
    """The mean model with its images judged by the components, and every image's coordinates."""
    mean, components = found.mean, found.components
    if components is None:
        return mean, None, None
    mean = judged_anew(mean, components)
    rows = embedding_rows_of(found.images, mean, components, found.passes)
    spread, weight = float(mean.contrast_sd), mean.noise.weight
    zdims = sorted(set(options.zdim))
    return mean, rows, {q: embed(rows.statistics, components.eigenvalues, q, spread, weight) for q in zdims}


def images_of(particles: Particles, context: Context, greys: Greys | None) -> Images:
    """Every used image. Raises InvalidInput where they are too few or say nothing."""
    images = read_images(
        particles,
        device=context.device,
        memory_bytes=context.memory_bytes,
        rank=context.ranks.rank,
        ranks=context.ranks.size,
        progress=lambda done, total: context.progress("reading images", done, total),
        greys=greys,
    )
    if np.bincount(images.half, minlength=2).min() < LEAST_IMAGES:
        raise InvalidInput(
            f"half-sets of {np.bincount(images.half, minlength=2).tolist()} images; each needs at least {LEAST_IMAGES}",
            file=particles.source,
            hint="give more particles (see --ind, --n-images and --halfsets)",
        )
    refuse_no_images(images, particles.source)
    return images


def updated(images: Images, start: Start | None, request: Request, context: Context) -> Found | str:
    """What the version before comes to with the new images; why not where it will not do, "" where there is none."""
    if start is None:
        return ""
    passes = Pass(Again(context, "update-"))
    signed = images.signed(float(start.kept.mean.data_sign))
    signed = replace(signed, defocus_errors=request.reconstruction.defocus_errors)
    found: Grown | str = why_afresh(start, signed, request) or grown(start, signed, request, passes)
    told(passes, found)
    if isinstance(found, str):
        return found
    seen = surveyed(problem_of(signed, found.mean, passes), found.mean, request, passes)
    return Found(signed, found.mean, found.components, passes, seen=seen, update=found)


def fitted_afresh(
    images: Images,
    particles: Particles,
    source: PosedSource | None,
    kept: Kept | None,
    request: Request,
    context: Context,
    *,
    why: str = "",
) -> Found:
    """Everything from the beginning."""
    options, passes = request.reconstruction, Pass(context)
    mean, images = settled_mean(images, options, passes)
    show_early(Tree(request.out, context.pen), images, mean, context)
    refined: Refined | None = None
    if source is not None:
        refined = refined_poses(images, mean, request, len(particles), passes)
        if refined.rounds:
            passes = Pass(Again(context, "refined-"))
            mean, images = settled_mean(refined.images(images), options, passes)
    found = Found(images, mean, None, passes, refined, why=why)
    if options.only_mean:
        return found
    count = components_asked(request)
    problem = problem_of(images, mean, passes)
    make = partial(find_components, problem, count, request.seed)
    components = once(passes.context, "components", Components, make)
    context.log.info(f"components: {components.confirmed} confirmed of {count}", extra=TOLD)
    seen = surveyed(problem, mean, request, passes)
    return replace(found, components=in_their_places(components, kept), seen=seen)


def surveyed(problem: Problem, mean: MeanModel, request: Request, passes: Pass) -> Sensitivity | None:
    """Which motions would have been seen, where that is asked for."""
    images = problem.images
    if not request.reconstruction.sensitivity:
        return None
    survey = partial(sensitivity, problem, mean.mask, images.pixel_size_angstrom, test_radius(images.box))
    return once(passes.context, "sensitivity", Sensitivity, survey)


def remember_version(tree: Tree, request: Request, kept: Kept | None, found: Found, context: Context) -> None:
    """What the next version of a growing set goes on from."""
    assert found.components is not None
    version = int(read_rows(tree.growth_rows, context.roots).version)
    context.progress("sums for the next version", 0, 1, "files")
    if found.update is not None and kept is not None:
        remember_update(tree, request, found.images, kept, found.update, version, found.passes)
    else:
        remember(tree, request, found.images, found.mean, found.components, version, found.passes)


def settled_mean(images: Images, options: ReconstructionOptions, passes: Pass) -> tuple[MeanModel, Images]:
    """All that is settled before components, and the images with their particles made bright."""
    context = passes.context
    images = replace(images, defocus_errors=options.defocus_errors)
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
