"""What the half-sets' models of a finished run say of its images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.estimation.reliability.evidence import evidence_of
from covaria.results.latents import RECONSTRUCT_FIRST
from covaria.results.parameters import read_parameters
from covaria.running.passes import Pass
from covaria.stage import Context
from covaria.states.run import load_run
from covaria.tree import Tree


@dataclass(frozen=True)
class HalfSetsSay:
    """In the run's row order, NaN (half -1) where a row is not used: own and other half-set's evidence, P(junk)."""

    half: NDArray[np.int64]
    own: NDArray[np.float64]
    other: NDArray[np.float64]
    junk: NDArray[np.float64]
    share: float


def half_sets_say(tree: Tree, context: Context) -> HalfSetsSay:
    """One pass over OUT's images under both models of the confirmed components. Raises MissingFile, InvalidInput."""
    stored = tree.zdims()
    if not stored:
        raise InvalidInput("has no latent coordinates", file=tree.out, hint=RECONSTRUCT_FIRST)
    parameters = read_parameters(tree)
    confirmed = min(parameters.significant_components, stored[-1])
    run = load_run(tree, next(zdim for zdim in stored if zdim >= confirmed), context)
    first, second = (
        replace(half, components=half.components[:confirmed], contrast_sd=parameters.contrast_sd)
        for half in run.model.halves
    )
    eigenvalues = np.asarray(parameters.s, np.float64)[:confirmed]
    found = evidence_of(run.images, run.model.noise, (first, second), eigenvalues, Pass(context))
    half = np.full(run.total, -1, np.int64)
    half[run.images.rows] = run.images.half
    own, other, junk = (np.full(run.total, np.nan) for _ in range(3))
    for target, values in ((own, found.own), (other, found.other), (junk, found.junk)):
        target[run.images.rows] = values
    return HalfSetsSay(half, own, other, junk, found.share)
