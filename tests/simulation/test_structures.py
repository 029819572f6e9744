"""The phantom, the ensembles, and the readers of structure files against gemmi."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covaria.errors import InvalidInput, MissingFile
from covaria.simulation.atoms import read_structures
from covaria.simulation.ensemble import BUILT_IN, from_files
from covaria.simulation.phantom import Conformation, phantom


@pytest.fixture
def structure():
    gemmi = pytest.importorskip("gemmi")
    made = gemmi.Structure()
    model = made.add_model(gemmi.Model("1" if not hasattr(gemmi.Model, "num") else 1))
    chain = model.add_chain(gemmi.Chain("A"))
    rng = np.random.default_rng(3)
    for number, (name, element) in enumerate([("GLY", "C"), ("LYS", "N"), ("FE", "Fe"), ("HOH", "O")], start=1):
        residue = gemmi.Residue()
        residue.name, residue.seqid = name, gemmi.SeqId(str(number))
        for altloc in "AB" if name == "LYS" else "\0":
            atom = gemmi.Atom()
            atom.name, atom.element, atom.altloc, atom.occ = element.upper(), gemmi.Element(element), altloc, 0.5
            atom.pos = gemmi.Position(*np.round(rng.uniform(-50, 50, 3), 3))
            residue.add_atom(atom)
        chain.add_residue(residue)
    return made


def test_pdb_and_mmcif_agree_with_gemmi(tmp_path: Path, structure) -> None:
    structure.setup_entities()
    structure.write_pdb(str(tmp_path / "a.pdb"))
    structure.make_mmcif_document().write_file(str(tmp_path / "a.cif"))
    expected = [
        (*atom.pos.tolist(), atom.element.atomic_number * atom.occ)
        for residue in structure[0][0]
        if residue.name != "HOH"
        for atom in residue
        if atom.altloc in ("\0", "A")
    ]
    table = np.array(expected)
    table[:, :3] -= table[:, 3] @ table[:, :3] / table[:, 3].sum()
    for name in ("a.pdb", "a.cif"):
        (atoms,) = read_structures([tmp_path / name])
        np.testing.assert_allclose(np.c_[atoms.positions_angstrom, atoms.weights], table, atol=2e-3)


def test_states_keep_their_places_relative_to_each_other(tmp_path: Path) -> None:
    line = "ATOM      1  CA  GLY A   1    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00           C  \n"
    for name, x in (("a", 10.0), ("b", 20.0)):
        (tmp_path / f"{name}.pdb").write_text(line.format(x, 0, 0) + line.format(30, 0, 0))
    first, second = read_structures([tmp_path / "a.pdb", tmp_path / "b.pdb"])
    assert first.positions_angstrom[1, 0] == pytest.approx(second.positions_angstrom[1, 0])
    assert second.positions_angstrom[0, 0] - first.positions_angstrom[0, 0] == pytest.approx(10)


def test_unusable_structure_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"none\.pdb"):
        read_structures([tmp_path / "none.pdb"])
    (tmp_path / "a.xyz").write_text("")
    with pytest.raises(InvalidInput, match="no structure format"):
        read_structures([tmp_path / "a.xyz"])
    (tmp_path / "a.pdb").write_text("REMARK\n")
    with pytest.raises(InvalidInput, match="no atoms"):
        read_structures([tmp_path / "a.pdb"])
    (tmp_path / "b.pdb").write_text(
        "ATOM      1  CA  GLY A   1      xx.xxx   0.000   0.000  1.00  0.00           C  \n"
    )
    with pytest.raises(InvalidInput, match="row 1"):
        read_structures([tmp_path / "b.pdb"])
    with pytest.raises(InvalidInput, match="mixed"):
        from_files([tmp_path / "a.pdb", tmp_path / "b.mrc"])


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_ensembles_are_consistent(name: str) -> None:
    ensemble = BUILT_IN[name](9)
    assert len(ensemble.probabilities) == len(ensemble.latents) == len(ensemble)
    assert ensemble.probabilities.sum() == pytest.approx(1)
    sizes = {len(state) for state in ensemble.structures}  # type: ignore[arg-type]
    assert len(sizes) == 1


def test_domains_move_as_rigid_bodies() -> None:
    rest, moved = phantom(Conformation()), phantom(Conformation(hinge_deg=30, rotation_deg=40, occupancy=0.5))
    distance = np.linalg.norm(moved.positions_angstrom - rest.positions_angstrom, axis=1)
    still = distance < 1e-9
    assert 0.5 < still.mean() < 0.8, "the body and the extra part stay"
    assert 15 < distance.max() < 60
    assert moved.weights.min() == pytest.approx(rest.weights.min() / 2)
    assert rest.radius_angstrom < 100, "fits its box of 256 A with room for shifts"
