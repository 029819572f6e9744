"""Values that no microscope has are refused by row and column, whichever file says them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.particles import read_particles
from covaria.request.model import IngestOptions

ROWS = 6
OPTICS = [
    ("_rlnVoltage", "300000", "volts"), ("_rlnVoltage", "0", "kV"), ("_rlnVoltage", "-300", "kV"),
    ("_rlnSphericalAberration", "2700", "micrometres"), ("_rlnSphericalAberration", "2.7e7", "angstrom"),
    ("_rlnSphericalAberration", "0.0027", "metres"), ("_rlnSphericalAberration", "-1", "mm"),
    ("_rlnAmplitudeContrast", "10", "percent"), ("_rlnAmplitudeContrast", "-0.1", "fraction"),
    ("_rlnImagePixelSize", "0.15", "nanometre"), ("_rlnImagePixelSize", "1e-10", "nanometre"),
]  # fmt: skip
PARTICLES = [
    ("_rlnDefocusU", "1.5", "micrometres"), ("_rlnDefocusV", "-15000", "change the sign"),
    ("_rlnDefocusU", "0", "--no-ctf"),
    ("_rlnDefocusU", "1e7", "angstrom"), ("_rlnDefocusAngle", "nan", "not finite"),
]  # fmt: skip


def read(path, **options):
    return read_particles(IngestOptions(particles=path, **options))


@pytest.mark.parametrize(("label", "value", "hint"), OPTICS)
def test_of_the_microscope(workshop, label, value, hint):
    with pytest.raises(InvalidInput, match=rf"(?s){label}.*{hint}"):
        read(workshop.star(optics={label: value}))


@pytest.mark.parametrize(("label", "value", "hint"), PARTICLES)
def test_of_one_row(workshop, label, value, hint):
    with pytest.raises(InvalidInput, match=rf"(?s)row 4, column {label}.*{hint}"):
        read(workshop.star(particles={label: ["15000"] * 3 + [value] + ["15000"] * 2}))


@pytest.mark.parametrize("cs", ["0", "0.001", "0.01", "1.4", "2.7"])
def test_microscopes_that_people_have(workshop, cs):
    read(workshop.star(optics={"_rlnSphericalAberration": cs, "_rlnVoltage": "100", "_rlnAmplitudeContrast": "1"}))


def test_in_focus_with_a_phase_plate(workshop):
    flat = {label: ["0"] * ROWS for label in ("_rlnDefocusU", "_rlnDefocusV")}
    assert len(read(workshop.star(particles={**flat, "_rlnPhaseShift": ["90"] * ROWS}))) == ROWS


def many(workshop, scale):
    rng = np.random.default_rng(1)
    workshop.count, workshop.images = 40, np.repeat(workshop.images, 7, axis=0)[:40]
    kept = {label: (values * 7)[:40] for label, values in workshop.particles.items()}
    kept["_rlnImageName"] = [f"{row + 1:06d}@stack.mrcs" for row in range(40)]
    for label, width in (("_rlnAngleRot", 180), ("_rlnAngleTilt", 90), ("_rlnAnglePsi", 180)):
        kept[label] = [f"{scale * value:.5f}" for value in rng.uniform(-width, width, 40)]
    return kept


def test_angles_in_radians(workshop):
    workshop.particles = many(workshop, 1.0)
    read(workshop.star())
    workshop.particles = many(workshop, np.pi / 180)
    with pytest.raises(InvalidInput, match=r"(?s)_rlnAngleRot.*radians"):
        read(workshop.star())


@pytest.mark.parametrize(
    ("label", "width", "turn"), [("_rlnDefocusAngle", 90.0, 180.0), ("_rlnPhaseShift", 120.0, 360.0)]
)
def test_other_angles_in_radians(workshop, label, width, turn):
    workshop.particles = many(workshop, 1.0)
    degrees = np.random.default_rng(2).uniform(10, width, 40)
    read(workshop.star(particles={label: [f"{value:.4f}" for value in degrees]}))
    with pytest.raises(InvalidInput, match=rf"(?s){label}.*radians.*add {turn:.0f}"):
        read(workshop.star(particles={label: [f"{value:.4f}" for value in np.deg2rad(1.4 * degrees)]}))
    read(workshop.star(particles={label: [f"{turn + value:.4f}" for value in np.deg2rad(1.4 * degrees)]}))
    read(workshop.star(particles={label: ["0.0"] * 40}))


def test_one_view_and_centred_views_are_not_radians(workshop):
    workshop.particles = many(workshop, 1.0)
    workshop.particles |= {"_rlnAngleRot": ["0"] * 40, "_rlnAngleTilt": ["0"] * 40}
    read(workshop.star())
    workshop.particles["_rlnAnglePsi"] = ["0"] * 40
    read(workshop.star())


@pytest.mark.parametrize(
    ("place", "value", "hint"),
    [(2, 1.5, "micrometres"), (3, -15000, "sign"), (5, 3e5, "volts"), (6, 2700, "micrometres"), (7, 7, "percent")],
)
def test_of_a_pickle(workshop, tmp_path, place, value, hint):
    ctf = np.tile([16, 1.5, 15000, 14800, 20, 300, 2.7, 0.1, 0.0], (ROWS, 1))
    ctf[3, place] = value
    (tmp_path / "ctf.pkl").write_bytes(pickle.dumps(ctf))
    with pytest.raises(InvalidInput, match=rf"(?s)ctf\.pkl, row 4, column {place + 1} .*{hint}"):
        read(workshop.star(), ctf=tmp_path / "ctf.pkl")
    (tmp_path / "ind.pkl").write_bytes(pickle.dumps([0, 1, 2]))
    read(workshop.star(), ctf=tmp_path / "ctf.pkl", ind=tmp_path / "ind.pkl")


@pytest.mark.parametrize(
    ("column", "value", "hint"),
    [
        ("ctf/df1_A", 1.5, "micrometres"), ("ctf/accel_kv", 3e5, "volts"), ("ctf/df_angle_rad", 40.0, "degrees"),
        ("ctf/phase_shift_rad", 90.0, "degrees"), ("ctf/amp_contrast", 7.0, "percent"),
        ("alignments3D/pose", (100.0, 20.0, 30.0), "degrees"), ("blob/sign", 0.5, "1 or -1"),
    ],
)  # fmt: skip
def test_of_a_cs(workshop, column, value, hint):
    array = workshop.cs_table()
    array[column][2] = value
    with pytest.raises(InvalidInput, match=rf"(?s)row 3, column {column}.*{hint}"):
        read(workshop.cs(array))


def test_a_pixel_size_in_nanometres_beside_a_right_header(workshop):
    star = workshop.star(optics={"_rlnImagePixelSize": "0.8"})
    workshop.write_stack(workshop.folder / "stack.mrcs", workshop.images, pixel_size=8.0)
    with pytest.raises(InvalidInput, match="nanometre"):
        read(star)
