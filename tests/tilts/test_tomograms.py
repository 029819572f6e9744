"""RELION 5's particles of tomograms, flattened by formulas of its source written out here once more."""

from __future__ import annotations

import numpy as np
import pytest
from microscope import write_stack
from scipy.spatial.transform import Rotation
from tilting import ANGLES, BOX, OPTICS, PIXEL, euler, loop, turn

from covaria.errors import InvalidInput, MissingFile
from covaria.particles import read_particles
from covaria.particles.expansion import expanded
from covaria.particles.rotations import matrices_from_euler
from covaria.request.model import IngestOptions

PARTICLES = 5
HAND = -1.0


def project(folder, change=None, visible=None):
    """A RELION 5 project of one tomogram; `change(tables)` may spoil it. Returns what is true of it."""
    rng = np.random.default_rng(2)
    tilts = {
        "MicrographName": [f"t{k}.mrc" for k in range(len(ANGLES))], "TomoXTilt": rng.normal(0, 1, len(ANGLES)),
        "TomoYTilt": ANGLES, "TomoZRot": 85 + rng.normal(0, 0.5, len(ANGLES)), "DefocusU": 30000.0 + 10 * ANGLES,
        "DefocusV": 29500.0 + 10 * ANGLES, "DefocusAngle": np.full(len(ANGLES), 20.0),
        "MicrographPreExposure": 3.0 * np.arange(len(ANGLES)), "CtfScalefactor": np.cos(np.deg2rad(ANGLES)),
    }  # fmt: skip
    seen = np.ones((PARTICLES, len(ANGLES)), bool) if visible is None else visible
    angles, subtomogram = (np.round(rng.uniform(-80, 80, (PARTICLES, 3)), 4) for _ in range(2))
    origin, place = np.round(rng.normal(0, 5, (PARTICLES, 3)), 4), np.round(rng.normal(0, 800, (PARTICLES, 3)), 3)
    particles = {
        "TomoName": ["TS_01"] * PARTICLES, "TomoParticleName": [f"TS_01/{k}" for k in range(PARTICLES)],
        "TomoVisibleFrames": ["[" + ",".join(str(int(v)) for v in row) + "]" for row in seen],
        "ImageName": [f"Extract/{k}_stack2d.mrcs" for k in range(PARTICLES)], "OpticsGroup": [1] * PARTICLES,
        "RandomSubset": 1 + np.arange(PARTICLES) % 2,
    }  # fmt: skip
    for names, values in ((("AngleRot", "AngleTilt", "AnglePsi"), angles),
                          (("TomoSubtomogramRot", "TomoSubtomogramTilt", "TomoSubtomogramPsi"), subtomogram),
                          (("OriginXAngst", "OriginYAngst", "OriginZAngst"), origin),
                          ([f"CenteredCoordinate{axis}Angst" for axis in "XYZ"], place)):  # fmt: skip
        particles |= dict(zip(names, values.T, strict=True))
    globals_ = {"TomoName": ["TS_01"], "TomoTiltSeriesStarFile": ["series/TS_01.star"], "TomoHand": [HAND]}
    tables = {"tilts": tilts, "particles": particles, "globals": globals_}
    if change:
        change(tables)
    (folder / "Extract").mkdir(parents=True)
    (folder / "series").mkdir()
    for k, row in enumerate(seen):
        images = np.arange(row.sum(), dtype=np.float32)[:, None, None] + 10 * k + np.eye(BOX, dtype=np.float32)
        write_stack(folder / f"Extract/{k}_stack2d.mrcs", images, PIXEL)
    (folder / "series/TS_01.star").write_text("data_TS_01\n\n" + loop(tilts))
    (folder / "tomograms.star").write_text("data_global\n\n" + loop(globals_))
    (folder / "particles.star").write_text(
        "data_general\n\n_rlnTomoSubTomosAre2DStacks 1\n\ndata_optics\n\n" + loop(OPTICS)
        + "\ndata_particles\n\n" + loop(particles)
    )  # fmt: skip
    return tilts, seen, angles, subtomogram, origin, place


def read(folder, **options):
    return read_particles(
        IngestOptions(particles=folder / "particles.star", tomograms=folder / "tomograms.star", **options)
    )


