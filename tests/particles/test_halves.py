"""Half-sets are drawn from what is independent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.particles import read_particles
from covaria.particles.halves import draw, with_half_sets
from covaria.particles.independence import joined
from covaria.request.model import IngestOptions

COUNT = 40


def read(workshop, particles=None, **options):
    """A set of 40 rows on 40 images."""
    rng = np.random.default_rng(3)
    workshop.images = rng.normal(size=(COUNT, 16, 16)).astype(np.float32)
    workshop.particles = {label: (values * 7)[:COUNT] for label, values in workshop.particles.items()}
    workshop.particles["_rlnImageName"] = [f"{row + 1:06d}@stack.mrcs" for row in range(COUNT)]
    return read_particles(IngestOptions(particles=workshop.star(particles=particles or {}), **options))


def stay_together(half, codes):
    return all(len(set(half[codes == code])) == 1 for code in np.unique(codes))


def test_rows_that_name_one_image_stay_together(workshop):
    image = np.arange(COUNT) // 2
    particles = read(workshop, {"_rlnImageName": [f"{number + 1:06d}@stack.mrcs" for number in image]})
    drawn = with_half_sets(particles, 0)
    assert stay_together(drawn.half_set, image)
    assert np.bincount(drawn.half_set).tolist() == [20, 20]
    assert any("20 images that several rows name (40 rows)" in note for note in drawn.notes)


def test_filaments_stay_together(workshop):
    tube, micrograph = np.arange(COUNT) // 5 % 4, np.arange(COUNT) // 20
    names = {
        "_rlnHelicalTubeID": [str(one) for one in tube],
        "_rlnMicrographName": [f"m{one}.mrc" for one in micrograph],
    }
    drawn = with_half_sets(read(workshop, names), 0)
    assert stay_together(drawn.half_set, micrograph * 10 + tube)
    assert np.bincount(drawn.half_set).tolist() == [20, 20]
    assert any("8 helical tubes (40 rows)" in note for note in drawn.notes)


def test_a_particle_picked_twice_stays_together(workshop):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 4000, (2, COUNT // 2)).repeat(2, axis=1) + rng.uniform(-0.3, 0.3, (2, COUNT))
    places = {
        "_rlnMicrographName": ["m.mrc"] * COUNT,
        "_rlnCoordinateX": [f"{value:.3f}" for value in x],
        "_rlnCoordinateY": [f"{value:.3f}" for value in y],
    }
    drawn = with_half_sets(read(workshop, places), 0)
    assert stay_together(drawn.half_set, np.arange(COUNT) // 2)
    assert any("20 particles picked more than once" in note for note in drawn.notes)


def test_picks_of_different_micrographs_are_different(workshop):
    places = {
        "_rlnMicrographName": [f"m{row}.mrc" for row in range(COUNT)],
        "_rlnCoordinateX": ["100"] * COUNT,
        "_rlnCoordinateY": ["100"] * COUNT,
    }
    assert read(workshop, places).together is None


def test_whole_micrographs_are_drawn_where_there_are_enough(workshop):
    micrograph = np.arange(COUNT) // 2
    drawn = with_half_sets(read(workshop, {"_rlnMicrographName": [f"m{one}.mrc" for one in micrograph]}), 0)
    assert stay_together(drawn.half_set, micrograph)
    assert any("whole micrographs" in note for note in drawn.notes)
    few = with_half_sets(read(workshop, {"_rlnMicrographName": [f"m{row // 10}.mrc" for row in range(COUNT)]}), 0)
    assert not any("whole micrographs" in note for note in few.notes)
    assert np.bincount(few.half_set).tolist() == [20, 20]


def test_copies_of_a_symmetry_expansion_by_cryosparc(workshop):
    source = np.array([5, 5, 5, 9, 9, 9], "u8")
    path = workshop.cs(workshop.cs_table({"sym_expand/src_uid": source}))
    drawn = with_half_sets(read_particles(IngestOptions(particles=path)), 1)
    assert stay_together(drawn.half_set, source)


def test_one_object_cannot_be_split(workshop):
    particles = read(workshop, {"_rlnImageName": ["000001@stack.mrcs"] * COUNT})
    with pytest.raises(InvalidInput, match="--halfsets"):
        with_half_sets(particles, 0)


def test_half_sets_of_the_input_that_share_images_are_noted(workshop):
    image = np.arange(COUNT) // 2
    given = {
        "_rlnImageName": [f"{number + 1:06d}@stack.mrcs" for number in image],
        "_rlnRandomSubset": ["1", "2"] * (COUNT // 2),
    }
    notes = with_half_sets(read(workshop, given), 0).notes
    assert any("20 objects" in note and "both half-sets" in note for note in notes)


def test_groups_join_through_one_another():
    first, second = np.array([0, 0, 1, 2, 3]), np.array([0, 1, 1, 2, 2])
    codes = joined([first, second])
    assert codes[0] == codes[1] == codes[2] and codes[3] == codes[4] and codes[0] != codes[3]


@pytest.mark.parametrize("seed", range(5))
def test_a_draw_is_as_equal_as_its_objects_allow(seed):
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(50), rng.integers(1, 9, 50))
    used = rng.random(len(codes)) < 0.8
    half = draw(codes, used, seed)
    assert stay_together(half, codes)
    sizes = np.bincount(half[used], minlength=2)
    assert abs(int(sizes[0]) - int(sizes[1])) <= np.bincount(codes[used]).max()
    np.testing.assert_array_equal(half, draw(codes, used, seed))
    assert not np.array_equal(half, draw(codes, used, seed + 100))


def test_noise_that_rows_share_does_not_make_half_maps_agree(workshop):
    """A set picked twice: the correlation of the half-sets' summed images is 0 within error, not that of the copies."""
    rng = np.random.default_rng(7)
    image = np.repeat(np.arange(COUNT // 2), 2)
    noise = rng.normal(size=(COUNT // 2, 4096))[image]
    particles = read(workshop, {"_rlnImageName": [f"{number + 1:06d}@stack.mrcs" for number in image]})
    together = with_half_sets(particles, 0).half_set
    apart = with_half_sets(replace(particles, together=None), 0).half_set
    for half, lowest, highest in ((together, -0.05, 0.05), (apart, 0.15, 1.0)):
        sums = [noise[half == number].sum(axis=0) for number in (0, 1)]
        assert lowest < np.corrcoef(sums)[0, 1] < highest
