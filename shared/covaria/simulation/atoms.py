"""Structures as sums of Gaussian atoms: the value, and readers for PDB and mmCIF files."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput, MissingFile

ELEMENTS = """
H HE LI BE B C N O F NE NA MG AL SI P S CL AR K CA SC TI V CR MN FE CO NI CU ZN GA GE AS SE BR KR RB SR Y ZR NB MO TC RU
RH PD AG CD IN SN SB TE I XE CS BA LA CE PR ND PM SM EU GD TB DY HO ER TM YB LU HF TA W RE OS IR PT AU HG TL PB BI PO AT
RN FR RA AC TH PA U
"""
ATOMIC_NUMBER = {name: number for number, name in enumerate(ELEMENTS.split(), start=1)} | {"D": 1}
WATER = {"HOH", "DOD", "WAT"}
Row = tuple[float, float, float, float, str]
"""x, y, z, weight, chain."""


@dataclass(frozen=True)
class Atoms:
    """Point scatterers. positions_angstrom (A, 3) as x, y, z about the box centre; weights (A,) in electrons."""

    positions_angstrom: NDArray[np.float64]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def radius_angstrom(self) -> float:
        """The largest distance from the box centre."""
        return float(np.sqrt((self.positions_angstrom**2).sum(1).max()))

    def moved(self, offset_angstrom: NDArray[np.float64]) -> Atoms:
        return Atoms(self.positions_angstrom + offset_angstrom, self.weights)


def read_structures(paths: Sequence[Path]) -> list[Atoms]:
    """One `Atoms` for each file (.pdb, .ent, .cif, .mmcif), all moved by the same vector so that their centre is 0.

    Waters are left out; of alternative locations the first is taken; a weight is atomic number x occupancy.
    Raises MissingFile, InvalidInput.
    """
    states = [read_structure(path) for path in paths]
    total = sum(atoms.weights.sum() for atoms in states)
    moment = np.sum([atoms.weights @ atoms.positions_angstrom for atoms in states], axis=0)
    return [atoms.moved(-moment / total) for atoms in states]


def read_structure(path: Path, chains: Collection[str] = ()) -> Atoms:
    """One file's atoms where it says, of all chains or those named. Raises MissingFile, InvalidInput."""
    if not path.is_file():
        raise MissingFile("no such structure file", file=path, hint="give a .pdb or .cif file")
    kind = path.suffix.lower()
    if kind not in (".pdb", ".ent", ".cif", ".mmcif"):
        raise InvalidInput(f"{kind or 'no suffix'} is no structure format", file=path, hint="give .pdb or .cif")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = list(_pdb_rows(path, lines) if kind in (".pdb", ".ent") else _cif_rows(path, lines))
    if not rows:
        raise InvalidInput("holds no atoms", file=path, hint="expected ATOM or HETATM records")
    there = dict.fromkeys(row[-1] for row in rows)
    unknown = [name for name in chains if name not in there]
    if unknown:
        raise InvalidInput(f"has no chain {', '.join(unknown)}", file=path, hint=f"its chains: {', '.join(there)}")
    table = np.array([row[:-1] for row in rows if not chains or row[-1] in chains], dtype=np.float64)
    return Atoms(table[:, :3], table[:, 3])


def _pdb_rows(path: Path, lines: list[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if line.startswith("ENDMDL"):
            return
        if not line.startswith(("ATOM  ", "HETATM")) or line[17:20] in WATER or line[16] not in " A1":
            continue
        element = line[76:78].strip() or line[12:14].strip().lstrip("0123456789")[:1]
        try:
            x, y, z = float(line[30:38]), float(line[38:46]), float(line[46:54])
            occupancy = float(line[54:60].strip() or 1)
        except ValueError as error:
            hint = "a PDB record is fixed-width"
            raise InvalidInput("coordinates are not numbers", file=path, row=number, hint=hint) from error
        yield x, y, z, _weight(path, number, element) * occupancy, line[21].strip()


def _cif_rows(path: Path, lines: list[str]) -> Iterator[Row]:
    names: list[str] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text.startswith("_atom_site."):
            names.append(text.split()[0].removeprefix("_atom_site."))
            continue
        if not names:
            continue
        if not text or text.startswith(("#", "loop_", "_", "data_")):
            return
        values = dict(zip(names, shlex.split(text) if "'" in text or '"' in text else text.split(), strict=False))
        if values.get("label_comp_id") in WATER or values.get("label_alt_id", ".") not in (".", "?", "A", "1"):
            continue
        if values.get("pdbx_PDB_model_num", "1") != "1":
            return
        try:
            x, y, z = (float(values[f"Cartn_{axis}"]) for axis in "xyz")
            occupancy = float(values.get("occupancy", "1"))
        except (KeyError, ValueError) as error:
            raise InvalidInput(
                "no readable coordinates",
                file=path,
                row=number,
                column="_atom_site.Cartn_x, y, z",
                hint="check the loop",
            ) from error
        chain = values.get("auth_asym_id", values.get("label_asym_id", ""))
        yield x, y, z, _weight(path, number, values.get("type_symbol", "C")) * occupancy, chain


def _weight(path: Path, row: int, element: str) -> int:
    number = ATOMIC_NUMBER.get(element.upper())
    if number is None:
        raise InvalidInput(f"unknown element {element!r}", file=path, row=row, hint="fill the element column")
    return number
