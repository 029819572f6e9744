"""What people reported of programs like this one, each as a small input of its own: what the command line does with it.

The inputs are made here; docs/inputs.md states the rules.
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from covaria import cli
from covaria.particles import load
from covaria.tree import Tree

REFUSED, DONE = 2, 0
ROWS = 12


@dataclass
class Terminal:
    """Runs commands as a person would and keeps what they said."""

    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    folder: Path

    def __call__(self, *words: object) -> tuple[int, str]:
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setattr(sys, "argv", ["covaria", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = self.capfd.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    def ingest(self, *words: object) -> tuple[int, str]:
        return self("ingest", *words, "-o", "out", "--overwrite")

    def particles(self):
        return load(Tree(self.folder / "out").particles)


@pytest.fixture
def terminal(monkeypatch, capfd, tmp_path):
    return Terminal(monkeypatch, capfd, tmp_path)


@pytest.fixture
def workshop(workshop):
    """Twelve images instead of six."""
    workshop.images = np.random.default_rng(1).normal(size=(ROWS, 16, 16)).astype(np.float32)
    workshop.particles = {label: values * 2 for label, values in workshop.particles.items()}
    workshop.particles["_rlnImageName"] = [f"{row + 1:06d}@stack.mrcs" for row in range(ROWS)]
    return workshop


def test_all_classes_of_a_heterogeneous_refinement(workshop, terminal):
    """cryodrgn#175: poses of class 0 were taken for all."""
    own = np.arange(ROWS) % 2
    good = workshop.cs_table()
    columns = {f"alignments3D/{name}": None for name in ("pose", "shift", "psize_A")}
    for number in (0, 1):
        mine = (own == number)[:, None]
        prefix = f"alignments_class_{number}"
        columns[f"{prefix}/pose"] = np.where(mine, good["alignments3D/pose"], 0.1).astype("f4")
        columns[f"{prefix}/shift"] = np.where(mine, good["alignments3D/shift"], 0).astype("f4")
        columns[f"{prefix}/psize_A"] = good["alignments3D/psize_A"]
        columns[f"{prefix}/split"] = (np.arange(ROWS) // 2 % 2).astype("u4")
        columns[f"{prefix}/class_posterior"] = np.where(own == number, 0.95, 0.05).astype("f4")
    workshop.cs(good, "J10.cs")
    workshop.cs(workshop.cs_table(columns), "J9.cs")
    assert terminal.ingest("J10.cs")[0] == DONE
    expected = terminal.particles()
    code, said = terminal.ingest("J9.cs")
    assert code == DONE and "6 in class 0, 6 in class 1" in said.replace("\n", " ")
    np.testing.assert_allclose(terminal.particles().rotations, expected.rotations, atol=1e-6)
    np.testing.assert_array_equal(terminal.particles().half_set, np.arange(ROWS) // 2 % 2)
    assert terminal.ingest("J9.cs", "--class", 1)[0] == DONE
    np.testing.assert_array_equal(terminal.particles().rows, np.flatnonzero(own == 1))


def test_images_that_are_absurd(workshop, terminal):
    """relion#848: a failed conversion, a dead column, images 30 times too bright."""
    star = workshop.star()
    images = workshop.images.copy()
    images[3] *= np.float32(1e22)
    images[7] *= np.float32(30)
    workshop.write_stack(workshop.folder / "stack.mrcs", images)
    code, said = terminal.ingest(star.name)
    assert code == DONE and "rows (from 0) 3, 7" in said.replace("\n", " ")


def test_sub_tomograms_as_stacks(workshop, terminal):
    """tomodrgn#2, drgnai#18: the first tilt was taken for the particle."""
    star = workshop.star(
        particles={
            "_rlnTomoName": ["TS_01"] * ROWS,
            "_rlnTomoVisibleFrames": ["[1,1,1]"] * ROWS,
            "_rlnImageName": [f"{row}_stack2d.mrcs" for row in range(ROWS)],
        }
    )
    for command in ("inspect", "ingest"):
        code, said = terminal(command, star.name, *(("-o", "out") if command == "ingest" else ()))
        assert code == REFUSED and "tilt series" in said and "_rlnTomoName" in said


def test_two_collections_of_which_one_is_chosen(workshop, terminal):
    """cryodrgn#38, relion#519: the other's pixel size was in the way."""
    groups = [{}, {"_rlnOpticsGroup": "2", "_rlnImagePixelSize": "0.83"}]
    star = workshop.star(particles={"_rlnOpticsGroup": ["1"] * 8 + ["2"] * 4}, groups=groups)
    (terminal.folder / "first.pkl").write_bytes(pickle.dumps(np.arange(8)))
    assert terminal.ingest(star.name)[0] == REFUSED
    assert terminal.ingest(star.name, "--ind", "first.pkl")[0] == DONE
    code, said = terminal("inspect", star.name, "--ind", "first.pkl")
    assert code == DONE and "optics group 1: particles 8" in said and "optics group 2" not in said


def test_simulated_particles_without_origins(workshop, terminal):
    """relion#707: RELION takes them as centred."""
    star = workshop.star(particles={"_rlnOriginXAngst": None, "_rlnOriginYAngst": None})
    code, said = terminal.ingest(star.name)
    assert code == DONE and "no origins in the file" in said.replace("\n", " ")
    workshop.star(optics={"_rlnImagePixelSize": None, "_rlnPixelSize": "1.5"})
    code, said = terminal.ingest(star.name)
    assert code == REFUSED and "says 1.5" in said and "--pixel-size" in said


def test_the_wrong_file_of_a_job(workshop, terminal):
    """cryodrgn#295, pyem#110."""
    workshop.cs(workshop.cs_table(), "J1_particles.cs")
    workshop.cs(workshop.cs_table()[["uid", "ctf/df1_A"]], "J1_passthrough_particles.cs")
    code, said = terminal.ingest("J1_passthrough_particles.cs")
    assert code == REFUSED and "J1_particles.cs" in said and "--passthrough" in said
    (terminal.folder / "J1.csg").write_text("metafile: '>J1_particles.cs'\n")
    code, said = terminal.ingest("J1.csg")
    assert code == REFUSED and "give J1_particles.cs" in said


@pytest.mark.parametrize(
    "value",
    [
        np.array([3, 5, 8]), [3, 5, 8], {3, 5, 8}, np.array([3.0, 5.0, 8.0]), np.array([[3], [5], [8]]),
        np.isin(np.arange(ROWS), [3, 5, 8]), np.isin(np.arange(ROWS), [3, 5, 8]).astype(int),
        np.isin(np.arange(ROWS), [3, 5, 8]).tolist(), np.where(np.isin(np.arange(ROWS), [3, 5, 8])),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_selection_as_people_save_it(workshop, terminal, value):
    """cryodrgn#365: a mask of 0 and 1 was taken as rows 0 and 1."""
    star = workshop.star()
    (terminal.folder / "ind.pkl").write_bytes(pickle.dumps(value))
    assert terminal.ingest(star.name, "--ind", "ind.pkl")[0] == DONE
    np.testing.assert_array_equal(terminal.particles().rows, [3, 5, 8])


def test_filaments(workshop, terminal):
    """relion#521, #429: half-sets by segment agreed on what neighbours share."""
    tube = np.repeat([1, 2, 3, 4], 3)
    star = workshop.star(
        particles={"_rlnHelicalTubeID": [str(one) for one in tube], "_rlnMicrographName": ["m.mrc"] * ROWS}
    )
    code, said = terminal.ingest(star.name)
    assert code == DONE and "4 helical tubes (12 rows)" in said.replace("\n", " ")
    assert all(len(set(terminal.particles().half_set[tube == one])) == 1 for one in (1, 2, 3, 4))


def test_odd_numbers_of_pixels(workshop, terminal):
    """cryodrgn#353, opusDSD#5."""
    star = workshop.star()
    code, said = terminal.ingest(star.name, "--downsample", 21)
    assert code == REFUSED and "20" in said and "22" in said
    workshop.images = np.random.default_rng(0).normal(size=(ROWS, 33, 33)).astype(np.float32)
    star = workshop.star(optics={"_rlnImageSize": "33"})
    assert terminal.ingest(star.name)[0] == DONE
    assert terminal.particles().box == 32
    assert terminal.particles().pixel_size_angstrom == pytest.approx(1.5 * 33 / 32)


@pytest.mark.parametrize(
    ("optics", "factor", "column", "hint"),
    [
        ({}, 1e-4, "_rlnDefocusU", "micrometres"),
        ({}, -1, "_rlnDefocusU", "change the sign"),
        ({"_rlnVoltage": "300000"}, 1, "_rlnVoltage", "volts"),
        ({"_rlnVoltage": "0"}, 1, "_rlnVoltage", "kV"),
        ({"_rlnSphericalAberration": "2.7e7"}, 1, "_rlnSphericalAberration", "angstrom"),
        ({"_rlnAmplitudeContrast": "10"}, 1, "_rlnAmplitudeContrast", "percent"),
        ({"_rlnImagePixelSize": "0.15"}, 1, "_rlnImagePixelSize", "nanometre"),
    ],
)
def test_other_units(workshop, terminal, optics, factor, column, hint):
    """scipion-em-xmipp#604."""
    changed = {}
    for label in ("_rlnDefocusU", "_rlnDefocusV"):
        changed[label] = [f"{float(value) * factor:.6f}" for value in workshop.particles[label]]
    code, said = terminal.ingest(workshop.star(optics=optics, particles=changed).name)
    assert code == REFUSED and column in said and hint in said.replace("\n", " ")
    assert not Tree(terminal.folder / "out").particles.exists()
