"""Sums of many images under a model that has since moved, kept up with a sample of them.

    S(theta) = S_old(theta_0) + (N / n) [S_sample(theta) - S_sample(theta_0)] + S_new(theta)
Unbiased for any sample of n of the N old images, with an error that goes to nothing as theta approaches the anchor
theta_0 (the control variate of stochastic variance reduced gradients; Johnson and Zhang 2013). Principal axes turn
while they are fitted; the sums of R theta_0 are those of theta_0 turned by R, so the anchor is turned with them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.components.sums import ComponentSums
from covaria.estimation.linear_model import LinearModel
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.imaging.images import Images
from covaria.imaging.noise import Noise
from covaria.running.passes import Pass

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Anchor:
    """A model and the sums of both halves of a split under it; arrays only.

    mean (d, d, d), components (K, d, d, d) of the model; contrast_sd (); pose_spread (2,), or () where poses are exact
    grid, second_moment, scalars, pose_errors: those of `ComponentSums`, for the two halves (2, ...)
    """

    mean: np.ndarray
    components: np.ndarray
    contrast_sd: np.ndarray
    pose_spread: np.ndarray
    grid: np.ndarray
    second_moment: np.ndarray
    scalars: np.ndarray
    pose_errors: np.ndarray

    @staticmethod
    def of(model: LinearModel, pair: tuple[ComponentSums, ComponentSums]) -> Anchor:
        """The anchor that these sums are."""
        spread = model.pose_spread
        pose = np.zeros(0) if spread is None else np.array([getattr(spread, field.name) for field in fields(spread)])
        stacked = {
            name: torch.stack([one.tensors()[name] for one in pair]).cpu().numpy() for name in ComponentSums.SUMMED
        }
        return Anchor(model.mean, model.components, np.array(model.contrast_sd), pose, **stacked)

    def model(self, grey_level: float) -> LinearModel:
        """The model, in units of `grey_level`."""
        spread = PoseSpread(*self.pose_spread.tolist()) if len(self.pose_spread) else None
        return LinearModel(self.mean, self.components, grey_level, float(self.contrast_sd), spread)

    def without(self, images: Images, noise: Noise, split: np.ndarray, passes: Pass) -> Anchor:
        """The same without the sums of these images, which it holds; split (n,) as in `Pass.sum`."""
        if not (split >= 0).any():
            return self
        half = ComponentSums(self.model(images.scale), noise, images.device)
        pair = (half, half.empty())
        passes.named("removed images").sum(images, pair, split=split)
        left: dict[str, Any] = {
            name: getattr(self, name) - torch.stack([one.tensors()[name] for one in pair]).cpu().numpy()
            for name in ComponentSums.SUMMED
        }
        return replace(self, **left)


@dataclass(frozen=True)
class GrowingProblem(Problem):
    """A problem of whose images an anchor holds many: only the others and a sample of those are looked at.

    fresh (N,) bool, images that the anchor does not hold; sample (N,) bool, of those that it holds
    anchor_components (K, d, d, d); rest: S_old - N / n S_sample under the anchor's model, of either half
    """

    fresh: np.ndarray | None = None
    sample: np.ndarray | None = None
    anchor_components: np.ndarray | None = None
    rest: tuple[Tensors, Tensors] | None = None

    def sums(self, model: LinearModel) -> tuple[ComponentSums, ComponentSums]:
        """Those of all images, as told above."""
        if self.fresh is None or self.sample is None or self.anchor_components is None or self.rest is None:
            return super().sums(model)
        half = ComponentSums(model, self.noise, self.images.device)
        four = [half, half.empty(), half.empty(), half.empty()]
        split = np.where(self.fresh, self.split, np.where(self.sample, self.split + 2, -1))
        split[self.split < 0] = -1
        self.passes.named(f"components at {model.radius} shells").sum(self.images, four, split=split)
        turn = turn_between(model.components, self.anchor_components)
        weights, found = weights_of(self, self.fresh, self.sample), []
        for k in (0, 1):
            new, seen, rest = four[k].tensors(), four[k + 2].tensors(), turned(self.rest[k], turn)
            found.append(half.with_tensors({n: new[n] + weights[k] * seen[n] + rest[n].to(new[n]) for n in new}))
        return found[0], found[1]


def growing(problem: Problem, anchor: Anchor, fresh: np.ndarray, sample: np.ndarray) -> GrowingProblem:
    """The problem with what an anchor knows of it: one walk over the sample under the anchor's model."""
    half = ComponentSums(anchor.model(problem.images.scale), problem.noise, problem.images.device)
    pair = (half, half.empty())
    split = np.where(sample & ~fresh, problem.split, -1)
    problem.passes.named("sample").sum(problem.images, pair, split=split)
    weights = weights_of(problem, fresh, sample)
    first, second = (
        {n: torch.as_tensor(getattr(anchor, n)[k]).to(x) - weights[k] * x for n, x in pair[k].tensors().items()}
        for k in (0, 1)
    )
    given = {field.name: getattr(problem, field.name) for field in fields(Problem)}
    return GrowingProblem(
        **given, fresh=fresh, sample=sample, anchor_components=anchor.components, rest=(first, second)
    )


def weights_of(problem: Problem, fresh: np.ndarray, sample: np.ndarray) -> tuple[float, float]:
    """How many old images each of the sample stands for, in either half of the split."""
    counted = problem.noise.weight if len(problem.noise.weight) else np.ones(len(problem.split))
    old = [float(counted[~fresh & (problem.split == k)].sum()) for k in (0, 1)]
    some = [float(counted[sample & ~fresh & (problem.split == k)].sum()) for k in (0, 1)]
    return old[0] / max(some[0], 1e-9), old[1] / max(some[1], 1e-9)


def turn_between(now: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The rotation (K, K) that brings components `then` (K, d, d, d) nearest to `now` (orthogonal Procrustes)."""
    left, _, right = np.linalg.svd(now.reshape(len(now), -1).astype(np.float64) @ then.reshape(len(then), -1).T)
    turn: np.ndarray = left @ right
    return turn


def turned(sums: Tensors, turn: np.ndarray) -> Tensors:
    """Sums under components V as those under turn V."""
    matrix = torch.as_tensor(turn, device=sums["grid"].device)
    count, grid = len(turn), sums["grid"].clone()
    for first in (0, count):  # real parts, then imaginary ones
        grid[..., first : first + count] = sums["grid"][..., first : first + count] @ matrix.T.to(grid)
    moment = matrix.to(sums["second_moment"]) @ sums["second_moment"] @ matrix.T.to(sums["second_moment"])
    return sums | {"grid": grid, "second_moment": moment}
