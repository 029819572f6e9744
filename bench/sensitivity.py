"""How well the table of sensitivity predicts what is confirmed: known motions of graded size in twins of rigid sets.

    .venv/bin/python bench/sensitivity.py --sets 2 --box 24 --images 600 --snr 0.1

Each twin is a rigid set whose images have the slices of one motion added in half of them, at their own poses and CTFs;
the whole held-out test is then run on it.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import brentq

from covaria.estimation.components.confirmation import significant_components
from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.mean.model import MeanModel, estimate_mean_model
from covaria.estimation.sensitivity.motions import DIRECTIONS, cut, leaving, turning
from covaria.estimation.sensitivity.survey import energies, outlook_of
from covaria.imaging import volumes
from covaria.imaging.noise import Noise
from covaria.imaging.pixel_store import PixelStore
from covaria.imaging.slices import project
from covaria.request.model import ReconstructionOptions
from covaria.running.passes import Pass
from covaria.simulation import ensemble
from covaria.simulation.dataset import SimulationOptions
from covaria.testing import MemoryContext, TruthSet
from covaria_reconstruction.fitting import COARSE_RADIUS, problem_of

COMPONENTS = 4
KINDS = ((0.15, 0.0), (0.15, 8.0), (0.06, 0.0), (0.30, 5.0))
"""Share of the mass, and way of its centre in angstrom; 0: there or not."""


def rigid(options: SimulationOptions) -> tuple[Problem, MeanModel]:
    with tempfile.TemporaryDirectory() as folder:
        images = TruthSet.simulated(Path(folder) / "set", ensemble.homogeneous(1), options).images()
    passes = Pass(MemoryContext())
    mean = estimate_mean_model(images, ReconstructionOptions(), passes)
    return problem_of(images.signed(float(mean.data_sign)), mean, passes), mean


def twin(problem: Problem, motion: np.ndarray, moved: np.ndarray) -> Problem:
    """The same set with the slices of `motion` (D, D, D) added to each image, times moved (N,)."""
    images, store = problem.images, PixelStore(problem.images.store.pixels.clone())
    model = problem.model(images.box // 2 - 1, motion[None].astype(np.float32))
    padded, slot = volumes.to_padded(torch.as_tensor(model.components)), np.empty(len(images), np.int64)
    slot[images.mine] = np.arange(len(images.mine))
    for batch in images.batches(np.ones(len(images), bool), Noise.white(images.box, images.groups)):
        slices = project(padded, batch.rotations, batch.plane)[..., 0] * batch.ctf[:, :, None]
        pixels = batch.pixels + slices * torch.as_tensor(moved[batch.index], dtype=torch.float32)[:, None, None]
        root = torch.as_tensor(np.sqrt(batch.plane.weight))[None, :, None]
        store.put(slot[batch.index], pixels / root * images.sign)
    return replace(problem, images=replace(images, store=store))


def graded(problem: Problem, energy: np.ndarray, radius: int, overlap: float) -> float:
    """By what the motion's energy (R + 1,) is to be multiplied to have this overlap."""

    def excess(log: float) -> float:
        return float(outlook_of(problem, np.exp(log) * energy, radius).overlap) - overlap

    return float(np.exp(brentq(excess, -9, 9)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", type=int, default=2)
    parser.add_argument("--box", type=int, default=24)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--overlaps", type=float, nargs="+", default=[0.25, 0.4, 0.5, 0.6])
    given = parser.parse_args()
    radius, errors = min(COARSE_RADIUS, given.box // 2 - 1), []
    print("| set | mass | way | overlap | predicted | confirmed | z-scores |\n|---|---|---|---|---|---|---|")
    for seed in range(given.sets):
        pixel = 256 / given.box
        options = SimulationOptions(
            box=given.box, pixel_size_angstrom=pixel, n_images=given.images, snr=given.snr, seed=seed
        )
        problem, mean = rigid(options)
        rng = np.random.default_rng(seed)
        for mass, way in KINDS:
            part = cut(problem.mean.astype(float), mean.mask, mass, DIRECTIONS[rng.integers(4)])
            motion = turning(problem.mean, part, way / pixel) if way else leaving(problem.mean, part)
            energy = energies(problem, motion[None], radius)[0] / 4  # half of the images: variance 1/4
            for wanted in given.overlaps:
                grade = graded(problem, energy, radius, wanted)
                moved = np.sqrt(grade) * ((rng.random(given.images) < 0.5) - 0.5)
                found = significant_components(twin(problem, motion, moved), COMPONENTS, radius, seed)
                predicted = float(outlook_of(problem, grade * energy, radius).probability)
                errors.append(predicted - (found.count > 0))
                z_scores = ", ".join(f"{half.max():.1f}" for half in found.z_score)
                line = (seed, mass, way or "there or not", wanted, f"{predicted:.2f}", found.count, z_scores)
                print("|", *(f"{cell} |" for cell in line), flush=True)
    by_grade = np.array(errors).reshape(-1, len(given.overlaps)).mean(0)
    print("predicted minus confirmed, by overlap:", np.round(by_grade, 3).tolist())
    print(f"mean of their sizes: {np.abs(by_grade).mean():.3f}")


if __name__ == "__main__":
    main()
