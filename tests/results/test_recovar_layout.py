"""A run handed over in RECOVAR's layout and units: the products that have a meaning are the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from covaria.cli import application
from covaria.errors import CovariaError, InvalidInput
from covaria.estimation.density.choice import l_curve_corner
from covaria.estimation.latents.model import Latents
from covaria.maps import read_volume, write_volume
from covaria.pickles import load_pickle
from covaria.results.latents import write_latents
from covaria.results.model import write_half_sets
from covaria.results.parameters import write_parameters
from covaria.results.recovar_layout import export_recovar
from covaria.states.subvolumes import choice_by_shell, subvolumes
from covaria.testing import some_parameters
from covaria.tree import RecovarTree, Tree

BOX, N, ZDIM = 16, 30, 2
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    tree = Tree(tmp_path_factory.mktemp("run") / "out")
    tree.model.mkdir(parents=True)
    tree.volumes.mkdir(parents=True)
    write_parameters(tree, some_parameters(BOX, s=np.array([4.0, 1.0])), {"version": "0.7"})
    write_half_sets(tree, (np.arange(0, N, 2), np.arange(1, N, 2)))
    coordinates = RNG.normal(size=(N, ZDIM)).astype(np.float32)
    coordinates[3] = np.nan
    precision = np.tile(np.diag([2.0, 3.0]).astype(np.float32), (N, 1, 1))
    latents = Latents(coordinates, precision, np.ones(N, np.float32))
    write_latents(tree, latents, latents)
    for path in (tree.mean, tree.mean_filtered, tree.mean_half(1), tree.mean_half(2), tree.mask, tree.dilated_mask):
        write_volume(path, RNG.normal(size=(BOX,) * 3), 4.0)
    for k in range(ZDIM):
        volume = RNG.normal(size=(BOX,) * 3)
        write_volume(tree.eigenvolume(k), volume / np.linalg.norm(volume), 4.0)
    write_volume(tree.variance(4), RNG.random((BOX,) * 3), 4.0)
    return tree


def test_motion_and_distances_are_the_same_in_their_units(finished: Tree, tmp_path: Path) -> None:
    target = RecovarTree(tmp_path / "copy")
    export_recovar(finished, target)
    found = load_pickle(target.embeddings)
    assert set(found) == {"zs", "cov_zs", "contrasts"} and set(found["zs"]) == {2, "2_noreg"}
    ours = np.load(finished.latent_coords(ZDIM))
    theirs, matrices = found["zs"][2], found["cov_zs"]["2_noreg"]
    assert np.isnan(theirs[3]).all() and found["contrasts"][2].shape == (N,)
    np.testing.assert_allclose(theirs[0], ours[0] * BOX**1.5, rtol=1e-6)
    for row in (0, 7):
        ours_moved, theirs_moved = (
            sum(z[k] * read_volume(tree.eigenvolume(k))[0] for k in range(ZDIM))
            for z, tree in ((ours[row], finished), (theirs[row], target))
        )
        np.testing.assert_allclose(theirs_moved, ours_moved, atol=1e-5)
        precision = np.load(finished.latent_precision(ZDIM))[row]
        assert theirs[row] @ matrices[row] @ theirs[row] == pytest.approx(ours[row] @ precision @ ours[row], rel=1e-5)
    params = load_pickle(target.params)
    assert params["version"] == "0.4" and params["s"].tolist() == [4.0 * BOX**3, 1.0 * BOX**3]
    u = read_volume(target.eigenvolume(0))[0].astype(float)
    assert (u**2).sum() == pytest.approx(1 / BOX**3, rel=1e-4), "unit norm in the unnormalised DFT"
    variance = params["s"][0] * u**2
    np.testing.assert_allclose(variance, 4.0 * read_volume(finished.eigenvolume(0))[0].astype(float) ** 2, rtol=1e-4)
    assert (target.root / "output/volumes/variance4.mrc").read_bytes() == finished.variance(4).read_bytes()


def test_the_command_makes_a_folder_of_its_own_and_refuses_what_is_no_run(finished: Tree, tmp_path: Path) -> None:
    words = ["export", str(finished.out), "--layout", "recovar-0.4.5", "-o", str(tmp_path / "copy")]
    assert CliRunner().invoke(application(), words).exit_code == 0
    document = json.loads((tmp_path / "copy" / "job.json").read_text())
    assert document["command"] == "export" and "model/embeddings.pkl" in document["outputs"]["exported"]
    refused = CliRunner().invoke(application(), words)
    assert isinstance(refused.exception, CovariaError) and "not empty" in str(refused.exception)
    with pytest.raises(InvalidInput, match="no latent coordinates"):
        export_recovar(Tree(tmp_path / "nothing"), RecovarTree(tmp_path / "never"))
    assert not (tmp_path / "never").exists()


def test_every_voxel_inside_the_mask_has_the_choice_of_its_nearest_place() -> None:
    axis = np.arange(32) - 16
    mask = (np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) < 9).astype(np.float32)
    parts = subvolumes(mask)
    assert ((parts.owner >= 0) == (mask > 0.5)).all() and set(np.unique(parts.owner)) == {*range(-1, len(parts.places))}
    places = np.linspace(0, 31, 8)
    z, y, x = np.argwhere(mask > 0.5)[40]
    mine = parts.places[int(parts.owner[z, y, x])]
    assert (np.abs(places[mine] - [z, y, x]) <= 31 / 7 / 2 + 1e-9).all()
    strongest = np.arange(8 * 8**3).reshape(8, 8, 8, 8).astype(np.int16).astype(np.int8)
    chosen = choice_by_shell(strongest, parts.places, 32)
    assert chosen.shape == (len(parts.places), 16)
    assert chosen[5, 0] == strongest[(0, *parts.places[5])] and chosen[5, 15] == strongest[(7, *parts.places[5])]


def test_the_corner_of_an_l_is_found() -> None:
    roughness = np.exp(np.array([0.0, 0.2, 0.4, 0.6, 3.0, 6.0, 9.0]))
    fit = -np.array([9.0, 6.0, 3.0, 0.5, 0.4, 0.2, 0.0])
    assert l_curve_corner(roughness, fit) == 3
    assert l_curve_corner(np.ones(3), np.zeros(3)) == 0