def test_every_visible_tilt_has_its_own_pose_defocus_and_dose(tmp_path):
    visible = np.ones((PARTICLES, len(ANGLES)), bool)
    visible[1, 2] = visible[3, [0, 5]] = False
    tilts, seen, angles, subtomogram, origin, place = project(tmp_path, visible=visible)
    found = read(tmp_path)
    assert len(found) == seen.sum() and found.count == PARTICLES
    row = 0
    for k in range(PARTICLES):
        own = turn("z", angles[k, 2]) @ turn("y", angles[k, 1]) @ turn("z", angles[k, 0])
        held = turn("z", subtomogram[k, 2]) @ turn("y", subtomogram[k, 1]) @ turn("z", subtomogram[k, 0])
        for number, t in enumerate(np.flatnonzero(seen[k])):
            stage = Rotation.from_euler(
                "ZYX", [tilts["TomoZRot"][t], tilts["TomoYTilt"][t], tilts["TomoXTilt"][t]], degrees=True
            ).as_matrix()
            np.testing.assert_allclose(found.rotations[row], stage @ held @ own, atol=1e-6)
            np.testing.assert_allclose(found.translations[row] * PIXEL, (stage @ held @ origin[k])[:2], atol=1e-6)
            depth = HAND * (stage @ place[k])[2]
            assert found.ctf.defocus_u_angstrom[row] == pytest.approx(tilts["DefocusU"][t] + depth)
            assert found.ctf.defocus_v_angstrom[row] == pytest.approx(tilts["DefocusV"][t] + depth)
            assert found.ctf.dose[row] == tilts["MicrographPreExposure"][t]
            assert found.ctf.scale[row] == pytest.approx(tilts["CtfScalefactor"][t])
            assert found.images.read(np.array([row]))[0, 0, 1] == pytest.approx(number + 10 * k)
            assert found.particle[row] == k and found.half_set[row] == k % 2
            row += 1
    np.testing.assert_allclose(matrices_from_euler(euler(found.rotations)), found.rotations, atol=1e-6)


def test_a_b_factor_for_each_electron_takes_the_place_of_the_dose(tmp_path):
    project(tmp_path, lambda tables: tables["globals"].update(CtfBfactorPerElectronDose=[2.0]))
    found = read(tmp_path)
    np.testing.assert_allclose(found.ctf.b_factor_angstrom2[: len(ANGLES)], 6.0 * np.arange(len(ANGLES)))
    assert not found.ctf.dose.any()


def test_rows_to_use_are_those_of_the_file(tmp_path):
    project(tmp_path)
    np.save(tmp_path / "some.npy", np.array([0, 3]))
    found = read(tmp_path, ind=tmp_path / "some.npy", ntilts=2)
    assert np.unique(found.particle[found.used]).tolist() == [0, 3] and found.used.sum() == 4


def test_what_is_selected_is_rows_of_the_file(tmp_path):
    project(tmp_path)
    found = read(tmp_path)
    keep = np.zeros(len(found), bool)
    keep[found.leads[[1, 4]]] = True
    np.testing.assert_array_equal(found.in_source(keep), [False, True, False, False, True])
    copies = expanded(found, IngestOptions(particles=found.source, symmetry="C2"))
    keep = np.zeros(len(copies), bool)
    keep[copies.leads[[1, 9]]] = True
    np.testing.assert_array_equal(np.flatnonzero(copies.in_source(keep)), [1, 9])


def spoiled(table, label, value):
    def change(tables):
        column = list(tables[table][label])
        column[1] = value
        tables[table][label] = column

    return change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (spoiled("particles", "TomoName", "TS_99"), "row 2, column _rlnTomoName.*TS_99 is not in tomograms.star"),
        (spoiled("particles", "TomoVisibleFrames", "[1,1]"), "row 2, column _rlnTomoVisibleFrames.*has 7 tilts"),
        (spoiled("particles", "TomoVisibleFrames", "[1,x]"), "row 2.*not a list of 0 and 1"),
        (spoiled("tilts", "MicrographPreExposure", -3.0), "TS_01.star, row 2, column _rlnMicrographPreExposure.*-3"),
        (spoiled("particles", "AngleRot", "nan"), "particles.star, row 2, column _rlnAngleRot"),
        (lambda tables: tables["tilts"].pop("TomoYTilt"), "_rlnTomoYTilt.*no table has the tilts' angles"),
        (lambda tables: tables["globals"].pop("TomoHand"), "_rlnTomoHand.*column is missing"),
    ],
)
def test_what_makes_no_sense_is_refused_by_row(tmp_path, change, found):
    project(tmp_path, change)
    with pytest.raises(InvalidInput, match=f"(?s){found}"):
        read(tmp_path)


def test_absent_tilt_series_and_absent_tomograms_are_named(tmp_path):
    project(tmp_path)
    with pytest.raises(InvalidInput, match="--tomograms"):
        read_particles(IngestOptions(particles=tmp_path / "particles.star"))
    (tmp_path / "series/TS_01.star").unlink()
    with pytest.raises(MissingFile, match=r"series/TS_01.star is not there"):
        read(tmp_path)
