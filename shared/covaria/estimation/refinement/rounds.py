"""Rounds of Gauss-Newton: poses, then each half-set's map at the new poses, while the other half-set confirms it.

An image is moved by its own half-set's map and components alone, so half-maps stay independent. A round counts if the
images of both half-sets become more likely under the map of the OTHER one, poses integrated out about where they are
now (`posterior`): a pose that fits its own noise helps no other half's map. Where that gain ends, so do the rounds;
good poses are left as they were.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import partial

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from covaria.estimation.linear_model import LinearModel
from covaria.estimation.mean.model import MeanModel
from covaria.estimation.mean.sums import MeanSums, wiener_halves
from covaria.estimation.pose_errors.columns import COUNT
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.estimation.refinement.posterior import ErrorRows
from covaria.imaging import volumes
from covaria.imaging.images import Images
from covaria.running.passes import Pass
from covaria.running.steps import once

MOST_ROUNDS = 5
LEAST_GAIN = 2.0
"""Standard errors by which each half-set's images must become more likely."""
FURTHEST = 3.0
"""Standard deviations of the errors: an image is moved no further."""


@dataclass(frozen=True)
class Refined:
    """Arrays only. moved (N, 5): what was added to the poses in the file, shift x, y in pixels and a rotation vector
    about the image's x, y, z in radians; sd (N, 5): of what they lack now; spread (3,): of what they lacked, as
    `PoseSpread`; z_score (tried,): held-out gain of each round over its standard error, the smaller of both half-sets';
    rounds (): how many counted."""

    moved: np.ndarray
    sd: np.ndarray
    spread: np.ndarray
    z_score: np.ndarray
    rounds: np.ndarray

    def images(self, images: Images) -> Images:
        """The images at their refined poses."""
        return images_at(images, self.moved)

    @property
    def left(self) -> PoseSpread:
        """Root mean square of what the poses lack now."""
        square = (self.sd**2).mean(0)
        return PoseSpread(float(np.sqrt(square[:2].mean())), float(np.sqrt(square[2:].mean())))


@dataclass(frozen=True)
class Round:
    """moved, sd (N, 5) as above; maps (2, D, D, D) of the half-sets at these poses; log_likelihood (N,) of each image
    under the other half-set's."""

    moved: np.ndarray
    sd: np.ndarray
    maps: np.ndarray
    log_likelihood: np.ndarray


def images_at(images: Images, moved: np.ndarray) -> Images:
    """`images`, at the poses in the file, after moves (N, 5)."""
    turn = Rotation.from_rotvec(moved[:, 2:]).as_matrix()
    return images.posed(turn @ images.rotations.cpu().numpy().astype(np.float64), moved[:, :2])


@dataclass(frozen=True)
class PoseRefinement:
    """images at the poses in the file; mean: what is settled before components; own: components of each half-set's own
    fit (count, d, d, d); same (N,): images of one number are moved alike (symmetry copies of one particle)."""

    images: Images
    mean: MeanModel
    own: tuple[np.ndarray, np.ndarray]
    same: np.ndarray
    passes: Pass

    def refined(self) -> Refined:
        """As many rounds as count, each kept."""
        context, log = self.passes.context, self.passes.context.log
        now = once(context, "poses.round-0", Round, self._start)
        scores: list[float] = []
        while len(scores) < MOST_ROUNDS:
            step = once(context, f"poses.round-{len(scores) + 1}", Round, partial(self._next, now))
            scores.append(self._gain(now.log_likelihood, step.log_likelihood))
            log.info(f"poses: round {len(scores)}, held-out gain of {scores[-1]:.1f} standard errors")
            if scores[-1] <= LEAST_GAIN:
                break
            now = step
        rounds = sum(score > LEAST_GAIN for score in scores)
        return Refined(now.moved, now.sd, np.array(astuple(self._spread)), np.array(scores), np.array(rounds))

    @property
    def _spread(self) -> PoseSpread:
        return PoseSpread(*self.mean.pose_spread.tolist()).of_poses

    def _start(self) -> Round:
        moved = np.zeros((len(self.images), COUNT))
        maps = self._maps(self.images)
        sd = np.tile(self._spread.columns.numpy().astype(np.float64), (len(moved), 1))
        return Round(moved, sd, maps, self._likelihood(self.images, maps, moved))

    def _next(self, now: Round) -> Round:
        images = images_at(self.images, now.moved)
        found = self._rows(images, now.maps, now.moved, of_other=False)
        moved = self._allowed(composed(now.moved, found["left"].astype(np.float64)))
        images = images_at(self.images, moved)
        maps = self._maps(images)
        return Round(moved, found["sd"].astype(np.float64), maps, self._likelihood(images, maps, moved))

    def _allowed(self, moved: np.ndarray) -> np.ndarray:
        reach = FURTHEST * self._spread.columns.numpy()
        moved = np.clip(moved, -reach, reach)
        together = np.stack([np.bincount(self.same, column) for column in moved.T], 1)
        average: np.ndarray = (together / np.maximum(np.bincount(self.same), 1)[:, None])[self.same]
        return average

    def _maps(self, images: Images) -> np.ndarray:
        """Each half-set's map, shrunk to what it knows, inside the dilated mask."""
        first = MeanSums(images.box // 2 - 1, self.mean.noise, self.mean.contrasts, images.device)
        pair = (first, first.empty())
        self.passes.named("refined mean").sum(images, pair)
        maps: np.ndarray = wiener_halves(pair, self.mean.mask) * self.mean.dilated_mask
        return maps

    def _likelihood(self, images: Images, maps: np.ndarray, moved: np.ndarray) -> np.ndarray:
        found = self._rows(images, maps, moved, of_other=True)["log_likelihood"]
        return self.mean.noise.weight * found.astype(np.float64)

    def _rows(self, images: Images, maps: np.ndarray, moved: np.ndarray, *, of_other: bool) -> dict[str, np.ndarray]:
        """`ErrorRows` of every image, under its own half-set's model or that of the other."""
        tables = []
        for half in (0, 1):
            seen = images.half == (1 - half if of_other else half)
            rows = ErrorRows(self._model(maps[half], half), self.mean.noise, moved, images.device)
            tables.append(self.passes.named("poses").rows(images, rows, subset=seen))
        return {name: tables[0][name] + tables[1][name] for name in tables[0]}

    def _model(self, volume: np.ndarray, half: int) -> LinearModel:
        components = volumes.resize_fourier(torch.as_tensor(self.own[half], dtype=torch.float32), len(volume)).numpy()
        spread = float(self.mean.contrast_sd)
        return LinearModel(volume.astype(np.float32), components, self.images.scale, spread, self._spread)

    def _gain(self, before: np.ndarray, after: np.ndarray) -> float:
        rise, half_of = np.bincount(self.same, after - before), np.zeros(int(self.same.max()) + 1, np.int64) - 1
        half_of[self.same] = self.images.half
        halves = [rise[half_of == half] for half in (0, 1)]
        return min(float(one.mean() / max(one.std() / np.sqrt(len(one)), 1e-30)) for one in halves)


def composed(moved: np.ndarray, step: np.ndarray) -> np.ndarray:
    """One move (N, 5) after another: shifts add, rotations follow one another."""
    turn = Rotation.from_rotvec(step[:, 2:]) * Rotation.from_rotvec(moved[:, 2:])
    return np.concatenate([moved[:, :2] + step[:, :2], turn.as_rotvec()], 1)
