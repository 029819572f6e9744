"""Drafts for the archives: valid by EMPIAR's schema, true to the files, four fields left."""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from covaria.cli import application
from covaria.errors import CovariaError, InvalidInput, MissingFile
from covaria.maps import write_volume
from covaria.operations.deposit import People
from covaria.request.model import IngestOptions, Request
from covaria.request.stages import STAGES
from covaria.results.parameters import write_parameters
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN
from covaria.testing import some_parameters
from covaria.tree import DepositTree, Tree, record

SCHEMA = Path(__file__).parent / "golden" / "empiar_deposition.schema.json"
GIVEN = {
    "--title": "Motion of a molecule in ice",
    "--sample": "Molecule of Escherichia coli",
    "--authors": "Doe, J; van Roe, A B",
    "--contact": "Jane | Doe | Institute of Maps | Town | AB1 2CD | GB | jane@example.org",
}


@pytest.fixture(name="tree", scope="module")
def tree_fixture(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    folder = tmp_path_factory.mktemp("deposit")
    options = SimulationOptions(n_images=30, box=32, pixel_size_angstrom=6.5, snr=1.0, seed=1)
    simulate(folder / "set", BUILT_IN["homogeneous"](1), options)
    tree = Tree(folder / "out")
    request = Request(out=tree.out, ingest=IngestOptions(particles=folder / "set" / "particles.star", downsample=16))
    record.write_request(tree, job_id="j", command="run", command_line="covaria run", stages=STAGES, request=request)
    tree.model.mkdir()
    tree.volumes.mkdir(parents=True)
    curve = np.clip(1.2 - np.arange(8) / 6, 0, 1)
    write_parameters(tree, some_parameters(16, mean_fsc=curve))
    ball = (np.add.outer(np.add.outer(*[(np.arange(16) - 8) ** 2] * 2), (np.arange(16) - 8) ** 2) < 25).astype(float)
    for path in (tree.mean_filtered, tree.mean_half(1), tree.mean_half(2), tree.mask):
        write_volume(path, ball, 4.0)
    return tree


def deposit(tree: Tree, folder: Path, **given: str) -> DepositTree:
    words = ["deposit", str(tree.out), "-o", str(folder), *[word for pair in given.items() for word in pair]]
    result = CliRunner().invoke(application(), words)
    if isinstance(result.exception, CovariaError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return DepositTree(folder)


@pytest.mark.parametrize("given", [{}, GIVEN])
def test_a_draft_is_valid_and_leaves_fewer_than_five_fields(tree: Tree, tmp_path: Path, given: dict[str, str]) -> None:
    made = deposit(tree, tmp_path / "drafts", **given)
    document = json.loads(made.empiar.read_text())
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(document)
    left = made.to_fill.read_text().splitlines()
    assert len(left) == 4 if not given else left == ["nothing"]
    images = document["imagesets"][0]
    assert (images["num_images_or_tilt_series"], images["image_width"], images["pixel_width"]) == (30, 32, 6.5)
    assert images["voxel_type"] == "('T7', '')", "the original particles are of 32-bit floats"
    assert ("TO FILL" in made.emdb.read_text()) != bool(given)


def test_the_map_is_described_as_it_is(tree: Tree, tmp_path: Path) -> None:
    made = deposit(tree, tmp_path / "drafts", **GIVEN)
    entry = json.loads(made.emdb.read_text())
    assert entry["authors"] == ["('Doe', 'J')", "('van Roe', 'A B')"]
    assert entry["map"]["sha256"] == hashlib.sha256(tree.mean_filtered.read_bytes()).hexdigest()
    assert entry["map"]["dimensions"] == [16, 16, 16] and entry["map"]["pixel_spacing_angstrom"] == 4.0
    assert 0 < entry["map"]["contour_level"]["level"] < 1 and len(entry["half_maps"]) == 2
    processing = entry["image_processing"]
    curve = [(float(p.findtext("x")), float(p.findtext("y"))) for p in ElementTree.parse(made.fsc).getroot()]
    below = next(x for x, y in curve if y < 1 / 7)
    assert 1 / below <= processing["resolution_angstrom"] <= 1 / curve[curve.index((below, 0.033333)) - 1][0]
    assert processing["particles_selected"] == 30 and processing["point_symmetry"] == "C1"
    assert entry["microscopy"]["acceleration_voltage_kv"] == [300.0]
    low, high = entry["microscopy"]["defocus_range_micrometre"]
    assert 0.7 < low < high < 2.4


def test_what_is_no_name_or_address_is_refused_and_nothing_is_written(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is no name"):
        deposit(tree, tmp_path / "drafts", **{"--authors": "Jane Doe"})
    with pytest.raises(InvalidInput, match="seven parts"):
        deposit(tree, tmp_path / "drafts", **{"--contact": "Jane | Doe"})
    with pytest.raises(MissingFile):
        deposit(tree, tmp_path / "drafts", **{"--particles": str(tmp_path / "gone.star")})
    assert not (tmp_path / "drafts").exists() and len(People().left) == 4
