"""States of a simulated tilt series against the truth, from RELION 5's files to the maps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

import covaria
from covaria.maps import fsc, read_volume
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN
from covaria.simulation.tilting import TiltScheme

PARTICLES, TILTS = 200, 5


@pytest.mark.slow
def test_states_are_those_of_the_particles(tmp_path):
    """A part is there or not: coordinates tell who has it, the states' difference is the part, each state its truth."""
    scheme = TiltScheme(TILTS, 15.0, 2.0, "relion5")
    options = SimulationOptions(n_images=PARTICLES, box=32, pixel_size_angstrom=8.0, snr=0.5, tilts=scheme, seed=2)
    simulate(tmp_path / "set", BUILT_IN["presence"](2), options)
    run = covaria.run(
        tmp_path / "set/particles.star", tmp_path / "out", tomograms=tmp_path / "set/tomograms.star", zdim=(1,),
        downsample=None, density=False, n_clusters=2, n_trajectories=0, skip_umap=True, sensitivity=False, quiet=True,
    )  # fmt: skip
    labels = np.loadtxt(tmp_path / "set/gt/labels.txt", dtype=int)[::TILTS]
    coordinates = run.latents(1)[:, 0]
    assert np.isfinite(coordinates).sum() == PARTICLES
    found = coordinates[::TILTS]
    ranks, there = rankdata(found), labels == 1
    area = (ranks[there].sum() - there.sum() * (there.sum() + 1) / 2) / (there.sum() * (~there).sum())
    assert max(area, 1 - area) > 0.95
    truth = [read_volume(tmp_path / f"set/gt/vol{number:04d}.mrc")[0] for number in (0, 1)]
    states = [run.state([float(found[labels == number].mean())]).values for number in (0, 1)]
    mask = (np.maximum(*truth) > 0.05 * max(volume.max() for volume in truth)).astype(np.float32)
    own = [fsc(states[n], truth[n], mask)[1:8].mean() for n in (0, 1)]
    other = [fsc(states[n], truth[1 - n], mask)[1:8].mean() for n in (0, 1)]
    assert min(own) > 0.9 and min(a - b for a, b in zip(own, other, strict=True)) > 0.01, (own, other)
    moved, true = states[0] - states[1], truth[0] - truth[1]
    assert np.corrcoef((moved * mask).ravel(), (true * mask).ravel())[0, 1] > 0.8
