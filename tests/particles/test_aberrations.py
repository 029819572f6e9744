"""How far an aberration puts the phase off, against formulas written out, and from where it is refused."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.particles import read_particles
from covaria.particles.aberrations import Aberration, beam_tilt, coma, image_shift, magnification, tetrafoil, zernike
from covaria.request.model import IngestOptions

LAMBDA = 0.019687  # angstrom, 300 kV
CS = 2.7e7  # angstrom


def worst(values, phase, box=128, pixel_size=1.0):
    aberration = Aberration("x", np.atleast_2d(np.asarray(values, float)), np.zeros(1, np.int64), phase)
    return aberration.worst(np.full(1, 300.0), np.full(1, 2.7), box, pixel_size)[0]


def test_beam_tilt_is_relions_formula():
    """RELION: 0.360 Cs 1e7 lambda^2 s^2 (s . tilt) degrees, tilt in mrad; along the tilt, at Nyquist."""
    degrees = 0.360 * 2.7 * 1e7 * LAMBDA**2 * 0.5**3 * 0.1
    assert worst([0.1, 0.0], beam_tilt) == pytest.approx(np.deg2rad(degrees), rel=1e-3)
    assert worst([0.06, 0.08], beam_tilt) == pytest.approx(np.deg2rad(degrees), rel=1e-2)


def test_cryosparcs_tilt_is_that_times_cs():
    assert worst([CS * 1e-4, 0.0], coma) == pytest.approx(worst([0.1, 0.0], beam_tilt), rel=1e-3)


def test_a_tetrafoil_is_as_spherical_aberration():
    assert worst([1e6, 0, 0, 0], tetrafoil) == pytest.approx(np.pi / 2 * LAMBDA**3 * 0.5**4 * 1e6, rel=1e-3)


def test_a_shift_of_a_quarter_pixel_is_pi_over_four():
    assert worst([0.25, 0.0], image_shift) == pytest.approx(np.pi / 4, rel=1e-6)


def test_magnification_moves_the_edge_of_the_particle():
    """1 % of a quarter of 128 pixels is .32 pixels, pi for each at Nyquist."""
    assert worst([0.01, 0, 0, 0], magnification) == pytest.approx(0.32 * np.pi, rel=1e-3)


def test_zernike_terms_are_those_of_the_books():
    """Odd: x, y, then trefoil and coma (3 r^3 - 2 r); even: 1, astigmatism, 2 r^2 - 1, then 6 r^4 - 6 r^2 + 1."""
    radius = np.array([0.25, 0.5, 0.75, 1.0]) * 0.5
    assert worst([0, 0, 0, 0, 1.0], zernike(odd=True)) == pytest.approx(
        np.abs(3 * radius**3 - 2 * radius).max(), rel=1e-6
    )
    assert worst([0, 0, 1.0], zernike(odd=False)) == pytest.approx(np.abs(2 * radius**2 - 1).max(), rel=1e-6)
    spherical = np.abs(6 * radius**4 - 6 * radius**2 + 1).max()
    assert worst([0, 0, 0, 0, 0, 0, 1.0], zernike(odd=False)) == pytest.approx(spherical, rel=1e-6)


@pytest.mark.parametrize(
    ("large", "small"),
    [
        ({"_rlnBeamTiltX": "2.0"}, {"_rlnBeamTiltX": "0.05"}),
        ({"_rlnOddZernike": "[0,0,0,0,0,90]"}, {"_rlnOddZernike": "[0,0,0,0,0,1]"}),
        ({"_rlnEvenZernike": "[0,0,0,0,90]"}, {"_rlnEvenZernike": "[0,0,0,0,1]"}),
        ({"_rlnMagMat00": "1.1", "_rlnMagMat11": "0.9"}, {"_rlnMagMat00": "1.01", "_rlnMagMat11": "0.99"}),
    ],
)
def test_a_large_error_is_refused_and_a_small_one_noted(workshop, large, small):
    label = next(iter(large))
    with pytest.raises(InvalidInput, match=rf"{label}.*and 5 more rows"):
        read_particles(IngestOptions(particles=workshop.star(optics=large)))
    particles = read_particles(IngestOptions(particles=workshop.star(optics=small)))
    assert any(label in note and "in 6 images" in note for note in particles.notes)


def test_the_hint_names_a_box_that_is_let_pass(workshop):
    workshop.images = np.random.default_rng(0).normal(size=(6, 64, 64)).astype(np.float32)
    star = workshop.star(optics={"_rlnBeamTiltX": "1.0", "_rlnImageSize": "64"})
    with pytest.raises(InvalidInput) as refused:
        read_particles(IngestOptions(particles=star))
    box = int(str(refused.value).split("--downsample ")[1].split()[0])
    assert 16 <= box < 64
    read_particles(IngestOptions(particles=star, downsample=box))
    with pytest.raises(InvalidInput):
        read_particles(IngestOptions(particles=star, downsample=box + 2))


def test_only_rows_in_use_count(workshop, tmp_path):
    star = workshop.star(particles={"_rlnBeamTiltX": ["0", "0", "0", "0", "5.0", "5.0"], "_rlnBeamTiltY": ["0"] * 6})
    with pytest.raises(InvalidInput, match="row 5"):
        read_particles(IngestOptions(particles=star))
    np.save(tmp_path / "good.npy", np.arange(4))
    read_particles(IngestOptions(particles=star, ind=tmp_path / "good.npy"))


@pytest.mark.parametrize("text", ["[a,b]", "nan", "[1,inf]", "[" + ",".join(["0"] * 500) + "]"])
def test_what_is_no_list_is_refused(workshop, text):
    with pytest.raises(InvalidInput, match="_rlnOddZernike"):
        read_particles(IngestOptions(particles=workshop.star(optics={"_rlnOddZernike": text})))
