"""Two sets of particles in one run's coordinates: do they populate its states alike, and who lies where none did?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria import particles as particle_files
from covaria.errors import InvalidInput, MissingFile
from covaria.estimation.populations.intervals import Populations, populations, units_of
from covaria.results.confirmed import free_estimates, free_in_deviations, load_latents
from covaria.results.model import read_half_sets
from covaria.stage import Context
from covaria.states.newcomers import Newcomers
from covaria.tree import AnalysisTree, Tree
from covaria.tree.artifacts import read_kmeans

HALF_WIDTH = 1.645
"""Standard deviations of a 90 % interval's end."""
NEIGHBOURS = 5
ALONE = 0.99
"""Quantile of the run's own particles' distances to their neighbours beyond which a particle lies alone."""
STRANGE = 3.0
"""Times the expected share of lone particles from which there is something that the run does not have."""
UNLIKELY = 1e-3
MOST = 20_000


@dataclass(frozen=True)
class Comparison:
    """run, new: populations at the same centres; p (C,) of their difference by chance, corrected for C tests.

    points_run, points_new  (n, confirmed) coordinates in standard deviations of the run's motion
    alone       (N,) rows of the new file that lie where no particle of the run does;  alone_p  of so many by chance
    """

    run: Populations
    new: Populations
    p: NDArray[np.float64]
    points_run: NDArray[np.float64]
    points_new: NDArray[np.float64]
    alone: NDArray[np.int64]
    alone_p: float

    @property
    def has_a_strange_state(self) -> bool:
        """Whether more of the new particles lie alone than the run's own do."""
        share = len(self.alone) / max(len(self.points_new), 1)
        return share > STRANGE * (1 - ALONE) and self.alone_p < UNLIKELY

    def document(self) -> dict[str, Any]:
        """What comparison.json says of it."""
        return {
            "particles": len(self.points_new),
            "least_p": float(self.p.min()),
            "populations_differ": bool(self.p.min() < UNLIKELY),
            "alone": self.alone.tolist(),
            "alone_p": self.alone_p,
            "has_a_state_that_the_run_lacks": self.has_a_strange_state,
        }


def centers_of(tree: Tree, zdim: int) -> NDArray[np.float64]:
    """The centres of the run's analysis, (C, zdim). Raises MissingFile where it has none at zdim."""
    analysis = AnalysisTree(tree.analysis(zdim))
    if not analysis.kmeans_result.is_file():
        raise MissingFile(
            "is not there", file=analysis.kmeans_result, hint=f"`covaria analyze {tree.out} --zdim {zdim}` first"
        )
    return read_kmeans(analysis).centers


def compared(tree: Tree, zdim: int, new: Newcomers, seed: int, context: Context) -> Comparison | None:
    """None where the run confirms no component. Raises MissingFile where it has no analysis at zdim."""
    latents = load_latents(tree, zdim)
    if not latents.confirmed:
        return None
    centers = latents.in_deviations(centers_of(tree, zdim))
    context.progress("populations", 0, 1, "estimates")
    halves = read_half_sets(tree, len(latents.used))[latents.rows].astype(np.int64)
    particles = particle_files.load(tree.particles, context.roots)
    together = None if particles.together is None else particles.together[latents.rows]
    units = units_of(particles.micrograph[latents.rows], halves, together)
    run = populations(*free_estimates(tree, latents), centers, units, halves, seed)
    rows = new.unregularised.rows
    if not len(rows):
        raise InvalidInput("no particle of the new file could be placed", hint="see covaria inspect")
    found = free_in_deviations(new.unregularised, rows, latents)
    units = units_of(new.micrograph[rows], new.half[rows], None if new.together is None else new.together[rows])
    here = populations(*found, centers, units, new.half[rows], seed)
    context.progress("populations", 1, 1, "estimates")
    run_points = latents.in_deviations(latents.coordinates[latents.rows])
    points = latents.in_deviations(np.asarray(new.regularised.coordinates[rows], dtype=float))
    lone, chance = _alone(run_points, points, seed)
    return Comparison(run, here, _differences(run, here), run_points, points, rows[lone], chance)


def _differences(run: Populations, new: Populations) -> NDArray[np.float64]:
    """Two-sided p of each centre's difference under normal errors, times the number of centres, at most 1."""
    spread = np.hypot(run.high - run.low, new.high - new.low) / (2 * HALF_WIDTH)
    z = np.abs(new.share - run.share) / np.maximum(spread, 1e-12)
    raw = np.array([math.erfc(value / math.sqrt(2)) for value in z])
    corrected: NDArray[np.float64] = np.minimum(raw * len(raw), 1.0)
    return corrected


def _alone(run: NDArray[np.float64], new: NDArray[np.float64], seed: int) -> tuple[NDArray[np.int64], float]:
    """Places in `new` farther from the run's particles than nearly all of those are from one another; p by chance.

    One half of the run's particles is held against the other, so that both distances are taken to equally many.
    """
    from scipy.spatial import cKDTree
    from scipy.stats import binom

    some = np.random.default_rng(seed).permutation(len(run))[:MOST]
    among, others = run[some[::2]], run[some[1::2]]
    near = cKDTree(among)
    own = _distance(near, others)
    limit = float(np.quantile(own, ALONE))
    lone = np.flatnonzero(_distance(near, new) > limit)
    expected = (np.count_nonzero(own > limit) + 1) / (len(own) + 1)
    return lone, float(binom.sf(len(lone) - 1, len(new), expected))


def _distance(tree: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """To the NEIGHBOURS-th nearest."""
    return np.asarray(tree.query(points, k=[NEIGHBOURS])[0]).reshape(-1)
