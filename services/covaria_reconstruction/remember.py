"""What a version of a growing set leaves for the next one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from covaria.estimation.components.confirmation import inner_splits
from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.growth.anchor import Anchor
from covaria.estimation.growth.frame import grid_of, level_of, mean_sums, whole_model
from covaria.estimation.growth.memory import FORMAT, Kept, Memory, write_kept
from covaria.estimation.mean.contrasts import ContrastRows
from covaria.estimation.mean.model import MeanModel
from covaria.estimation.reliability.bands import band_noise
from covaria.estimation.reliability.residuals import residual_power
from covaria.imaging.bands import band_freedom
from covaria.imaging.images import Images
from covaria.request.model import Request
from covaria.running.passes import Pass
from covaria.running.steps import arrays_of
from covaria.tree import Tree
from covaria_reconstruction.components import Components
from covaria_reconstruction.fitting import problem_of
from covaria_reconstruction.growth import Grown

MODEL = ("eigenvolumes", "eigenvalues", "confirmed", "pose_spread")
"""Of the components, what the next version looks at."""


def remember(
    tree: Tree, request: Request, images: Images, mean: MeanModel, components: Components, version: int, passes: Pass
) -> None:
    """After everything was fitted afresh: the sums under what was found, by a few walks over all images.

    mean: as the components were fitted to, before images were judged by those
    """
    problem = problem_of(images, mean, passes)
    splits = inner_splits(problem, request.seed)
    pair = mean_sums(images, mean, images.half, passes)
    seen = components.eigenvolumes[: int(components.confirmed)], components.eigenvalues[: int(components.confirmed)]
    kept = Kept(_nothing(images), mean, _of(components), {})
    table = passes.named("contrast").rows(images, ContrastRows(images, mean.noise, mean.residual_mean))
    residual = residual_power(images, mean.noise, whole_model(kept, images.scale), passes)
    own = band_noise(residual, band_freedom(images.box), images.group)
    judged = len(components.level) > 0
    band = components.band_noise if judged else own.noise
    memory = replace(
        kept.memory,
        version=np.array(version),
        splits=splits,
        energy=np.maximum(table["gram"][:, 0, 0].astype(np.float64), 1e-12),
        overlap=table["overlap"][:, 0].astype(np.float64),
        residual=residual,
        band_noise=band,
        level=components.level if judged else own.level,
        outlier=components.outlier if judged else own.probability,
        mean_grid=grid_of(pair),
        map_level=np.array(level_of(mean, pair)),
        eigenvolumes=seen[0],
        eigenvalues=seen[1],
        refreshed=np.array(len(images)),
        options=np.array(request.reconstruction.model_dump_json()),
    )
    anchors = _anchors(problem, components, splits, band)
    if passes.context.ranks.first:
        write_kept(tree.growth_memory, Kept(memory, mean, _of(components), anchors), passes.context.pen)


def remember_update(
    tree: Tree, request: Request, images: Images, before: Kept, update: Grown, version: int, passes: Pass
) -> None:
    """After an update: what it summed, beside what it took over."""
    frame = update.frame
    memory = replace(
        before.memory,
        version=np.array(version),
        rows=images.rows,
        half=images.half,
        splits=update.splits,
        energy=frame.energy,
        overlap=frame.overlap,
        residual=frame.residual,
        band_noise=frame.own.noise,
        level=frame.own.level,
        outlier=frame.own.probability,
        mean_grid=update.grid,
    )
    if passes.context.ranks.first:
        kept = Kept(memory, update.mean, _of(update.components), update.anchors)
        write_kept(tree.growth_memory, kept, passes.context.pen)


def _of(components: Components) -> dict[str, np.ndarray]:
    arrays = arrays_of(components)
    return {name: arrays[name] for name in MODEL}


def _anchors(problem: Problem, components: Components, splits: np.ndarray, bands: np.ndarray) -> dict[str, Anchor]:
    """The sums of each fit under the very model that it ended with."""
    found = {
        f"half-{half}": _anchor(replace(problem, split=splits[half]), fitted, components)
        for half, fitted in enumerate((components.alone1, components.alone2))
    }
    found["coarse"] = _anchor(problem, components.coarse, components)
    if int(components.confirmed):
        fine = replace(problem, noise=replace(problem.noise, bands=bands))
        found["fine"] = _anchor(fine, components.fine, components)
    return found


def _anchor(problem: Problem, fitted: np.ndarray, components: Components) -> Anchor:
    pose = problem.pose_spread
    if pose is not None:
        pose = type(pose)(*components.pose_spread.tolist())
    model = replace(problem.model(fitted.shape[-1] // 2 - 1, fitted), pose_spread=pose)
    return Anchor.of(model, problem.sums(model))


def _nothing(images: Images) -> Memory:
    none = np.zeros(0)
    return Memory(
        np.array(FORMAT), np.array(0), images.rows, images.half, none, none, none, none, none, none, none, none, none,
        np.array(images.scale), np.array(images.ramps.spread), none, none, none, none,
    )  # fmt: skip
