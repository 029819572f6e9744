"""A finished run seen at the box of its original particles: latents stay, mean, noise and components are found anew.

The run knows its source; another file may name the same particles at a larger box. Poses and CTF are those of the file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from covaria.errors import InvalidInput
from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.linear_model import LinearModel
from covaria.estimation.mean.model import MeanModel, estimate_mean_model
from covaria.estimation.pose_errors.columns import COUNT as POSE_ERRORS
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.estimation.states.extend import densities_at, extend_components, extension_bytes
from covaria.estimation.states.model import HalfSetModels
from covaria.imaging.images import Images, read_images
from covaria.particles.assemble import assemble
from covaria.particles.expansion import expanded
from covaria.particles.model import Particles
from covaria.particles.read import read_metadata
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.results.model import read_half_models
from covaria.results.particle_table import has_refined_poses
from covaria.running.passes import Pass
from covaria.selection.handoff import source_of
from covaria.stage import Context
from covaria.states.run import Known, Run, read_known
from covaria.tree import Tree, record

OTHER_POSE_DEG = 10.0
SAME_EXTENT = 0.01
GIVE_ANOTHER = "give the file of the same particles, all rows in the same order, with --particles"


def original_particles(tree: Tree, named: Path | None = None, datadir: Path | None = None) -> Particles:
    """The particles of OUT before they were made smaller: from OUT's own source, unchanged since, or the file `named`.

    Raises InvalidInput, MissingFile: a source that moved or changed, other rows, a box that is no larger.
    """
    if named is None:
        ingest = source_of(tree, option="--particles")
    else:
        ingest = _asked(tree).ingest.model_copy(update={"particles": named})
    changes: dict[str, object] = {"downsample": None} | ({} if datadir is None else {"datadir": datadir})
    ingest = IngestOptions.model_validate(ingest.model_dump() | changes)
    described = read_metadata(ingest)
    return expanded(assemble(described, ingest), ingest)


def refuse_others(original: Particles, small: Particles) -> None:
    """Raise InvalidInput where `original` are not the particles of the run, `small`, at a larger box."""
    file = original.source
    if len(original) != len(small):
        raise InvalidInput(f"holds {len(original)} rows, the run {len(small)}", file=file, hint=GIVE_ANOTHER)
    if original.box <= small.box:
        raise InvalidInput(
            f"images of {original.box} pixels: the run's have {small.box}", file=file,
            hint="leave --full-box and --particles out: these states are at the largest box there is",
        )  # fmt: skip
    even = original.box - original.box % 2
    if original.box != even:
        raise InvalidInput(
            f"images of {original.box} pixels: an even box is needed", file=file,
            hint=f"`covaria downsample {file} -D {even} -o DIR`, and give its particles with --particles",
        )  # fmt: skip
    extents = [particles.box * particles.pixel_size_angstrom for particles in (original, small)]
    if abs(extents[0] / extents[1] - 1) > SAME_EXTENT:
        raise InvalidInput(
            f"images of {extents[0]:.1f} A, the run's of {extents[1]:.1f} A", file=file,
            hint="give images that show the same field at smaller pixels",
        )  # fmt: skip
    rows = small.rows
    traces = np.einsum("nij,nij->n", original.rotations[rows], small.rotations[rows])
    degrees = np.rad2deg(np.arccos(np.clip((traces - 1) / 2, -1, 1)))
    others = int((degrees > OTHER_POSE_DEG).sum())
    if 2 * others > len(rows):
        row = int(rows[np.argmax(degrees > OTHER_POSE_DEG)])
        raise InvalidInput(
            f"{others:,} of {len(rows):,} particles have another pose than in the run", file=file, row=row + 1,
            hint=GIVE_ANOTHER,
        )  # fmt: skip


def load_full_run(tree: Tree, zdim: int, original: Particles, context: Context) -> Run:
    """OUT's model at `zdim` on the images of `original`: what `load_run` gives, at the larger box.

    Raises MissingFile and InvalidInput where OUT is not a finished reconstruction, or the memory does not suffice.
    """
    known = read_known(tree, zdim, context)
    refuse_others(original, known.particles)
    confirmed = min(zdim, known.parameters.significant_components)
    _require_memory(original.box, zdim, confirmed, context)
    usable = original.used & known.used
    if (lost := int(known.used.sum() - usable.sum())) > 0:
        context.log.warning("%d particles of the run are left out: their original images cannot be used", lost)
    if has_refined_poses(tree):
        shifts = known.particles.translations * (original.box / known.particles.box)
        original = replace(original, rotations=known.particles.rotations, translations=shifts)
    images = read_images(
        replace(original, half_set=known.half_set, used=usable),
        device=context.device,
        memory_bytes=context.memory_bytes,
        rank=context.ranks.rank,
        ranks=context.ranks.size,
        progress=lambda done, total: context.progress("reading images", done, total),
    )
    alike = _as_in_the_run(tree, known)
    images = replace(images, defocus_errors=alike.defocus_errors)
    mean = estimate_mean_model(images, alike, Pass(context))
    images = images.signed(float(mean.data_sign))
    context.log.info("box %d, pixel size %.4g A: mean and noise measured anew", images.box, images.pixel_size_angstrom)
    halves = _half_models(tree, zdim, confirmed, known, images, mean, context)
    model = HalfSetModels(halves, known.latents.take(images.rows), mean.noise, mean.dilated_mask)
    return Run(images, model, len(original), confirmed)


def _half_models(
    tree: Tree, zdim: int, confirmed: int, known: Known, images: Images, mean: MeanModel, context: Context
) -> tuple[LinearModel, LinearModel]:
    """Each half-set's mean and components at the large box; those that are not confirmed stay as they are."""
    small = read_half_models(tree, zdim, known.particles.box)
    own = np.stack([densities_at(half.components, images.box) for half in small])
    if confirmed:
        pose = PoseSpread(*mean.pose_spread.tolist())
        problem = Problem(
            images, Pass(context), mean.noise, mean.residual_mean, mean.component_mask, float(mean.contrast_sd),
            images.half, pose, mean.weights,
        )  # fmt: skip
        deviations = np.sqrt(np.asarray(known.parameters.s[:confirmed], np.float64))
        own[:, :confirmed] = extend_components(problem, own[:, :confirmed].mean(0), deviations).halves
    means = mean.regularised_halves * mean.dilated_mask * images.scale
    first, second = (LinearModel(means[half], own[half], 1.0) for half in (0, 1))
    return first, second


