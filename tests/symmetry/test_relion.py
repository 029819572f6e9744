"""What is right-handed, and what a set expanded by RELION is: its own programs decide."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from covaria.maps import fsc, read_volume
from covaria.particles import read_particles
from covaria.particles.halves import with_half_sets
from covaria.request.model import IngestOptions

ABSENT = shutil.which("relion_particle_symmetry_expand") is None or shutil.which("relion_reconstruct") is None
pytestmark = pytest.mark.skipif(ABSENT, reason="RELION is not installed")


def relion(folder, *command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_helix_is_right_handed_where_relion_says_so(helix):
    """relion_reconstruct averages the simulated segments over three units: with our twist it is the truth."""
    truth = read_volume(helix / "gt" / "vol0000.mrc")[0]
    axis = np.abs(np.arange(32) - 16)
    middle = (np.maximum(axis[:, None, None], np.hypot(axis[:, None], axis)) < 9).astype(np.float32)
    agreement = {}
    for twist in (50, -50):
        name = f"twist{twist}.mrc"
        relion(helix, "relion_reconstruct", "--i", "particles.star", "--o", name, "--ctf", "--nr_helical_asu", "3",
               "--helical_rise", "30", "--helical_twist", str(twist), "--pad", "2")  # fmt: skip
        agreement[twist] = float(fsc(read_volume(helix / name)[0], truth, middle)[1:10].mean())
    assert agreement[50] > 0.85 and agreement[50] > agreement[-50] + 0.1, agreement


def test_a_set_that_relion_expanded_counts_by_image(c4):
    """Rows that name one image: the same poses as ours, one half-set, one unit of every test."""
    relion(c4, "relion_particle_symmetry_expand", "--i", "particles.star", "--o", "expanded.star", "--sym", "C4")
    theirs = read_particles(IngestOptions(particles=c4 / "expanded.star"))
    ours = read_particles(IngestOptions(particles=c4 / "particles.star", symmetry="C4"))
    assert len(theirs) == len(ours) == 240 and theirs.copies == 1
    images = theirs.images.index
    assert np.all(np.bincount(theirs.together) == 4)
    for image in range(0, 60, 7):
        rows, own = np.flatnonzero(images == image), ours.rotations[image::60]
        distance = np.abs(theirs.rotations[rows][:, None] - own).max((2, 3))
        assert np.all(distance.min(1) < 1e-4) and len(set(distance.argmin(1).tolist())) == 4
    drawn = with_half_sets(replace(theirs, half_set=np.full(240, -1, np.int8)), 0)
    assert all(len(set(drawn.half_set[images == image].tolist())) == 1 for image in range(60))
    assert any("60 images that several rows name" in note for note in theirs.notes)
