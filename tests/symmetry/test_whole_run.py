"""A symmetric set from the particle file to its clusters and back."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from scipy.stats import rankdata

import covaria
from covaria.maps import read_volume
from covaria.results.particle_table import particle_columns, read_particle_column
from covaria_reconstruction.particles import _units

IMAGES = 150


def test_the_table_tells_unit_and_image_of_every_row():
    found = _units(12, 3)
    assert found["unit"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found["image_row"].tolist() == [0, 1, 2, 3] * 3
    assert all(values.dtype.kind == "f" for values in found.values())


@pytest.mark.slow
def test_arms_that_are_there_or_not(make_set, tmp_path):
    """150 images of four arms, each there in 60 %: one motion, clusters by arm, images of whichever arm is chosen."""
    folder = make_set("presence", 2, n_images=IMAGES, snr=2.0, symmetry="C4")
    axis = np.arange(32) - 16
    beside = axis[None, None, :] > np.abs(axis)[None, :, None] + 0 * axis[:, None, None]
    volumes = [read_volume(folder / f"gt/vol{number:04d}.mrc")[0] for number in (0, 1)]
    moves = np.abs(volumes[0] - volumes[1]) > 0.02 * np.abs(volumes[0]).max()
    mask = (binary_dilation(moves, iterations=2) & beside).astype(np.float32)
    mrcfile.write(tmp_path / "arm.mrc", mask, voxel_size=8.0)
    run = covaria.run(
        folder / "particles.star", tmp_path / "out", symmetry="C4", focus_mask=tmp_path / "arm.mrc", zdim=(1,),
        downsample=None, n_clusters=2, n_trajectories=0, skip_umap=True, sensitivity=False, quiet=True,
    )  # fmt: skip
    assert run.findings.particles == run.findings.used == IMAGES and len(run.findings.components) == 1
    labels = np.loadtxt(folder / "gt/labels.txt", dtype=int)
    coordinates = run.latents(1)[:, 0]
    assert len(coordinates) == 4 * IMAGES
    there = labels == 0
    area = (rankdata(coordinates)[there].sum() - there.sum() * (there.sum() + 1) / 2) / (there.sum() * (~there).sum())
    assert max(area, 1 - area) > 0.9
    assert {"unit", "image_row"} <= set(particle_columns(run.tree))
    unit = read_particle_column(run.tree, 4 * IMAGES, "unit")
    chosen = run.select("unit == 2 and contrast > 0")
    assert int((unit == 2).sum()) == IMAGES and len(chosen.rows) == IMAGES
    assert not any("without a focus mask" in warning for warning in run.findings.warnings)
