"""The components of a reconstruction: those that both half-sets confirm, refined, and a coarse fit of the rest."""

from __future__ import annotations

from dataclasses import astuple, replace
from functools import partial

import numpy as np
import torch

from covaria.estimation.components.confirmation import Significance, significant_components
from covaria.estimation.components.expectation_maximisation import Problem, Step, fit_components
from covaria.estimation.mean.model import MeanModel
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.estimation.reliability.bands import BandNoise
from covaria.estimation.reliability.residuals import noise_of_residuals
from covaria.imaging import volumes
from covaria.imaging.images import Images
from covaria.running.passes import Pass
from covaria.running.steps import once
from covaria_reconstruction.components import Components

COARSE_RADIUS = 16
"""Up to which the half-sets are compared as independent fits."""
UNCONFIRMED = 1e-3


def test_radius(box: int) -> int:
    """The shell up to which the half-sets are compared."""
    return min(COARSE_RADIUS, box // 2 - 1)


def problem_of(images: Images, mean: MeanModel, passes: Pass) -> Problem:
    """What the components are fitted to: the residuals of the mean, inside the mask of the components."""
    spread, pose = float(mean.contrast_sd), PoseSpread(*mean.pose_spread.tolist())
    mask, weights = mean.component_mask, mean.weights
    return Problem(images, passes, mean.noise, mean.residual_mean, mask, spread, images.half, pose, weights)


def find_components(problem: Problem, count: int, seed: int) -> Components:
    """`count` components on the full box: those that both half-sets confirm, refined, and a coarse fit of the rest.

    Before they are refined, images are judged anew by what the confirmed components leave of them.
    """
    radius = test_radius(problem.images.box)
    tested = tested_components(problem, count, seed)
    problem.log(f"components: held-out z-scores {np.round(tested.z_score, 1).tolist()}")
    step = fit_components(problem, count, start=tested.model, limit=radius, last_steps=0, name="components.coarse")
    found, coarse = full_size(problem, step), step.model.components
    first, second = tested.alone
    kept = {"coarse": coarse, "alone1": first, "alone2": second}
    if not tested.count:
        return replace(confirmed(found, tested), **kept)
    full = replace(
        problem.model(problem.images.box // 2 - 1, tested.confirmed.components), pose_spread=step.model.pose_spread
    )
    make = partial(noise_of_residuals, problem.images, problem.noise, full, problem.passes)
    own = once(problem.passes.context, "components.own-noise", BandNoise, make)
    problem = replace(problem, noise=replace(problem.noise, bands=own.noise))
    step = fit_components(problem, tested.count, start=tested.confirmed, name="components.fine")
    found = joined(full_size(problem, step), found)
    found = replace(confirmed(found, tested), level=own.level, outlier=own.probability, band_noise=own.noise)
    return replace(found, fine=step.model.components, **kept)


def tested_components(problem: Problem, count: int, seed: int) -> Significance:
    """Each half-set's own, up to a coarse radius, as the other half-set confirms them."""
    return significant_components(problem, count, test_radius(problem.images.box), seed)


def confirmed(found: Components, tested: Significance) -> Components:
    """The eigenvalues of the components that count as they are; those that the other half did not confirm next to zero.

    Half-sets that share latents agree on noise, and an eigenvalue fitted to noise would move particles along it.
    """
    kept = np.where(np.arange(len(found.eigenvalues)) < tested.count, 1.0, UNCONFIRMED)
    scores = np.sort(tested.z_score, axis=1)[:, ::-1].min(0)
    return replace(found, eigenvalues=found.eigenvalues * kept, confirmed=np.array(tested.count), z_score=scores)


def full_size(problem: Problem, step: Step) -> Components:
    """The components of a step on the full box, in density units, as eigenvolumes and eigenvalues; none confirmed."""
    box, scale, found = len(problem.mask), problem.images.scale, step.found
    both, first, second = (
        volumes.resize_fourier(torch.as_tensor(v), box).numpy() * scale for v in (found.components, *found.halves)
    )
    norm = np.sqrt((both.astype(np.float64) ** 2).sum((1, 2, 3)))
    sign = np.sign([v.ravel()[np.abs(v).argmax()] for v in both])
    unit = (sign / np.maximum(norm, 1e-30)).astype(np.float32)[:, None, None, None]
    eigenvalues = found.power * scale**2 * (found.components.shape[-1] / box) ** 3
    curves = np.pad(found.fsc, ((0, 0), (0, box // 2 - found.fsc.shape[1])))
    pose = np.array(astuple(step.model.pose_spread or PoseSpread(0.0, 0.0)))
    nothing = np.array(0), np.zeros(len(eigenvalues))
    return Components(both * unit, eigenvalues, first * unit, second * unit, curves, *nothing, pose)


def joined(confirmed: Components, coarse: Components) -> Components:
    """The confirmed components, and what a coarser fit of more of them holds besides: as many together as that fit."""
    count, total = len(confirmed.eigenvalues), len(coarse.eigenvalues)
    if count == total:
        return confirmed
    overlap = np.einsum("kzyx,lzyx->kl", coarse.eigenvolumes, confirmed.eigenvolumes, optimize=True)
    eigenvolumes, half1, half2 = (
        one - np.einsum("kl,lzyx->kzyx", overlap, known, optimize=True)
        for one, known in (
            (coarse.eigenvolumes, confirmed.eigenvolumes),
            (coarse.half1, confirmed.half1),
            (coarse.half2, confirmed.half2),
        )
    )
    flat = eigenvolumes.reshape(total, -1) * np.sqrt(coarse.eigenvalues)[:, None]
    values, vectors = np.linalg.eigh(flat @ flat.T)
    values, vectors = values[::-1][: total - count], vectors[:, ::-1][:, : total - count]
    turn = (vectors * np.sqrt(coarse.eigenvalues)[:, None] / np.sqrt(values)).T
    rest = (np.einsum("kl,lzyx->kzyx", turn, one, optimize=True) for one in (eigenvolumes, half1, half2))
    return Components(
        np.concatenate([confirmed.eigenvolumes, next(rest)]).astype(np.float32),
        np.concatenate([confirmed.eigenvalues, values]),
        np.concatenate([confirmed.half1, next(rest)]).astype(np.float32),
        np.concatenate([confirmed.half2, next(rest)]).astype(np.float32),
        np.concatenate([confirmed.fsc, vectors.T**2 @ coarse.fsc]),
        confirmed.confirmed,
        coarse.z_score,
        confirmed.pose_spread,
    )
