"""A column that changes what an image means is used or refused; one that nobody knows is noted."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.particles import read_particles
from covaria.particles.columns import CRYOSPARC, RELION, unknown_cryosparc, unknown_relion
from covaria.particles.cryosparc.particles import ABERRATIONS
from covaria.particles.cryosparc.particles import CTF_COLUMNS as CS_CTF
from covaria.particles.star import optics, relion
from covaria.request.model import IngestOptions

ROWS = 6


def read(path, **options):
    return read_particles(IngestOptions(particles=path, **{"downsample": None, **options}))


def notes(particles):
    return "\n".join(particles.notes)


def test_every_label_that_is_read_is_in_the_list():
    assert {*relion.NUMBERS, *relion.TEXTS, *optics.ZERNIKE} <= set(RELION)
    assert {*CS_CTF.values(), *ABERRATIONS} <= set(CRYOSPARC)


@pytest.mark.parametrize("label", [label for label, column in RELION.items() if column.role == "harmless"])
def test_harmless_columns_change_nothing(workshop, label):
    plain, with_it = read(workshop.star()), read(workshop.star(particles={label: ["1"] * ROWS}))
    np.testing.assert_array_equal(plain.rotations, with_it.rotations)
    assert notes(with_it) == notes(plain)


@pytest.mark.parametrize("label", [label for label, column in RELION.items() if column.role == "refused"])
def test_refused_columns_are_refused_by_name(workshop, label):
    with pytest.raises(InvalidInput, match=f"{label}.*tilt series"):
        read(workshop.star(particles={label: ["1"] * ROWS}))


def test_unknown_columns_are_noted_and_others_programs_are_left_alone(workshop):
    particles = read(workshop.star(particles={"_rlnFrobnication": ["7"] * ROWS, "_wrpSource": ["x"] * ROWS}))
    assert "_rlnFrobnication" in notes(particles) and "_wrpSource" not in notes(particles)
    assert unknown_relion(["_rlnImageName", "_abc", "_rlnAbc"]) == ["_rlnAbc"]
    assert unknown_cryosparc(["uid", "blob/new", "ctf/new", "location/new", "alignments2D/pose"]) == [
        "blob/new",
        "ctf/new",
    ]


def test_b_factor_and_scale_are_part_of_the_ctf(workshop):
    given = {"_rlnCtfBfactor": [f"{20.0 * row}" for row in range(ROWS)],
             "_rlnCtfScalefactor": [f"{1 + row / 10}" for row in range(ROWS)]}  # fmt: skip
    ctf = read(workshop.star(particles=given)).ctf
    np.testing.assert_allclose(ctf.b_factor_angstrom2, 20.0 * np.arange(ROWS))
    np.testing.assert_allclose(ctf.scale, 1 + np.arange(ROWS) / 10)
    neutral = read(workshop.star(particles={"_rlnCtfBfactor": ["0"] * ROWS, "_rlnCtfScalefactor": ["1.0"] * ROWS})).ctf
    assert neutral.b_factor_angstrom2 is None and neutral.scale is None


@pytest.mark.parametrize(("label", "value"), [("_rlnCtfScalefactor", "0"), ("_rlnCtfScalefactor", "-1"),
                                              ("_rlnCtfBfactor", "1e6"), ("_rlnNormCorrection", "0")])  # fmt: skip
def test_an_impossible_envelope_is_refused_by_row(workshop, label, value):
    values = ["1.0", "1.0", value, "1.0", "1.0", "1.1"]
    with pytest.raises(InvalidInput, match=f"row 3, column {label}"):
        read(workshop.star(particles={label: values}))


def test_the_norm_correction_is_divided_out(workshop):
    norm = np.array([0.5, 1.0, 2.0, 1.0, 1.0, 4.0])
    star = workshop.star(particles={"_rlnNormCorrection": [f"{value}" for value in norm]})
    workshop.write_stack(workshop.folder / "stack.mrcs", workshop.images * norm[:, None, None].astype(np.float32))
    np.testing.assert_allclose(read(star).images.read(np.arange(ROWS)), workshop.images, rtol=1e-6)
    same = read(workshop.star(particles={"_rlnNormCorrection": ["0.7"] * ROWS}))
    np.testing.assert_array_equal(same.images.read(np.arange(ROWS)), workshop.images)


@pytest.mark.parametrize("label", ["_rlnMagnificationCorrection", "_rlnOriginZAngst", "_rlnOriginZ"])
def test_images_of_another_kind_are_refused_where_they_are_used(workshop, tmp_path, label):
    star = workshop.star(particles={label: ["0", "0", "0", "0", "1", "1"]})
    with pytest.raises(InvalidInput, match=rf"row 5, column {label}.*and 1 more"):
        read(star)
    np.save(tmp_path / "good.npy", np.arange(4))
    assert read(star, ind=tmp_path / "good.npy").used.sum() == 4


def test_classes_are_noted_and_one_can_be_chosen(workshop):
    star = workshop.star(particles={"_rlnClassNumber": ["1", "2", "2", "1", "3", "2"]})
    assert "3 classes (2 in class 1, 3 in class 2, 1 in class 3)" in notes(read(star))
    np.testing.assert_array_equal(read(star, class_number=2).rows, [1, 2, 5])
    with pytest.raises(InvalidInput, match="class 7"):
        read(star, class_number=7)
    with pytest.raises(InvalidInput, match="classes"):
        read(workshop.star(), class_number=1)
    assert "classes" not in notes(read(workshop.star(particles={"_rlnClassNumber": ["4"] * ROWS})))


# ---- tilt series


def test_an_image_of_each_dose_is_a_tilt(workshop):
    star = workshop.star(particles={"_rlnMicrographPreExposure": [f"{3.0 * row}" for row in range(ROWS)]})
    with pytest.raises(InvalidInput, match=r"_rlnMicrographPreExposure.*tilt series"):
        read(star)
    assert len(read(workshop.star(particles={"_rlnMicrographPreExposure": ["1.5"] * ROWS}))) == ROWS


def test_scale_and_b_factor_that_differ_within_groups_are_tilts(workshop):
    tilts = {
        "_rlnGroupName": ["p1", "p1", "p1", "p2", "p2", "p2"],
        "_rlnCtfScalefactor": ["1.0", "0.97", "0.97", "1.0", "0.97", "0.9"],
        "_rlnCtfBfactor": ["0.0", "-12.0", "-24.0", "0.0", "-12.0", "-24.0"],
    }
    np.testing.assert_array_equal(read(workshop.star(particles=tilts)).particle, [0, 0, 0, 1, 1, 1])
    refined = {**tilts, "_rlnCtfScalefactor": ["1.0", "1.1", "0.9", "1.2", "1.0", "0.8"],
               "_rlnCtfBfactor": ["10", "20", "5", "0", "7", "9"]}  # fmt: skip
    assert read(workshop.star(particles=refined)).particle is None  # RELION's own refinement of each particle


def test_a_warp_series_and_a_general_table_are_named(workshop):
    with pytest.raises(InvalidInput, match="tomostar"):
        read(workshop.star(particles={"_rlnMicrographName": ["TS_01.tomostar"] * ROWS}))
    star = workshop.star()
    star.write_text("data_general\n\n_rlnTomoSubTomosAre2DStacks 1\n\n" + star.read_text())
    with pytest.raises(InvalidInput, match="_rlnTomoSubTomosAre2DStacks"):
        read(star)


def test_sub_tomograms_with_a_ctf_volume_are_named(workshop):
    columns = {label: None for label in ("_rlnDefocusU", "_rlnDefocusV", "_rlnDefocusAngle")}
    with pytest.raises(InvalidInput, match=r"_rlnCtfImage.*3-D sub-tomograms"):
        read(workshop.star(particles={**columns, "_rlnCtfImage": ["ctf.mrc"] * ROWS}))


def test_a_stack_without_image_numbers_must_hold_one_image(workshop):
    star = workshop.star(particles={"_rlnImageName": [f"p{row}.mrc" for row in range(ROWS)]}, stack=False)
    for row in range(ROWS):
        workshop.write_stack(workshop.folder / f"p{row}.mrc", workshop.images[[row]])
    np.testing.assert_array_equal(read(star).images.read(np.arange(ROWS)), workshop.images)
    workshop.write_stack(workshop.folder / "p3.mrc", workshop.images)
    with pytest.raises(InvalidInput, match=r"p3\.mrc.*without an image number"):
        read(star)


# ---- what a file lacks


def test_no_origins_are_zero_with_a_note(workshop):
    particles = read(workshop.star(particles={"_rlnOriginXAngst": None, "_rlnOriginYAngst": None}))
    assert not particles.translations.any() and "taken as centred" in notes(particles)
    with pytest.raises(InvalidInput, match="_rlnOriginYAngst"):
        read(workshop.star(particles={"_rlnOriginYAngst": None}))


def test_images_without_a_ctf(workshop):
    star = workshop.star(particles={label: None for label in ("_rlnDefocusU", "_rlnDefocusV", "_rlnDefocusAngle")})
    with pytest.raises(InvalidInput, match="--no-ctf"):
        read(star)
    particles = read(star, no_ctf=True)
    assert (particles.ctf.amplitude_contrast == 1).all() and not particles.ctf.defocus_u_angstrom.any()
    assert "not used" in notes(read(workshop.star(), no_ctf=True))
    with pytest.raises(InvalidInput, match="--voltage"):
        read(star, no_ctf=True, voltage=300)


# ---- rows that are not used


@pytest.mark.parametrize(
    "particles",
    [
        {"_rlnImageName": [*(f"{row + 1:06d}@stack.mrcs" for row in range(4)), "0@stack.mrcs", "garbage"]},
        {"_rlnImageName": [*(f"{row + 1:06d}@stack.mrcs" for row in range(4)), "1@missing.mrcs", "99@stack.mrcs"]},
        {"_rlnImageName": [*(f"{row + 1:06d}@stack.mrcs" for row in range(4)), "1@large.mrcs", "1@broken.mrcs"]},
        {"_rlnDefocusU": ["15000", "15000", "15000", "15000", "1.5", "none"]},
        {"_rlnAngleRot": ["1", "2", "3", "4", "-999.0", "nan"]},
        {"_rlnRandomSubset": ["1", "2", "1", "2", "7", "x"]},
        {"_rlnOriginXAngst": ["0", "0", "0", "0", "1e9", "inf"]},
        {"_rlnOpticsGroup": ["1", "1", "1", "1", "2", "9"]},
    ],
)
def test_a_row_left_out_may_hold_anything(workshop, tmp_path, particles):
    other = {"_rlnOpticsGroup": "2", "_rlnImagePixelSize": "0.83", "_rlnImageSize": "64", "_rlnVoltage": "0"}
    star = workshop.star(particles=particles, groups=[{}, other])
    workshop.write_stack(workshop.folder / "large.mrcs", np.zeros((1, 64, 64), np.float32))
    (workshop.folder / "broken.mrcs").write_bytes(b"short")
    np.save(tmp_path / "good.npy", np.arange(4))
    found = read(star, ind=tmp_path / "good.npy")
    assert (found.box, found.pixel_size_angstrom) == (16, 1.5)
    np.testing.assert_array_equal(found.images.read(np.arange(4)), workshop.images[:4])
    with pytest.raises(InvalidInput):
        read(star)
