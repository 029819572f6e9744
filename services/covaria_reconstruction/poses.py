"""`--refine-poses`: what the stage does before it fits components, and what it writes of it."""

from __future__ import annotations

import numpy as np

from covaria.errors import InvalidInput
from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.mean.model import MeanModel
from covaria.estimation.refinement.rounds import PoseRefinement, Refined
from covaria.imaging.images import Images
from covaria.opening import Roots
from covaria.particles.model import Particles
from covaria.particles.symmetry import copies_of
from covaria.request.model import Request
from covaria.running.steps import once
from covaria.selection.refined import Moves, PosedSource
from covaria.stage import Job
from covaria.tree import RefinedFiles


def posed_source(request: Request, particles: Particles, roots: Roots) -> PosedSource | None:
    """The file that refined poses will go back to, where they are asked for. Raises InvalidInput, MissingFile."""
    if not request.reconstruction.refine_poses:
        return None
    if particles.particle is not None:
        raise InvalidInput(
            "poses of a tilt series cannot be refined here: its images share one pose",
            file=particles.source,
            hint="leave --refine-poses out",
        )
    if request.ingest.helical_rise is not None:
        raise InvalidInput(
            "poses of a helix's segments cannot be refined here: its units turn about centres of their own",
            file=particles.source,
            hint="leave --refine-poses out",
        )
    return PosedSource.read(request.ingest, roots)


def refine_poses(
    problem: Problem, mean: MeanModel, own: tuple[np.ndarray, np.ndarray], copies: int, total: int
) -> Refined:
    """Of the problem's images; own: each half-set's components that count; `total` rows hold `copies` of each particle,
    one copy of all after another, which are moved alike."""
    same = problem.images.rows % (total // copies)
    refinement = PoseRefinement(problem.images, mean, own, same, problem.passes)
    context = problem.passes.context
    refined = once(context, "poses", Refined, refinement.refined)
    left = refined.left
    context.log.info(
        f"poses: {int(refined.rounds)} rounds count; left are {left.shift_pixels:.2g} pixels and "
        f"{np.rad2deg(left.rotation_rad):.2g} degrees"
    )
    return refined


def write_refined(
    source: PosedSource, job: Job, particles: Particles, images: Images, refined: Refined, files: RefinedFiles
) -> None:
    """The source with the refined poses of the particles in use; symmetry copies moved alike, so one tells."""
    whole = len(particles) // copies_of(job.request.ingest)
    first = images.rows < whole
    moved = refined.moved[first]
    pixel = particles.pixel_size_angstrom
    moves = Moves(images.rows[first], moved[:, 2:], moved[:, :2] * pixel)
    source.write(moves, particles.box * pixel, files)
