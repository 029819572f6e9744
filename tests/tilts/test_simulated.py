"""Tilt series that `covaria simulate` makes, in both layouts, and what states of them are like."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from covaria.cli import application
from covaria.errors import InvalidInput
from covaria.particles import read_particles
from covaria.particles.rotations import matrices_from_euler
from covaria.request.model import IngestOptions
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN
from covaria.simulation.nuisances import Nuisances
from covaria.simulation.tilting import TiltScheme
from covaria.simulation.truth import read_truth

BOX, PIXEL, PARTICLES, TILTS = 32, 8.0, 60, 5


def options(layout="warp", **more):
    scheme = TiltScheme(TILTS, 12.0, 2.0, layout)
    given = {"n_images": PARTICLES, "box": BOX, "pixel_size_angstrom": PIXEL, "snr": 1.0, "tilts": scheme} | more
    return SimulationOptions(**given)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The same particles as Warp and as RELION 5 hand them over."""
    folders = {layout: tmp_path_factory.mktemp("tilts") / layout for layout in ("warp", "relion5")}
    for layout, folder in folders.items():
        simulate(folder, BUILT_IN["presence"](2), options(layout))
    return folders


def read(folder, **more):
    tomograms = folder / "tomograms.star"
    more |= {"tomograms": tomograms} if tomograms.exists() else {}
    return read_particles(IngestOptions(particles=folder / "particles.star", **more))


def test_both_layouts_say_the_same_of_the_same_images(sets):
    warp, relion5 = read(sets["warp"]), read(sets["relion5"])
    assert len(warp) == len(relion5) == PARTICLES * TILTS and warp.count == relion5.count == PARTICLES
    np.testing.assert_allclose(relion5.rotations, warp.rotations, atol=1e-6)
    np.testing.assert_allclose(relion5.translations, warp.translations, atol=1e-4)
    for name in ("defocus_u_angstrom", "defocus_v_angstrom", "scale", "b_factor_angstrom2", "defocus_angle_rad"):
        np.testing.assert_allclose(getattr(relion5.ctf, name), getattr(warp.ctf, name), rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(relion5.half_set, warp.half_set)
    for particles in (warp, relion5):
        np.testing.assert_array_equal(particles.particle, np.repeat(np.arange(PARTICLES), TILTS))
    rows = np.array([0, 7, PARTICLES * TILTS - 1])
    np.testing.assert_allclose(relion5.images.read(rows), warp.images.read(rows), atol=1e-5)


def test_the_stage_turns_what_the_particle_is(sets):
    """Angles and origins of a particle in RELION 5's files, tilts and dose in its tomogram's."""
    found, number = read(sets["relion5"]), PARTICLES - 1
    table = (sets["relion5"] / "particles.star").read_text().strip().splitlines()[-1].split()
    own = matrices_from_euler(np.array(table[6:9], float)[None])[0]
    origin = np.array(table[9:12], float)
    series = (sets["relion5"] / "tilt_series" / f"{table[0]}.star").read_text().strip().splitlines()[-TILTS:]
    for place, line in enumerate(series):
        x, y, z = (float(value) for value in line.split()[1:4])
        stage = Rotation.from_euler("ZYX", [z, y, x], degrees=True).as_matrix()
        row = number * TILTS + place
        np.testing.assert_allclose(found.rotations[row], stage @ own, atol=1e-6)
        np.testing.assert_allclose(found.translations[row] * PIXEL, (stage @ origin)[:2], atol=1e-4)
        assert found.ctf.scale[row] == pytest.approx(np.cos(np.deg2rad(y)), abs=1e-6)
        assert found.ctf.b_factor_angstrom2[row] == pytest.approx(4 * 2.0 * place)
    assert [float(line.split()[2]) for line in series] == [0, 12, -12, 24, -24]


def test_the_truth_has_a_line_for_each_image(sets):
    for folder in sets.values():
        truth = read_truth(folder)
        assert len(truth.labels) == len(truth.contrast) == len(truth.images) == PARTICLES * TILTS
        labels = truth.labels.reshape(PARTICLES, TILTS)
        assert np.all(labels == labels[:, :1]) and len(np.unique(labels)) == 2


@pytest.mark.parametrize(
    ("layout", "more", "found"),
    [
        ("relion5", {"nuisances": Nuisances(rotation_error_deg=2.0)}, "for images that are particles"),
        ("warp", {"nuisances": Nuisances(kept_view_share=0.3)}, "for images that are particles"),
        ("warp", {"helix": (30.0, 50.0)}, "a filament is seen from its side"),
    ],
)
def test_what_tilts_cannot_have_is_refused(tmp_path, layout, more, found):
    with pytest.raises(InvalidInput, match=found):
        simulate(tmp_path / "set", BUILT_IN["homogeneous"](1), options(layout, **more))


def test_tilts_beyond_the_stage_are_refused():
    with pytest.raises(InvalidInput, match="tilts of up to 90 degrees"):
        TiltScheme(61, 3.0)


def test_from_the_command_line_to_the_next_command(tmp_path):
    words = ["simulate", str(tmp_path / "set"), "--box", "32", "-n", "20", "--states", "homogeneous", "--tilts", "3",
             "--tilt-step", "20", "--dose-per-tilt", "5", "--tilt-layout", "relion5", "--symmetry", "C2"]  # fmt: skip
    done = CliRunner().invoke(application(), words)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "20 particles, 3 images each" in said and re.search(r"--symmetry C2 --tomograms \S+tomograms.star", said)
    found = read(tmp_path / "set", symmetry="C2")
    assert found.count == 40 and found.copies == 2 and len(found) == 120
