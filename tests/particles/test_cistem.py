"""cisTEM's particle files, read against the same set as RELION writes it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from covaria.errors import InvalidInput, MissingFile
from covaria.particles.assemble import read_particles
from covaria.particles.read import read_metadata
from covaria.particles.star.relion import read_relion
from covaria.request.model import IngestOptions

LABELS = [
    "PositionInStack", "AnglePsi", "AngleTheta", "AnglePhi", "XShift", "YShift", "Defocus1", "Defocus2", "DefocusAngle",
    "PhaseShift", "ImageActivity", "Occupancy", "PixelSize", "MicroscopeVoltagekV", "MicroscopeCsMM",
    "AmplitudeContrast", "BeamTiltX", "AssignedSubset", "StackFilename", "OriginalImageFilename",
]  # fmt: skip
ROWS = [
    "3 30 60 10 -2.5 5 12000 11000 45 1.5707963 1 100 1.25 300 2.7 0.07 0 1 'a b.mrc' 'm1.mrc'",
    "1 -30 0 0 1 1 13000 12500 -20 0 1 20 1.25 300 2.7 0.07 0 2 'a b.mrc' 'm2.mrc'",
    "2 0 90 0 0 0 13000 12500 -20 0 -1 100 1.25 300 2.7 0.07 0 2 'c.mrc' 'm1.mrc'",
]
RELION = """data_

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
_rlnRandomSubset
3@a 10 60 30 2.5 -5 12000 11000 45 90 1.25 300 2.7 0.07 1
1@a 0 0 -30 -1 -1 13000 12500 -20 0 1.25 300 2.7 0.07 2
2@c.mrc 0 90 0 0 0 13000 12500 -20 0 1.25 300 2.7 0.07 2
"""
"""As cisTEM's export writes the same particles."""


def written(folder: Path, labels: list[str], rows: list[str]) -> Path:
    path = folder / "refined.star"
    heading = [f"_cisTEM{label} #{number}" for number, label in enumerate(labels, 1)]
    lines = ["# Written by cisTEM", " ", "data_", " ", "loop_", *heading, "#  POS  PSI", *rows, ""]
    path.write_text("\n".join(lines))
    return path


def without(label: str, rows: list[str] = ROWS) -> tuple[list[str], list[str]]:
    """Columns before StackFilename only: no value before it holds a blank."""
    place = LABELS.index(label)
    kept = [row.split(" ", place)[:place] + row.split(" ", place + 1)[place + 1 :] for row in rows]
    return LABELS[:place] + LABELS[place + 1 :], [" ".join(values) for values in kept]


def test_the_same_particles_as_relion_s_file(tmp_path: Path) -> None:
    ours = read_relion(written(tmp_path, LABELS, ROWS))
    (tmp_path / "relion.star").write_text(RELION)
    theirs = read_relion(tmp_path / "relion.star")
    assert ours.rotations is not None
    assert ours.shifts is not None
    np.testing.assert_allclose(ours.rotations, theirs.rotations, atol=1e-12)
    np.testing.assert_allclose(ours.shifts.values, theirs.shifts.values)
    assert ours.shifts.unit == "angstrom"
    assert ours.ctf.keys() == theirs.ctf.keys()
    for name, values in ours.ctf.items():
        np.testing.assert_allclose(values, theirs.ctf[name], rtol=1e-7, err_msg=name)
    assert (ours.pixel_sizes_angstrom == theirs.pixel_sizes_angstrom).all()
    assert ours.half_set.tolist() == [0, 1, 1]
    assert ours.stack_names == ("a b.mrc", "c.mrc")
    assert ours.stack_of_row.tolist() == [0, 0, 1]
    assert ours.image_of_row.tolist() == [2, 0, 1]
    assert [ours.micrograph_names[code] for code in ours.micrograph] == ["m1.mrc", "m2.mrc", "m1.mrc"]
    assert "1 rows are not active" in ours.notes[0]
    assert "1 rows have an occupancy below 50" in ours.notes[1]


def test_a_file_that_names_no_stack_has_one_of_its_own_name(tmp_path: Path) -> None:
    rows = [row.partition(" '")[0] for row in ROWS]
    found = read_relion(written(tmp_path, LABELS[:-2], rows))
    assert found.stack_names == ("refined.mrc",)
    assert any("names no stack" in note for note in found.notes)
    assert found.micrograph is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("3 30", "0 30", "row 1.*_cisTEMPositionInStack.*0 is no place|_cisTEMPositionInStack.*row 1"),
        ("3 30", "1.5 30", "1.5 is no place in a stack"),
        ("3 30", "x 30", "'x' is not a number"),
        ("12000 11000", "nan 11000", "_cisTEMDefocus1"),
        ("30 60 10", "30 60 inf", "_cisTEMAnglePhi"),
        ("0.07 0 1", "0.07 0.3 1", "beam tilt"),
        ("0.07 0 1", "0.07 0 3", "neither 1 nor 2"),
    ],
)
def test_a_bad_value_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    rows = [ROWS[0].replace(old, new, 1), *ROWS[1:]]
    with pytest.raises(InvalidInput) as refusal:
        for check in read_relion(written(tmp_path, LABELS, rows)).checks:
            check.enforce(np.array([True, True, True]))
    assert re.search(words, str(refusal.value))
    for check in read_relion(written(tmp_path, LABELS, rows)).checks:
        check.enforce(np.array([False, True, True]))  # a row that is not used may hold anything


def test_what_is_not_there_is_asked_for(tmp_path: Path) -> None:
    labels, rows = without("AnglePhi")
    found = read_relion(written(tmp_path, labels, rows))
    assert found.missing_pose() == ["_cisTEMAnglePhi"]
    labels, rows = without("Defocus2")
    assert read_relion(written(tmp_path, labels, rows)).missing_ctf() == ["_cisTEMDefocus2"]
    path = written(tmp_path, LABELS, [])
    with pytest.raises(InvalidInput, match="holds no particles"):
        read_relion(path)


def test_options_and_stacks_as_for_any_other_file(tmp_path: Path) -> None:
    labels, rows = without("MicroscopeVoltagekV")
    path = written(tmp_path, labels, rows)
    found = read_metadata(IngestOptions(particles=path, voltage=200.0)).metadata
    assert found.ctf["voltage_kv"].tolist() == [200.0] * 3
    with pytest.raises(MissingFile, match=r"a b\.mrc"):
        read_particles(IngestOptions(particles=path, voltage=200.0))
