"""How often a rigid particle is said to move: homogeneous sets, each simulated and tested from the start.

.venv/bin/python bench/false_alarms.py --sets 40 --box 32 --images 1000 --snr 0.1
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from covaria.estimation.components.confirmation import significant_components
from covaria.estimation.mean.model import estimate_mean_model
from covaria.request.model import ReconstructionOptions
from covaria.running.passes import Pass
from covaria.simulation import ensemble
from covaria.simulation.dataset import SimulationOptions
from covaria.testing import MemoryContext, TruthSet
from covaria_reconstruction.fitting import COARSE_RADIUS, problem_of

COMPONENTS = 4


def confirmed(folder: Path, options: SimulationOptions) -> tuple[int, float]:
    """How many components a rigid set confirms, and the largest z-score that both half-sets give one."""
    images = TruthSet.simulated(folder, ensemble.homogeneous(1), options).images()
    passes = Pass(MemoryContext())
    mean = estimate_mean_model(images, ReconstructionOptions(), passes)
    problem = problem_of(images.signed(float(mean.data_sign)), mean, passes)
    found = significant_components(problem, COMPONENTS, min(COARSE_RADIUS, options.box // 2 - 1), options.seed)
    return found.count, float(np.sort(found.z_score, axis=1)[:, -1].min())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--box", type=int, default=32)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--snr", type=float, default=0.1)
    given = parser.parse_args()
    alarms = 0
    for seed in range(given.sets):
        with tempfile.TemporaryDirectory() as folder:
            options = SimulationOptions(
                box=given.box, pixel_size_angstrom=256 / given.box, n_images=given.images, snr=given.snr, seed=seed
            )
            count, score = confirmed(Path(folder) / "set", options)
        alarms += count > 0
        print(f"seed {seed}: {count} confirmed, largest z-score {score:.1f}", flush=True)
    print(f"{alarms} of {given.sets} homogeneous sets have a confirmed component")


if __name__ == "__main__":
    main()
