"""A growing set: the model of the version before goes on with the new images, or everything is fitted afresh."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from covaria.errors import InvalidInput
from covaria.estimation.components.confirmation import HalfFit, held_out, significance_of
from covaria.estimation.components.expectation_maximisation import Problem, Step, climb
from covaria.estimation.growth.anchor import Anchor, growing
from covaria.estimation.growth.frame import Frame, carried, framed, grid_of, mean_sums, with_map
from covaria.estimation.growth.matching import matched, moved
from covaria.estimation.growth.memory import Kept, read_kept
from covaria.estimation.mean.agreement import AGREE, agreement_of
from covaria.estimation.mean.model import MeanModel
from covaria.estimation.mean.sums import MeanSums, solve_mean
from covaria.findings import Growth
from covaria.imaging.images import Images, read_images
from covaria.imaging.noise import Noise
from covaria.opening import Roots
from covaria.particles import Particles, load
from covaria.particles.identity import read_rows
from covaria.request.model import Request
from covaria.running.console import TOLD
from covaria.running.passes import Pass
from covaria.tree import Tree
from covaria.tree.versions import version_before
from covaria_reconstruction.components import Components
from covaria_reconstruction.fitting import confirmed, full_size, joined, problem_of

GROWN_BY = 2.0
"""Times as many images as at the last refresh from which everything is fitted afresh."""
MOST_MOVED = 0.15
"""Share of the confirmed variance that may have left the space of the components since the last refresh."""
MOST_CHANGED = 0.2
"""Share of the images before whose poses changed, or that are gone."""
STEPS, TOLERANCE = 4, 2e-4
"""Of expectation-maximisation in an update, at most, and from which rise of the gain on."""
LEAST_SAMPLE = 500
"""Old images of each half-set that are looked at besides the new ones, at least; else as many as are new."""
TOLD_FROM = 50
"""New images from which their mean says whether they are in the same frame."""


@dataclass(frozen=True)
class Start:
    """kept: what the version before left; then: its particles; place (N,) of each image there, -1; fresh (N,)."""

    kept: Kept
    then: Particles
    place: np.ndarray
    fresh: np.ndarray

    @property
    def leaving(self) -> np.ndarray:
        """Places of the version before whose images are gone, or come back with other poses."""
        left = np.ones(len(self.kept.memory.rows), bool)
        left[self.place[~self.fresh]] = False
        return np.flatnonzero(left)


@dataclass(frozen=True)
class Grown:
    """What an update found; grid, anchors: for the memory; splits (2, N)."""

    mean: MeanModel
    components: Components
    frame: Frame
    grid: np.ndarray
    anchors: dict[str, Anchor]
    splits: np.ndarray
    moved: float
    moved_since_refresh: float


def start_of(request: Request, kept: Kept, particles: Particles, images: Images, roots: Roots) -> Start:
    """Where each image stood in the version before. Raises InvalidInput, MissingFile."""
    assert request.ingest.grown_from is not None
    rows = read_rows(Tree(request.out).growth_rows, roots)
    then = load(version_before(request.ingest.grown_from).particles, roots)
    place_of = np.full(len(then) + 1, -1)
    place_of[kept.memory.rows] = np.arange(len(kept.memory.rows))
    place = place_of[rows.before[images.rows]]
    groups = particles.optics_group[images.rows] != then.optics_group[np.maximum(rows.before[images.rows], 0)]
    fresh = (place < 0) | rows.moved[images.rows] | groups
    return Start(kept, then, place, fresh)


def kept_of(request: Request, roots: Roots) -> Kept | None:
    """What the version before left, None where there is none. Raises InvalidInput, MissingFile."""
    return None if request.ingest.grown_from is None else read_kept(request.ingest.grown_from, roots)


def why_afresh(start: Start, images: Images, request: Request) -> str:
    """Why an update will not do: words, "" where it will."""
    kept = start.kept
    before, changed = len(kept.memory.rows), len(start.leaving)
    if str(kept.memory.options) != request.reconstruction.model_dump_json():
        return "the options are others"
    if images.groups != len(kept.mean.group_factor):
        return "there are other optics groups"
    if len(images) >= GROWN_BY * int(kept.memory.refreshed):
        return f"{len(images):,} images are {GROWN_BY:g} times those at the last refresh"
    if changed > MOST_CHANGED * before:
        return f"{changed:,} of {before:,} images have other poses or are gone"
    return ""


def grown(start: Start, images: Images, request: Request, passes: Pass) -> Grown | str:
    """The model of all images, or why everything is to be fitted afresh. Raises InvalidInput: another frame."""
    kept, fitted = start.kept, request.reconstruction.correct_contrast
    frame = framed(images, kept, start.place, start.fresh, passes, fitted=fitted)
    gone = _Gone.of(start, passes)
    pair = _mean_pair(start, images, frame, gone, passes)
    mean = with_map(frame.mean, pair, float(kept.memory.map_level))
    problem = problem_of(images, mean, passes)
    draw = np.random.default_rng(request.seed + int(kept.memory.version))
    splits, sample = _splits(start, images, draw), _sample(start, images, draw)
    update = _Update(problem, start, gone, sample)
    fits = (update.half(0, splits), update.half(1, splits))
    tested = significance_of(problem, fits)
    passes.context.log.info(f"components: held-out z-scores {np.round(tested.z_score, 1).tolist()}")
    before = int(kept.components["confirmed"])
    if tested.count != before:
        return f"{tested.count} components are confirmed, {before} were"
    step = update.joint("coarse", problem, kept.mean.band_noise)
    found, coarse = confirmed(full_size(problem, step), tested), step.model.components
    if tested.count:
        fine = replace(problem, noise=replace(problem.noise, bands=frame.own.noise))
        step = update.joint("fine", fine, kept.memory.band_noise)
        found = confirmed(joined(full_size(fine, step), full_size(problem, update.steps["coarse"])), tested)
        own = frame.own
        found = replace(found, level=own.level, outlier=own.probability, band_noise=own.noise)
        found = replace(found, fine=step.model.components)
    found = in_their_places(replace(found, coarse=coarse), kept)
    now = found.eigenvolumes[:before]
    since = moved(now, kept.memory.eigenvolumes, kept.memory.eigenvalues)
    last = moved(now, kept.components["eigenvolumes"][:before], kept.components["eigenvalues"])
    if since > MOST_MOVED:
        return f"{100 * since:.0f} % of the confirmed variance has left the space of the last refresh's components"
    return Grown(mean, found, frame, grid_of(pair), update.anchors, splits, last, since)


def in_their_places(found: Components, kept: Kept | None) -> Components:
    """The components in the order and with the signs that they had in the version before."""
    if kept is None:
        return found
    then, count = kept.components, int(found.confirmed)
    order, sign = matched(found.eigenvolumes, then["eigenvolumes"], count, min(int(then["confirmed"]), count))
    by = sign.astype(np.float32)[:, None, None, None]
    return replace(
        found,
        eigenvolumes=found.eigenvolumes[order] * by,
        eigenvalues=found.eigenvalues[order],
        half1=found.half1[order] * by,
        half2=found.half2[order] * by,
        fsc=found.fsc[order],
    )


@dataclass(frozen=True)
class _Gone:
    """Images that the sums of the version before hold and this one does not hold so; place (n,) there."""

    images: Images | None
    place: np.ndarray

    @staticmethod
    def of(start: Start, passes: Pass) -> _Gone:
        memory, place = start.kept.memory, start.leaving
        if not len(place):
            return _Gone(None, place)
        used = np.zeros(len(start.then), bool)
        used[memory.rows[place]] = True
        particles = replace(start.then, used=used)
        context = passes.context
        images = read_images(particles, device=context.device, memory_bytes=context.memory_bytes // 4,
                             rank=context.ranks.rank, ranks=context.ranks.size, greys=memory.greys)  # fmt: skip
        place = np.searchsorted(memory.rows, images.rows)
        mean = start.kept.mean
        signed = replace(images.signed(float(mean.data_sign)), defocus_errors=bool(mean.pose_spread[2]))
        return _Gone(signed, place)

    def noise(self, mean: MeanModel, bands: np.ndarray) -> Noise:
        return Noise(mean.spectrum, mean.group_factor, bands[self.place], 1 - mean.absent[self.place])


def _mean_pair(start: Start, images: Images, frame: Frame, gone: _Gone, passes: Pass) -> tuple[MeanSums, MeanSums]:
    """The mean's sums over all images. Raises InvalidInput where the new ones show another mean."""
    kept, split = start.kept, np.where(start.fresh, images.half, -1)
    pair = mean_sums(images, frame.mean, split, passes)
    if np.bincount(images.half[start.fresh], minlength=2).min() >= TOLD_FROM // 2:
        halves = solve_mean(pair, kept.mean.mask).halves
        agreement = agreement_of(halves, kept.mean.dilated_mask, kept.mean.residual_mean)
        passes.context.log.info(f"new images: their mean agrees with the one before to {agreement:.2f}")
        if agreement < AGREE:
            raise InvalidInput(
                f"the mean of {int(start.fresh.sum()):,} new images correlates with the one before by only "
                f"{agreement:.2f} of what their noise allows",
                file=start.then.source,
                hint="poses of another refinement lie in a frame of their own: align them, or run into a new folder",
            )
    held = kept.memory.mean_grid
    if gone.images is not None:
        before = replace(kept.mean, contrasts=kept.mean.contrasts[gone.place], absent=kept.mean.absent[gone.place],
                         band_noise=kept.mean.band_noise[gone.place])  # fmt: skip
        held = held - grid_of(mean_sums(gone.images, before, gone.images.half, passes))
    for one, grid in zip(pair, held, strict=True):
        one.grid += one.grid.new_tensor(grid)
    return pair


