"""Latents that came from elsewhere: what the images say of them, each half-set on its own.

Components are regressed on the latents in each half-set. A coordinate is confirmed where the components of one half, at
the latents of the other, raise the other's likelihood (its slope at zero, z > 4), both ways round. Latents that were
fitted to their own images' noise raise it a little by that: what is confirmed is that they say something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.components.latent_regression import regress_halves
from covaria.estimation.latents.embedding import embed, embedding_statistics
from covaria.estimation.latents.model import Latents
from covaria.estimation.latents.posterior import ImageStatistics
from covaria.estimation.linear_model import LinearModel
from covaria.imaging.volumes import padded_shape
from covaria.maps import fsc

if TYPE_CHECKING:
    from jaxtyping import Float

CONFIRMED_Z = 4.0


@dataclass(frozen=True)
class Given:
    """What is known of K coordinates, confirmed ones first.

    order       (K,) which column of the given latents each is
    latents     of the N images: the coordinates less `centre`, their precision, contrasts
    centre, variance (K,)
    halves      (2, K, D, D, D) density for each unit of a coordinate, of each half-set
    fsc         (K, D // 2) between them before they were shrunk;  z_score (K,) the smaller of both directions
    confirmed   how many
    """

    order: np.ndarray
    latents: Latents
    centre: np.ndarray
    variance: np.ndarray
    halves: np.ndarray
    fsc: np.ndarray
    z_score: np.ndarray
    confirmed: int


def judge(problem: Problem, coordinates: Float[np.ndarray, "n k"], contrasts: Float[np.ndarray, " n"]) -> Given:
    """Of the images of `problem`, at their contrasts."""
    centre, spread = coordinates.mean(0), coordinates.std(0)
    unit = ((coordinates - centre) / spread).astype(np.float32)
    own, halves = regress_halves(problem, unit, contrasts)
    scores = np.stack([_held_out(problem, own[1 - half], half, unit, contrasts) for half in (0, 1)]).min(0)
    order = np.argsort(scores <= CONFIRMED_Z, kind="stable")
    scores, own, halves, centre, spread = scores[order], own[:, order], halves[:, order], centre[order], spread[order]
    densities = halves * (np.float32(problem.images.scale) / spread.astype(np.float32)[:, None, None, None])
    stats = _statistics(problem, densities.mean(0), 1.0, spread**2)
    found = embed(stats, spread**2, len(order), problem.contrast_sd, problem.noise.weight)
    # With the prior's own precision it is never singular, whatever a coordinate says of the images.
    precision = found.unregularised.precision + np.diag(1 / spread**2).astype(np.float32)
    latents = Latents((coordinates[:, order] - centre).astype(np.float32), precision, found.regularised.contrasts)
    curves = np.stack([fsc(first, second) for first, second in zip(*own, strict=True)])
    confirmed = int((scores > CONFIRMED_Z).sum())
    return Given(order, latents, centre, spread**2, densities, curves, scores, confirmed)


def regression_bytes(box: int, count: int) -> int:
    """What the sums of both half-sets, and one completed, need beside the images."""
    channels = 2 * count + count * (count + 1) // 2
    return 3 * 4 * int(np.prod(padded_shape(box // 2 - 1, channels)))


def _held_out(
    problem: Problem, components: np.ndarray, half: int, unit: np.ndarray, contrasts: np.ndarray
) -> np.ndarray:
    """z-score of the slope of one half-set's likelihood along each component of the other, from nothing on.

    Components that are independent of these images: of latents that say nothing the slope is 0 on average.
    """
    mine = problem.images.half == half
    stats = _statistics(problem, components, problem.images.scale, np.ones(len(components)))
    gram, overlap = stats.gram[mine].double().numpy(), stats.overlap[mine].double().numpy()
    weight = problem.noise.weight[mine] if len(problem.noise.weight) else np.ones(int(mine.sum()))
    c, z = contrasts[mine, None].astype(float), unit[mine].astype(float)
    of_rows = weight[:, None] * c * z * (overlap[:, 1:] - c * gram[:, 1:, 0])
    units = np.unique(problem.images.units[mine], return_inverse=True)[1]
    slope = np.stack([np.bincount(units, column) for column in of_rows.T], 1)
    result: np.ndarray = slope.mean(0) / np.maximum(slope.std(0) / np.sqrt(len(slope)), 1e-30)
    return result


def _statistics(problem: Problem, components: np.ndarray, grey_level: float, variance: np.ndarray) -> ImageStatistics:
    scale = problem.images.scale
    mean = problem.mean * np.float32(scale / grey_level)
    model = LinearModel(mean, components, grey_level, problem.contrast_sd)
    return embedding_statistics(problem.images, problem.noise, model, problem.passes, variance)
