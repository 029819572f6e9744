"""RELION itself reads what a subset holds. Skipped where it is not installed (Debian: apt-get install relion)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile

from covaria.particles.star.subset import StarRows
from covaria.selection.apply import selected
from covaria.selection.columns import RunColumns
from covaria.selection.handoff import source_of, source_rows, write_subset
from covaria.selection.model import Where
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN
from covaria.tree import Tree

pytestmark = pytest.mark.skipif(shutil.which("relion_reconstruct") is None, reason="relion is not installed")
COUNT, BOX = 120, 32


def relion(program: str, *arguments: object, folder: Path) -> None:
    done = subprocess.run(
        [f"relion_{program}", *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module", name="folder")
def folder_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set and two halves of it: `even` of whole rows, and `nearly` which leaves one image out."""
    folder = tmp_path_factory.mktemp("relion")
    options = SimulationOptions(n_images=COUNT, box=BOX, pixel_size_angstrom=8.0, snr=5.0, seed=2)
    simulate(folder, BUILT_IN["homogeneous"](1), options, overwrite=True)
    rows = np.arange(COUNT)
    for name, keep in (("even", rows % 2 == 0), ("nearly", rows != 7)):
        with (folder / f"{name}.star").open("wb") as file:
            StarRows(folder / "particles.star").write(keep, file)
    return folder


def test_star_handler_finds_the_rows_and_their_optics(folder: Path) -> None:
    relion("star_handler", "--i", "even.star", "--o", "read.star", folder=folder)
    ours, theirs = (starfile.read(folder / name) for name in ("even.star", "read.star"))
    assert theirs["particles"]["rlnImageName"].tolist() == ours["particles"]["rlnImageName"].tolist()
    assert len(theirs["particles"]) == COUNT // 2
    assert theirs["optics"]["rlnVoltage"].tolist() == ours["optics"]["rlnVoltage"].tolist()


def test_reconstruct_makes_the_map_of_the_rows(folder: Path) -> None:
    """The map of all images but one is nearly that of all; that of half of them is less so."""
    maps = {}
    for name in ("particles", "nearly", "even"):
        relion("reconstruct", "--i", f"{name}.star", "--o", f"{name}.mrc", "--ctf", folder=folder)
        maps[name] = mrcfile.read(folder / f"{name}.mrc").ravel()
    nearly, even = (float(np.corrcoef(maps["particles"], maps[name])[0, 1]) for name in ("nearly", "even"))
    assert nearly > 0.99
    assert 0.8 < even < nearly


@pytest.mark.parametrize("name", ["stacks", "expanded", "scipion31"])
def test_relion_takes_the_subset_of_a_run(
    finished: Callable[..., Tree], dialect: Callable[[Path, str], Path], tmp_path: Path, name: str
) -> None:
    """Of a downsampled run on several stacks, symmetry copies, or Scipion's file: the original rows and images."""
    source = dialect(tmp_path / "source", name)
    tree = finished(source, downsample=16)
    ingest = source_of(tree)
    table = RunColumns(tree, ingest)
    keep = source_rows(selected(Where(expression="cluster < 2 and p_empty < 0.85"), table), table.copies)
    write_subset(source.parent, ingest, keep)
    relion("star_handler", "--i", "particles.star", "--o", "read.star", folder=source.parent)
    read = starfile.read(source.parent / "read.star", always_dict=True)
    names = starfile.read(source)["particles"]["rlnImageName"].tolist()
    assert read["particles"]["rlnImageName"].tolist() == [name for name, kept in zip(names, keep, strict=True) if kept]
    relion("reconstruct", "--i", "particles.star", "--o", "map.mrc", "--ctf", folder=source.parent)
    assert mrcfile.read(source.parent / "map.mrc").shape == (BOX,) * 3