def _as_in_the_run(tree: Tree, known: Known) -> ReconstructionOptions:
    """How the mean is found: inside OUT's own mask, with its sign."""
    asked = _asked(tree).reconstruction
    changes = {"mask": tree.mask, "mask_dilate_iter": 0, "focus_mask": None, "focus_parts": ()}
    return asked.model_copy(update=changes | {"uninvert_data": known.parameters.uninvert_data})


def _asked(tree: Tree) -> Request:
    found = record.read_request(tree)
    if found is None:
        raise InvalidInput("is not an output directory of Covaria", file=tree.out, hint="give the OUT of a run")
    return Request.model_validate(found["request"], extra="ignore")


def _require_memory(box: int, zdim: int, confirmed: int, context: Context) -> None:
    """Raise InvalidInput where the model at this box has no room; images go to a scratch file where they have none."""
    needed = extension_bytes(box, confirmed, POSE_ERRORS) + 8 * zdim * box**3 * 4
    if context.device == "cpu" and needed > context.memory_bytes:
        raise InvalidInput(
            f"states of {box} voxels with {confirmed} components need about {needed / 1e9:.1f} GB, "
            f"{context.memory_bytes / 1e9:.1f} are allowed",
            hint=f"--memory-gb {np.ceil(1.1 * needed / 1e9):g}, a smaller --zdim, or particles of a smaller box "
            "(`covaria downsample`) with --particles",
        )
