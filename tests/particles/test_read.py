"""What a file lacks can be given; what contradicts itself, or is silently wrong, is named."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from covaria.errors import InvalidInput, MissingFile
from covaria.particles import read_particles
from covaria.request.model import IngestOptions


def read(path, **options):
    return read_particles(IngestOptions(particles=path, **options))


def notes(particles) -> str:
    return "\n".join(particles.notes)


# ---- given values


@pytest.mark.parametrize(
    ("label", "option", "value", "field"),
    [
        ("_rlnVoltage", "voltage", 200.0, "voltage_kv"),
        ("_rlnSphericalAberration", "cs", 0.01, "spherical_aberration_mm"),
        ("_rlnAmplitudeContrast", "amplitude_contrast", 0.07, "amplitude_contrast"),
    ],
)
def test_microscope_values_fill_what_is_absent_and_never_contradict(workshop, label, option, value, field):
    absent = workshop.star(optics={label: None})
    with pytest.raises(InvalidInput, match=label):
        read(absent)
    assert set(getattr(read(absent, **{option: value}).ctf, field)) == {value}
    with pytest.raises(InvalidInput, match=f"--{option.replace('_', '-')}"):
        read(workshop.star(), **{option: value})
    agreeing = float({"voltage": 300, "cs": 2.7, "amplitude_contrast": 0.1}[option])
    read(workshop.star(), **{option: agreeing})


def test_pixel_size_and_box_fill_what_is_absent_and_never_contradict(workshop):
    absent = workshop.star(optics={"_rlnImagePixelSize": None, "_rlnImageSize": None})
    with pytest.raises(InvalidInput, match="--pixel-size"):
        read(absent)
    assert read(absent, pixel_size=1.5).pixel_size_angstrom == 1.5
    with pytest.raises(InvalidInput, match="--pixel-size"):
        read(workshop.star(), pixel_size=1.6)
    with pytest.raises(InvalidInput, match="--box"):
        read(workshop.star(), box=32)
    with pytest.raises(InvalidInput, match="16"):
        read(absent, pixel_size=1.5, box=32)


# ---- optics groups


def two_groups(workshop, **second):
    groups = [{}, {"_rlnOpticsGroup": "2", "_rlnOpticsGroupName": "two", **second}]
    return workshop.star(particles={"_rlnOpticsGroup": ["1", "2", "1", "2", "2", "1"]}, groups=groups)


def test_groups_may_differ_in_voltage_cs_and_amplitude_contrast(workshop):
    particles = read(
        two_groups(workshop, _rlnVoltage="200", _rlnSphericalAberration="1.4", _rlnAmplitudeContrast="0.07")
    )
    np.testing.assert_array_equal(particles.optics_group, [0, 1, 0, 1, 1, 0])
    np.testing.assert_array_equal(particles.ctf.voltage_kv, [300, 200, 300, 200, 200, 300])
    np.testing.assert_array_equal(particles.ctf.spherical_aberration_mm, [2.7, 1.4, 2.7, 1.4, 1.4, 2.7])
    np.testing.assert_array_equal(particles.ctf.amplitude_contrast, [0.1, 0.07, 0.1, 0.07, 0.07, 0.1])


@pytest.mark.parametrize(("label", "value"), [("_rlnImagePixelSize", "1.1"), ("_rlnImageSize", "32")])
def test_mixed_pixel_sizes_and_boxes_are_refused_by_name(workshop, label, value):
    with pytest.raises(InvalidInput, match=rf"(?s){label}.*\(optics group 2\) has "):
        read(two_groups(workshop, **{label: value}))


def test_a_group_without_particles_does_not_matter(workshop):
    path = workshop.star(groups=[{}, {"_rlnOpticsGroup": "2", "_rlnImagePixelSize": "9"}])
    assert read(path).pixel_size_angstrom == 1.5


def test_an_undefined_group_is_refused(workshop):
    with pytest.raises(InvalidInput, match=r"row 3.*optics group 7"):
        read(workshop.star(particles={"_rlnOpticsGroup": ["1", "1", "7", "1", "1", "1"]}))


# ---- silently wrong data


@pytest.mark.parametrize(
    ("label", "value", "ideal"),
    [
        ("_rlnBeamTiltX", "0.2", "0.0"),
        ("_rlnOddZernike", "[0.0,0.2]", "[0.0,0.0]"),
        ("_rlnEvenZernike", "[1e-3]", "[]"),
        ("_rlnEvenZernike", "[0,3]", "[0,0]"),
        ("_rlnMagMat00", "1.02", "1.0"),
        ("_rlnMagMat01", "0.02", "0.0"),
    ],
)
def test_aberrations_are_said_once(workshop, label, value, ideal):
    assert notes(read(workshop.star(optics={label: value}))).count(label) == 1
    assert label not in notes(read(workshop.star(optics={label: ideal})))


@pytest.mark.parametrize(
    ("label", "value", "found"),
    [
        ("_rlnAnglePsi", "-999.0", "not set"),
        ("_rlnDefocusU", "nan", "not finite"),
        ("_rlnOriginXAngst", "inf", "not finite"),
        ("_rlnRandomSubset", "3", "neither 1 nor 2"),
    ],
)
def test_a_bad_row_is_named_unless_it_is_left_out(workshop, tmp_path, label, value, found):
    values = list(workshop.particles.get(label, ["1", "2"] * 3))
    values[2] = value
    path = workshop.star(particles={label: values})
    with pytest.raises(InvalidInput, match=rf"row 3, column {label}.*{found}"):
        read(path)
    (tmp_path / "ind.pkl").write_bytes(pickle.dumps(np.array([0, 1, 4])))
    particles = read(path, ind=tmp_path / "ind.pkl")
    np.testing.assert_array_equal(particles.rows, [0, 1, 4])
    assert len(particles) == 6


def test_a_header_with_another_pixel_size_is_noted(workshop):
    assert "header" not in notes(read(workshop.star()))
    path = workshop.star()
    workshop.write_stack(workshop.folder / "stack.mrcs", workshop.images, pixel_size=2.5)
    assert "2.5" in notes(read(path))


def test_three_dimensional_images_are_refused(workshop):
    with pytest.raises(InvalidInput, match="3-dimensional"):
        read(workshop.star(optics={"_rlnImageDimensionality": "3"}))


def test_origins_in_the_wrong_unit_are_refused(workshop):
    with pytest.raises(InvalidInput, match=r"row 4.*outside a box of 16"):
        read(workshop.star(particles={"_rlnOriginXAngst": ["0", "0", "0", "400", "0", "0"]}))


# ---- rows


def test_n_images_and_half_sets_of_the_file(workshop):
    particles = read(workshop.star(particles={"_rlnRandomSubset": ["1", "2", "2", "1", "1", "2"]}), n_images=4)
    np.testing.assert_array_equal(particles.rows, [0, 1, 2, 3])
    np.testing.assert_array_equal(particles.half_set, [0, 1, 1, 0, 0, 1])


def test_half_set_file(workshop, tmp_path):
    halves = tmp_path / "halves.pkl"
    halves.write_bytes(pickle.dumps([np.array([0, 3]), np.array([1, 2])]))
    with pytest.raises(InvalidInput, match="neither half-set"):
        read(workshop.star(), halfsets=halves)
    particles = read(workshop.star(), halfsets=halves, n_images=4)
    np.testing.assert_array_equal(particles.half_set, [0, 1, 1, 0, -1, -1])
    halves.write_bytes(pickle.dumps([np.array([0, 3]), np.array([3, 2])]))
    with pytest.raises(InvalidInput, match=r"row 4: the row is in both"):
        read(workshop.star(), halfsets=halves)


def test_pickles_replace_what_the_star_says(workshop, tmp_path):
    base = read(workshop.star())
    poses, ctf = tmp_path / "poses.pkl", tmp_path / "ctf.pkl"
    rotations = np.roll(base.rotations, 1, axis=0)
    poses.write_bytes(pickle.dumps((rotations, np.full((6, 2), 0.25))))
    table = np.tile([32, 0.75, 1e4, 1.1e4, 30, 200, 2.0, 0.07, 90], (6, 1))
    ctf.write_bytes(pickle.dumps(table))
    particles = read(workshop.star(optics={"_rlnCtfDataArePhaseFlipped": "0"}), poses=poses, ctf=ctf)
    np.testing.assert_array_equal(particles.rotations, rotations)
    np.testing.assert_array_equal(particles.translations, np.full((6, 2), 4.0))
    assert set(particles.ctf.voltage_kv) == {200.0}
    assert particles.pixel_size_angstrom == pytest.approx(1.5)  # 0.75 at box 32 is 1.5 at box 16
    assert "box 32" in notes(particles)
    ctf.write_bytes(pickle.dumps(table * [1, 2, 1, 1, 1, 1, 1, 1, 1]))
    with pytest.raises(InvalidInput, match="pixel size"):
        read(workshop.star(), ctf=ctf)


def test_rotations_alone_are_centred_particles(workshop, tmp_path):
    base = read(workshop.star())
    (tmp_path / "poses.pkl").write_bytes(pickle.dumps(base.rotations.astype(np.float32)))
    path = workshop.star(particles={"_rlnOriginXAngst": None, "_rlnOriginYAngst": None})
    particles = read(path, poses=tmp_path / "poses.pkl")
    assert not particles.translations.any()
    assert "centred" in notes(particles)


def test_an_unknown_kind_of_file(tmp_path):
    (tmp_path / "x.tbl").write_text("1 2 3")
    with pytest.raises(InvalidInput, match="not known"):
        read(tmp_path / "x.tbl")
    with pytest.raises(MissingFile, match="not there"):
        read(tmp_path / "nothing.star")
