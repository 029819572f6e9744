"""How far an aberration puts the phase off, against formulas written out, and from where it is refused."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.particles import read_particles
from covaria.particles.aberrations import Aberration, image_shift, tetrafoil, trefoil
from covaria.request.model import IngestOptions

LAMBDA = 0.019687  # angstrom, 300 kV


def worst(values, phase, box=128, pixel_size=1.0):
    aberration = Aberration("x", np.atleast_2d(np.asarray(values, float)), np.zeros(1, np.int64), phase)
    return aberration.worst(np.full(1, 300.0), np.full(1, 2.7), box, pixel_size)[0]


def test_a_trefoil_grows_with_the_cube_of_the_frequency():
    assert worst([3e3, 4e3], trefoil) == pytest.approx(2 * np.pi / 3 * LAMBDA**2 * 0.5**3 * 5e3, rel=1e-3)


def test_a_tetrafoil_is_as_spherical_aberration():
    assert worst([1e6, 0, 0, 0], tetrafoil) == pytest.approx(np.pi / 2 * LAMBDA**3 * 0.5**4 * 1e6, rel=1e-3)


def test_two_and_four_fold_terms_of_a_tetrafoil_add_up_where_both_are_worst():
    assert worst([1e6, 0, 1e6, 0], tetrafoil) == pytest.approx(2 * worst([1e6, 0, 0, 0], tetrafoil))
    assert worst([3e5, 4e5, 0, 0], tetrafoil) == pytest.approx(worst([0, 0, 5e5, 0], tetrafoil))


def test_a_shift_of_a_quarter_pixel_is_pi_over_four():
    assert worst([0.25, 0.0], image_shift) == pytest.approx(np.pi / 4, rel=1e-6)


def with_trefoil(workshop, angstrom):
    """A .cs whose rows have this trefoil (N,)."""
    values = np.stack([np.asarray(angstrom, "f4"), np.zeros(len(angstrom), "f4")], axis=1)
    return workshop.cs(workshop.cs_table({"ctf/trefoil_A": values}))


def test_a_large_error_is_refused_and_a_small_one_noted(workshop):
    with pytest.raises(InvalidInput, match=r"ctf/trefoil_A.*and 5 more rows"):
        read_particles(IngestOptions(particles=with_trefoil(workshop, [1e5] * 6)))
    particles = read_particles(IngestOptions(particles=with_trefoil(workshop, [1e2] * 6)))
    assert any("ctf/trefoil_A" in note and "in 6 images" in note for note in particles.notes)


def test_the_hint_names_a_box_that_is_let_pass(workshop):
    workshop.images = np.random.default_rng(0).normal(size=(6, 64, 64)).astype(np.float32)
    source = with_trefoil(workshop, [5e4] * 6)
    with pytest.raises(InvalidInput) as refused:
        read_particles(IngestOptions(particles=source))
    box = int(str(refused.value).split("--downsample ")[1].split()[0])
    assert 16 <= box < 64
    read_particles(IngestOptions(particles=source, downsample=box))
    with pytest.raises(InvalidInput):
        read_particles(IngestOptions(particles=source, downsample=box + 2))


def test_only_rows_in_use_count(workshop, tmp_path):
    source = with_trefoil(workshop, [0, 0, 0, 0, 1e5, 1e5])
    with pytest.raises(InvalidInput, match="row 5"):
        read_particles(IngestOptions(particles=source))
    np.save(tmp_path / "good.npy", np.arange(4))
    read_particles(IngestOptions(particles=source, ind=tmp_path / "good.npy"))


@pytest.mark.parametrize("text", ["[a,b]", "nan", "[1,inf]", "[" + ",".join(["0"] * 500) + "]"])
def test_what_is_no_list_is_refused(workshop, text):
    with pytest.raises(InvalidInput, match="_rlnOddZernike"):
        read_particles(IngestOptions(particles=workshop.star(optics={"_rlnOddZernike": text})))