def _splits(start: Start, images: Images, draw: np.random.Generator) -> np.ndarray:
    """(2, N): each half-set's own two halves, those of the version before for good."""
    splits = np.full((2, len(images)), -1, np.int64)
    for half in (0, 1):
        mine = images.half == half
        lot = draw.permutation(np.arange(len(images)) % 2)
        known = carried(start.kept.memory.splits[half], start.place)
        splits[half] = np.where(mine, np.where(start.place >= 0, known, lot), -1)
    return splits


def _sample(start: Start, images: Images, draw: np.random.Generator) -> np.ndarray:
    """(N,) the old images that are looked at besides the new ones."""
    sample = np.zeros(len(images), bool)
    for half in (0, 1):
        old = np.flatnonzero(~start.fresh & (images.half == half))
        most = max(LEAST_SAMPLE, int((start.fresh & (images.half == half)).sum()))
        sample[draw.permutation(old)[:most]] = True
    return sample


class _Update:
    """The fits of the version before, each gone on with; steps and anchors by name."""

    def __init__(self, problem: Problem, start: Start, gone: _Gone, sample: np.ndarray) -> None:
        self._problem, self._start, self._gone, self._sample = problem, start, gone, sample
        self.anchors: dict[str, Anchor] = {}
        self.steps: dict[str, Step] = {}

    def half(self, half: int, splits: np.ndarray) -> HalfFit:
        """A half-set's own fit, held against the other half-set."""
        problem = replace(self._problem, split=splits[half])
        memory = self._start.kept.memory
        step = self._fit(f"half-{half}", problem, memory.splits[half], self._start.kept.mean.band_noise)
        return held_out(problem, step.model, self._problem.split == 1 - half)

    def joint(self, name: str, problem: Problem, bands: np.ndarray) -> Step:
        """A fit of both half-sets; bands (M, bands): the noise of the version before's images in it."""
        return self._fit(name, problem, self._start.kept.memory.half, bands)

    def _fit(self, name: str, problem: Problem, split: np.ndarray, bands: np.ndarray) -> Step:
        kept, gone = self._start.kept, self._gone
        anchor = kept.anchors[name]
        if gone.images is not None:
            noise = gone.noise(kept.mean, bands)
            anchor = anchor.without(gone.images, noise, split[gone.place], problem.passes)
        begun = growing(problem, anchor, self._start.fresh, self._sample)
        known = anchor.model(problem.images.scale)
        start = replace(problem.model(known.radius, known.components), pose_spread=known.pose_spread)
        step = climb(begun, start, STEPS, TOLERANCE, f"grown.{name}")
        problem.log(f"{name}: {known.radius} shells, likelihood gain {step.gain:.1f}")
        self.anchors[name], self.steps[name] = Anchor.of(step.model, begun.sums(step.model)), step
        return step


def told(passes: Pass, update: Grown | str) -> None:
    """One line for people."""
    words = (
        f"fitted afresh: {update}" if isinstance(update, str) else
        f"updated: the components moved by {100 * update.moved:.1f} % of their variance, "
        f"{100 * update.moved_since_refresh:.1f} % since the last refresh"
    )  # fmt: skip
    passes.context.log.info(words, extra=TOLD)


def growth_of(kept: Kept | None, update: Grown | None, why: str) -> Growth:
    """For the findings: which version this is, and how it came about."""
    version = 1 if kept is None else int(kept.memory.version) + 1
    if update is None:
        return Growth(version=version, refreshed=True, why=why)
    return Growth(version=version, refreshed=False, moved=update.moved, moved_since_refresh=update.moved_since_refresh)
