"""`--refine-poses` from the particle file to the particle file: better poses, all else as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE
from covaria.particles.read import read_metadata
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.results.particle_table import REFINED, has_refined_poses, read_particle_column
from covaria.simulation import ensemble
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.image_truth import read_image_truth
from covaria.simulation.nuisances import Nuisances
from covaria.stage import Job
from covaria.testing import MemoryContext
from covaria.testing.context import MemoryCheckpoints
from covaria.tree import Tree, record
from covaria_ingest.stage import run as ingest
from covaria_reconstruction.poses import posed_source
from covaria_reconstruction.stage import run as reconstruct

PIXEL = 8.0


def test_the_source_comes_back_with_better_poses(tmp_path: Path) -> None:
    options = SimulationOptions(
        n_images=240, box=32, pixel_size_angstrom=PIXEL, atom_sigma_angstrom=5.0, snr=0.5,
        nuisances=Nuisances(shift_error_pixels=0.8),
    )  # fmt: skip
    simulate(tmp_path / "set", ensemble.homogeneous(1), options)
    source = tmp_path / "set" / "particles.star"
    request = Request(
        out=tmp_path / "out",
        ingest=IngestOptions(particles=source, downsample=None),
        reconstruction=ReconstructionOptions(only_mean=True, refine_poses=True),
    )
    tree = Tree(request.out)
    tree.out.mkdir()
    stages = ("ingest", "reconstruction")
    record.write_request(
        tree,
        job_id="a",
        command="run",
        command_line="covaria run",
        stages=stages,
        request=request,
    )
    for stage in (ingest, reconstruct):
        stage(Job("a", request), MemoryContext(checkpoints=MemoryCheckpoints()))

    truth = read_image_truth(tmp_path / "set")
    true = np.stack([truth.x_pixels, truth.y_pixels], 1)
    before, after = (
        read_metadata(IngestOptions(particles=path)).metadata.shifts.pixels(32, PIXEL)
        for path in (source, tree.refined.star)
    )
    assert (after - true).std() < 0.5 * (before - true).std()
    assert has_refined_poses(tree)
    moved = np.stack([read_particle_column(tree, 240, name) for name in REFINED[:2]], 1)
    np.testing.assert_allclose(after, before + moved, atol=1e-5)
    poses = record.read_findings(tree).poses
    assert poses is not None
    assert poses.rounds >= 1
    assert poses.shift_pixels < 0.5 * poses.shift_pixels_before


def test_a_tilt_series_is_refused(moving, tmp_path: Path) -> None:
    request = Request(
        out=tmp_path, ingest=IngestOptions(particles=moving.folder / "particles.star"),
        reconstruction=ReconstructionOptions(refine_poses=True),
    )  # fmt: skip
    tilts = replace(moving.particles, particle=np.arange(len(moving.particles)) // 4)
    with pytest.raises(InvalidInput, match="tilt series"):
        posed_source(request, tilts, ANYWHERE)
