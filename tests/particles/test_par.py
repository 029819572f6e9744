"""Frealign's and cisTEM's .par files: read as the same particles are from STAR, and written back byte for byte."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.maps import write_volume
from covaria.particles.assemble import read_particles
from covaria.particles.par import ParTable, read_par
from covaria.particles.star.relion import read_relion
from covaria.request.model import IngestOptions
from covaria.selection.handoff import write_subset
from covaria.selection.source import SourceColumns
from covaria.tree import ParticleFiles, SubsetTree

HEAD = "C           PSI   THETA     PHI       SHX       SHY     MAG  FILM      DF1      DF2  ANGAST     OCC\n"
ROWS = (
    "  3  30.00  60.00  10.00  -2.50  5.00  10000  7  12000.0  11000.0  45.00{}  100.00  -500  0.5  12.3  0.0\n",
    "  1  -30.00  0.00  0.00  1.00  1.00  10000  9  13000.0  12500.0  -20.00{}  20.00  -501  0.5  11.0  0.0\n",
    "  2  0.00  90.00  0.00  0.00  0.00  10000  7  13000.0  12500.0  -20.00{}  100.00  -502  0.5  10.0  0.0\n",
)  # fmt: skip
STAR = """data_

loop_
_rlnImageName
_rlnAngleRot
_rlnAngleTilt
_rlnAnglePsi
_rlnOriginXAngst
_rlnOriginYAngst
_rlnDefocusU
_rlnDefocusV
_rlnDefocusAngle
_rlnPhaseShift
_rlnImagePixelSize
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
3@a.mrc 10 60 30 2.5 -5 12000 11000 45 {0} 1.25 300 2.7 0.07
1@a.mrc 0 0 -30 -1 -1 13000 12500 -20 {0} 1.25 300 2.7 0.07
2@a.mrc 0 90 0 0 0 13000 12500 -20 {0} 1.25 300 2.7 0.07
"""
FIXED = {"voltage": 300, "cs": 2.7, "amplitude_contrast": 0.07, "pixel_size": 1.25}


def written(folder: Path, phase: str = "", rows: tuple[str, ...] = ROWS) -> Path:
    path = folder / "a.par"
    path.write_text("".join([HEAD, *(row.format(phase) for row in rows), "C  end\n"]))
    return path


@pytest.mark.parametrize("phase", ["", "  1.5707963"])
def test_the_same_particles_as_relion_writes_them(tmp_path: Path, phase: str) -> None:
    found = read_par(written(tmp_path, phase))
    (tmp_path / "a.star").write_text(STAR.format(90 if phase else 0))
    other = read_relion(tmp_path / "a.star")
    assert found.rotations is not None and found.shifts is not None and other.shifts is not None
    np.testing.assert_allclose(found.rotations, other.rotations, atol=1e-12)
    np.testing.assert_allclose(found.shifts.values, other.shifts.values)
    assert found.shifts.unit == other.shifts.unit == "angstrom"
    for name, values in found.ctf.items():
        np.testing.assert_allclose(values, other.ctf[name], atol=1e-7, err_msg=name)
    assert found.image_of_row is not None and found.image_of_row.tolist() == [2, 0, 1]
    assert ("phase_shift_rad" in found.ctf) == bool(phase)
    assert found.micrograph is not None
    assert [found.micrograph_names[code] for code in found.micrograph] == ["7", "9", "7"]


def test_it_runs_with_what_it_does_not_say_and_its_stack_beside_it(tmp_path: Path) -> None:
    path = written(tmp_path)
    write_volume(tmp_path / "a.mrc", np.random.default_rng(0).standard_normal((16, 16, 16)).astype(np.float32), 1.25)
    particles = read_particles(IngestOptions(particles=path, **FIXED))
    assert len(particles) == 3 and particles.pixel_size_angstrom == 1.25
    with pytest.raises(InvalidInput, match="CTF parameters are missing"):
        read_particles(IngestOptions(particles=path, **(FIXED | {"voltage": None})))


def test_a_subset_is_the_same_bytes_without_the_other_rows(tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    target = io.BytesIO()
    ParTable(path).write(np.array([True, False, True]), target)
    assert target.getvalue() == b"".join([lines[0], lines[1], lines[3], lines[4]])
    folder = SubsetTree(tmp_path / "subset").root
    folder.mkdir()
    write_subset(folder, IngestOptions(particles=path, **FIXED), np.array([True, False, True]))
    assert ParticleFiles(folder, "particles").par.read_bytes() == target.getvalue()
    with pytest.raises(InvalidInput, match="has 3 rows, the run had 2"):
        ParTable(path).write(np.array([True, False]), target)


def test_selections_know_its_columns(tmp_path: Path) -> None:
    source = SourceColumns(IngestOptions(particles=written(tmp_path), **FIXED))
    assert source.names[-2:] == ("SCORE", "CHANGE")
    assert source.column("SCORE").tolist() == [12.3, 11.0, 10.0]
    assert source.micrograph().tolist() == ["7", "9", "7"]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ((), "holds no particles"),
        (("1 2 3\n",), "row 1: has 3 columns"),
        ((*ROWS[:1], "1 2 3\n"), "row 2: 3 values"),
        ((ROWS[0], ROWS[1].replace("  11.0", "  n/a ")), "row 2, column SCORE: 'n/a' is no number"),
    ],
)
def test_what_is_no_such_file_is_told_by_row(tmp_path: Path, rows: tuple[str, ...], found: str) -> None:
    with pytest.raises(InvalidInput) as told:
        read_par(written(tmp_path, rows=rows))
    assert found in str(told.value)


def test_places_and_poses_that_make_no_sense_harm_only_if_used(tmp_path: Path) -> None:
    bad = (ROWS[0], ROWS[1].replace("  1  -30.00", "  0  nan"), ROWS[2])
    checks = read_par(written(tmp_path, rows=bad)).checks
    for check in checks:
        check.enforce(np.array([True, False, True]))
    with pytest.raises(InvalidInput, match="row 2"):
        for check in checks:
            check.enforce(np.array([True, True, True]))
