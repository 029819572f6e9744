"""From random volumes to principal components, coarse to fine.

A level is a radius in Fourier space. Coarse levels are cheap and find the subspace; each finer one refines it. The
start is chosen from the data: several radii and seeds run for a few steps, and the one whose likelihood gain is largest
goes on.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from functools import partial

import numpy as np
import torch

from covaria.errors import Interrupted
from covaria.estimation.components.m_step import Gradient, MStep, gradient_of, m_step, step_of
from covaria.estimation.components.sums import ComponentSums
from covaria.estimation.linear_model import LinearModel
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.imaging import volumes
from covaria.imaging.images import Images
from covaria.imaging.noise import Noise
from covaria.maps.fourier import shell_average, shell_indices
from covaria.running.passes import KEEP_EVERY_S, Pass
from covaria.running.side_by_side import shared_out, side_by_side
from covaria.running.steps import arrays_of
from covaria.running.sums import fingerprint
from covaria.stage import Context

AGREEMENT = 0.03
"""Mean FSC over a component's outer shells above which a finer level is worth its pass. Small, because what moves fills
a small part of the mask."""
COARSE_TOLERANCE, LAST_TOLERANCE = 1e-3, 2e-4
COARSEST, COARSEST_STEPS, COARSE_STEPS, LAST_STEPS = 8, 5, 3, 6
TRIALS, TRIAL_STEPS = 2, 4
"""Random starts at each radius that is tried, and steps of each."""
TRIAL_IMAGES = 10_000
"""Of each half-set, at most, for trials: a start is refined by all of them."""


@dataclass(frozen=True)
class Step:
    """One E-step and M-step at the model's own radius. gain: log likelihood of the INCOMING model above the mean's."""

    model: LinearModel
    found: MStep
    gain: float


@dataclass(frozen=True)
class Problem:
    """What stays fixed: images, noise, the regularised mean and the mask on the full box, and the split in two sets.

    passes  how the images are walked over
    pose_spread  where the spread of pose errors starts; None = poses are exact
    weights  on the full box, by how much the components' amplitude is scaled where; None = nowhere
    split   (N,) 0 or 1, -1 = not used
    """

    images: Images
    passes: Pass
    noise: Noise
    mean: np.ndarray
    mask: np.ndarray
    contrast_sd: float
    split: np.ndarray
    pose_spread: PoseSpread | None = None
    weights: np.ndarray | None = None

    def mask_at(self, radius: int) -> np.ndarray:
        return _at(self.mask, radius)

    def weights_at(self, radius: int) -> np.ndarray | None:
        return None if self.weights is None else _at(self.weights, radius)

    def model(self, radius: int, components: np.ndarray) -> LinearModel:
        """The mean and `components` (of any cube side) on the cube of `radius`; DFT coefficients are kept.

        The mean comes from the full box each time: a coarse cube's own would lack the finer shells.
        """
        side = volumes.cube_side(radius)
        mean, resized = (
            volumes.resize_fourier(torch.as_tensor(v, dtype=torch.float32), side).numpy()
            for v in (self.mean, components)
        )
        return LinearModel(mean, resized, self.images.scale, self.contrast_sd, self.pose_spread)

    def null_model(self, radius: int) -> LinearModel:
        return self.model(radius, np.zeros((0, *self.mean.shape), np.float32))

    def sums(self, model: LinearModel) -> tuple[ComponentSums, ComponentSums]:
        """E-step and gradient sums of both half-sets."""
        half = ComponentSums(model, self.noise, self.images.device)
        pair = (half, half.empty())
        self.passes.named(f"components at {model.radius} shells").sum(self.images, pair, split=self.split)
        return pair

    def log(self, message: str) -> None:
        self.passes.context.log.info(message)


def _at(mask: np.ndarray, radius: int) -> np.ndarray:
    """A mask of the full box on the cube of `radius`."""
    side, box = volumes.cube_side(radius), mask.shape[0]
    if side == box:
        return mask
    small = volumes.resize_fourier(torch.as_tensor(mask, dtype=torch.float32), side).numpy() * (side / box) ** 3
    result: np.ndarray = np.clip(small, 0, 1)
    return result


def gradients(
    pair: tuple[ComponentSums, ComponentSums], mask: np.ndarray
) -> tuple[tuple[Gradient, Gradient], np.ndarray]:
    """Gradients of both halves and the mean second moment of the latents."""
    first, second = side_by_side(lambda sums: gradient_of(sums, mask), pair, device=pair[0].grid.device)
    return (first, second), second_moment_of(pair)


def second_moment_of(pair: tuple[ComponentSums, ComponentSums]) -> np.ndarray:
    """Of the latents (K, K), over the images of both halves."""
    found: np.ndarray = (pair[0].second_moment + pair[1].second_moment).cpu().numpy()
    return found / (pair[0].images + pair[1].images)


def em_step(problem: Problem, model: LinearModel) -> Step:
    """One step of EM with parameter expansion, and of scoring for the spread of pose errors."""
    mask = problem.mask_at(model.radius)
    pair = problem.sums(model)
    moment, weights, shape = second_moment_of(pair), problem.weights_at(model.radius), model.components.shape
    step = partial(step_of, components=model.components, second_moment=moment, mask=mask, weights=weights)
    ranks = problem.passes.context.ranks
    steps = shared_out(step, pair, [shape, shape], ranks, problem.images.device)
    found = m_step(torch.stack(steps), moment, mask, weights, ranks)
    spread = model.pose_spread
    if spread is not None:
        spread = spread.improved(*(pair[0].pose_errors + pair[1].pose_errors).cpu().numpy())
    return Step(replace(model, components=found.components, pose_spread=spread), found, pair[0].gain + pair[1].gain)


def random_start(problem: Problem, count: int, radius: int, seed: int) -> LinearModel:
    """Random volumes inside the mask with the mean's power spectrum, each a tenth of its amplitude."""
    null = problem.null_model(radius)
    side = null.mean.shape[0]
    mask = problem.mask_at(radius)
    rng = np.random.default_rng(seed)
    shell = np.minimum(shell_indices(side), side // 2 - 1)
    amplitude = np.sqrt(shell_average(np.abs(np.fft.rfftn(null.mean * mask)) ** 2, side))[shell]
    amplitude[shell_indices(side) >= side // 2] = 0
    white = np.fft.rfftn(rng.standard_normal((count, side, side, side)), axes=(1, 2, 3)) / side**1.5
    components = np.fft.irfftn(white * amplitude, s=(side,) * 3, axes=(1, 2, 3)) * mask
    return replace(null, components=(0.1 * components).astype(np.float32))


def radii(limit: int, first: int = COARSEST) -> list[int]:
    """Level radii 8, 12, 16, 24, ... up to the limit (8, 12, 16, 24, 31 for 64 px)."""
    out, step = [], first
    while step < limit:
        out.append(step)
        step = step * 3 // 2 if step & (step - 1) == 0 else step * 4 // 3
    if out and limit - out[-1] <= 2:
        out.pop()
    return [*out, limit]


def sampled(problem: Problem, most: int, seed: int) -> Problem:
    """The same problem with about `most` images of each of its two sets at most, drawn by lot, whole `Images.units`."""
    rng, split = np.random.default_rng(seed), problem.split.copy()
    for half in (0, 1):
        rows = np.flatnonzero(split == half)
        codes, member, sizes = np.unique(problem.images.units[rows], return_inverse=True, return_counts=True)
        order = rng.permutation(len(codes))
        left_out = order[np.cumsum(sizes[order]) > most * problem.images.copies]
        split[rows[np.isin(member, left_out)]] = -1
    return replace(problem, split=split)


def choose_start(problem: Problem, count: int, limit: int, seed: int, name: str) -> LinearModel:
    """The best of several radii and seeds after a few steps, by likelihood gain."""
    levels = radii(limit)
    few = sampled(problem, TRIAL_IMAGES, seed)
    steps: list[Step] = []
    for radius in sorted({levels[0], levels[min(2, len(levels) - 1)]}):
        for trial in range(TRIALS):
            start = random_start(few, count, radius, seed + 1000 * trial)
            steps.append(climb(few, start, TRIAL_STEPS, -np.inf, f"{name}.trial-{len(steps)}"))
    best = steps[int(np.argmax([step.gain for step in steps]))].model
    tried = [(step.model.radius, round(step.gain, 1)) for step in steps]
    problem.log(f"components: start at {best.radius} shells, of {tried}")
    return best


def fit_components(
    problem: Problem,
    count: int,
    *,
    seed: int = 0,
    start: LinearModel | None = None,
    limit: int | None = None,
    last_steps: int = LAST_STEPS,
    name: str = "components.fit",
) -> Step:
    """Refine `start`, or the best of several random starts, up to `limit` shells: the last step.

    `last_steps` more are taken at the last level at most. Components fitted to noise grow for ever: few serve them.
    `name` is what each level's steps are kept under.
    """
    limit = len(problem.mask) // 2 - 1 if limit is None else limit
    if start is None:
        start = choose_start(problem, count, limit, seed, name)
    model, step = start, None
    for level in [r for r in radii(limit) if r >= start.radius]:
        most = COARSEST_STEPS if level <= COARSEST else COARSE_STEPS
        level_start = replace(problem.model(level, model.components), pose_spread=model.pose_spread)
        step = climb(problem, level_start, most, COARSE_TOLERANCE, f"{name}.level-{level}")
        model = step.model
        outer = step.found.fsc[:, 3 * level // 4 : level].mean(1).max()
        problem.log(f"components: {level} shells, likelihood gain {step.gain:.1f}, agreement at the edge {outer:.2f}")
        if outer < AGREEMENT:
            break
    if last_steps or step is None:
        step = climb(problem, model, last_steps, LAST_TOLERANCE, f"{name}.last")
    problem.log(f"components: done at {model.radius} shells, likelihood gain {step.gain:.1f}")
    return step


def climb(problem: Problem, start: LinearModel, most: int, tolerance: float, name: str) -> Step:
    """Up to `most` steps at one level, until the likelihood gain rises by less than `tolerance` of itself.

    The latest step is kept under `name`, with what it was reached from: another start begins anew.
    """
    context, clock = problem.passes.context, problem.passes.clock
    origin = np.array(fingerprint(start, problem.noise, problem.mask, problem.split, most, tolerance))
    step, gains = _kept(context, name, origin, start)
    kept_at, kept = clock(), len(gains)
    while step is None or not _settled(gains, most, tolerance):
        try:
            step = em_step(problem, start if step is None else step.model)
        except Interrupted:
            if step is not None and len(gains) > kept:
                _keep(context, name, origin, step, gains)
            raise
        gains.append(step.gain)
        if _settled(gains, most, tolerance) or clock() - kept_at > KEEP_EVERY_S:
            _keep(context, name, origin, step, gains)
            kept_at, kept = clock(), len(gains)
    return step


def _keep(context: Context, name: str, origin: np.ndarray, step: Step, gains: list[float]) -> None:
    if context.ranks.first:
        spread = np.zeros(0) if step.model.pose_spread is None else np.array(astuple(step.model.pose_spread))
        kept = {"gains": np.array(gains), "pose_spread": spread, "origin": origin}
        context.checkpoints.save(name, {**arrays_of(step.found), **kept})


def _kept(context: Context, name: str, origin: np.ndarray, start: LinearModel) -> tuple[Step | None, list[float]]:
    """The latest step that an earlier run kept of this very climb, and the gains up to it."""
    kept = context.checkpoints.load(name)
    if kept is None or kept.pop("origin") != origin:
        return None, []
    gains, values = kept.pop("gains").tolist(), kept.pop("pose_spread").tolist()
    spread = PoseSpread(*values) if values else None
    found = MStep(**kept)
    return Step(replace(start, components=found.components, pose_spread=spread), found, gains[-1]), gains


def _settled(gains: list[float], most: int, tolerance: float) -> bool:
    """Whether as many steps are taken as may be, or the last one gained little."""
    return len(gains) >= most or (len(gains) > 1 and gains[-1] - gains[-2] < tolerance * abs(gains[-1]))
