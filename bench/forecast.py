"""How often forecasts hold: sets fed in parts, each part's forecast against what later parts found.

python bench/forecast.py /tmp/forecast [--sets 10] [--images 800] [--box 16]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from growth import parts_of_sizes, update
from rich.console import Console

from covaria.estimation.forecast import FACTORS, components_at, resolution_at, states_at
from covaria.estimation.mean.model import estimate_mean_model
from covaria.imaging.images import read_images
from covaria.maps import resolution_at as resolution_of
from covaria.operations.one_machine import run_stages
from covaria.particles import read_particles
from covaria.particles.halves import with_half_sets
from covaria.request.model import AnalysisOptions, DensityOptions, IngestOptions, ReconstructionOptions, Request
from covaria.results.foreseen import own_analysis, state_curves
from covaria.running.passes import Pass
from covaria.simulation.dataset import BOX_LENGTH_ANGSTROM, SimulationOptions
from covaria.simulation.ensemble import BUILT_IN
from covaria.testing import MemoryContext, TruthSet
from covaria_analysis import stage as analysis_stage
from covaria_reconstruction import results as reconstruction_results

KINDS = (("plane", 25), ("ring", 20), ("curved", 20), ("discrete", 3), ("presence", 2))
SNRS = (0.3, 0.6, 1.0, 2.0)
PARTS = (8, 4, 2, 1)
OF_MEAN_BOX, OF_MEAN_SNRS = 32, (0.01, 0.02, 0.04)
OF_STATES_BOX, OF_STATES_SNRS, CENTRES = 48, (0.4, 0.8), 4


def set_of(folder: Path, number: int, images: int, box: int, snr: float) -> tuple[TruthSet, list[Path], float]:
    """A simulated set, its parts, and the size of a voxel."""
    (states, count), voxel = KINDS[number % len(KINDS)], BOX_LENGTH_ANGSTROM / box
    shutil.rmtree(folder, ignore_errors=True)
    options = SimulationOptions(
        n_images=images, box=box, pixel_size_angstrom=voxel, snr=snr, seed=number, atom_sigma_angstrom=0.6 * voxel
    )
    truth = TruthSet.simulated(folder / "set", BUILT_IN[states](count), options)
    return truth, parts_of_sizes(truth, [images // part for part in PARTS]), voxel


def components_hold(folder: Path, number: int, images: int, box: int) -> list[tuple[bool, int]]:
    """Whether each forecast of the confirmed components held, and its width."""
    _, parts, _ = set_of(folder, number, images, box, SNRS[number % len(SNRS)])
    found = [update(folder / "out", star, None, 4) for star in parts]
    print(f"{KINDS[number % len(KINDS)][0]}, SNR {SNRS[number % len(SNRS)]}: "
          + "; ".join(f"{one.confirmed} {np.round(one.z_score, 1).tolist()}" for one in found), flush=True)  # fmt: skip
    held = []
    for first, one in enumerate(found):
        for step, later in enumerate(found[first + 1 :]):
            low, high = components_at(one.z_score, FACTORS[step])
            held.append((low <= later.confirmed <= high, high - low))
    return held


def resolution_holds(folder: Path, number: int, images: int) -> list[bool]:
    """Whether each forecast of the mean's resolution held, where one was made."""
    _, parts, voxel = set_of(folder, number, images, OF_MEAN_BOX, OF_MEAN_SNRS[number % len(OF_MEAN_SNRS)])
    curves = []
    for star in parts:
        particles = with_half_sets(read_particles(IngestOptions(particles=star)), 0)
        passes = Pass(MemoryContext(memory_bytes=1 << 30))
        curves.append(estimate_mean_model(read_images(particles), ReconstructionOptions(), passes).fsc)
    held = []
    for first, curve in enumerate(curves):
        for step, later in enumerate(curves[first + 1 :]):
            ends = resolution_at(curve, voxel, FACTORS[step])
            if ends is not None:
                held.append(ends[0] * 0.999 <= resolution_of(later, voxel) <= ends[1] * 1.001)
    print(f"resolution: {[round(resolution_of(one, voxel), 1) for one in curves]} A, {held}", flush=True)
    return held


def states_hold(folder: Path, number: int, images: int, snr: float) -> list[bool]:
    """Whether each forecast of the states' middle resolution held; whole runs without figures."""
    _, parts, voxel = set_of(folder, number, images, OF_STATES_BOX, snr)
    found = []
    for star in parts:
        shutil.rmtree(folder / "run", ignore_errors=True)
        asked = Request(
            out=folder / "run",
            ingest=IngestOptions(particles=star, downsample=None),
            reconstruction=ReconstructionOptions(zdim=(2,), sensitivity=False),
            density=DensityOptions(enabled=False),
            analysis=AnalysisOptions(n_clusters=CENTRES, n_trajectories=0, skip_umap=True),
        )
        tree = run_stages(asked, command="run", command_line="bench", device="cpu", console=Console(quiet=True))
        files = own_analysis(tree)
        assert files is not None
        found.append(state_curves(files, CENTRES))
    middle = [np.median([resolution_of(curve, voxel) for curve in one]) if one else np.nan for one in found]
    held = []
    for first, curves in enumerate(found):
        for step, later in enumerate(middle[first + 1 :]):
            ends = states_at(curves, voxel, FACTORS[step])
            if ends is not None and np.isfinite(later):
                held.append(bool(ends[0] * 0.999 <= later <= ends[1] * 1.001))
    print(f"states: SNR {snr}, {np.round(middle, 1).tolist()} A, {held}", flush=True)
    return held


def without_figures() -> None:
    """Whole runs draw nothing: what is asked here is in their numbers."""
    reconstruction_results.draw_all = lambda drawings: None
    analysis_stage.draw = lambda drawings, context: None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--box", type=int, default=16)
    parser.add_argument("--states", action="store_true", help="only the resolution of states, by whole runs")
    given = parser.parse_args()
    if given.states:
        without_figures()
        of_states = [
            one
            for n in range(given.sets)
            for one in states_hold(given.folder, n, given.images, OF_STATES_SNRS[n % len(OF_STATES_SNRS)])
        ]
        print(f"states: {np.mean(of_states):.2f} of {len(of_states)} intervals hold", flush=True)
        return
    of_mean = [one for n in range(given.sets) for one in resolution_holds(given.folder, n, given.images)]
    print(f"resolution: {np.mean(of_mean):.2f} of {len(of_mean)} intervals hold", flush=True)
    found = [one for n in range(given.sets) for one in components_hold(given.folder, n, given.images, given.box)]
    held, width = np.mean(found, axis=0)
    print(f"components: {held:.2f} of {len(found)} intervals hold, {width:.2f} from end to end")


if __name__ == "__main__":
    main()
