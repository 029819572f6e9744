"""What is written is what is read, and what is broken is named."""

from dataclasses import fields, replace

import numpy as np
import pytest

from covaria.errors import InvalidInput, MissingFile
from covaria.estimation.latents.model import Latents
from covaria.estimation.linear_model import LinearModel
from covaria.pickles import load_pickle
from covaria.results.latents import read_latents, read_unregularised, stored_zdim, write_latents
from covaria.results.model import read_half_models, read_half_sets, write_half_models, write_half_sets
from covaria.results.parameters import read_parameters, write_parameters
from covaria.testing import some_parameters
from covaria.tree import Tree, atomic

TOTAL, BOX = 9, 8


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "out")


def some_latents(seed: int, zdim: int = 2) -> Latents:
    rng = np.random.default_rng(seed)
    rows = np.array([0, 2, 3, 7])
    shapes = ((4, zdim), (4, zdim, zdim), (4,))
    return Latents(*(rng.normal(size=shape) for shape in shapes)).in_input_order(rows, TOTAL)


def test_latents_come_back_with_prior_and_without(tree):
    with_prior = some_latents(0)
    without = replace(some_latents(1), contrasts=with_prior.contrasts)
    write_latents(tree, with_prior, without)
    for found, written in ((read_latents(tree, 2), with_prior), (read_unregularised(tree, 2), without)):
        for field in fields(Latents):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(written, field.name))
        assert found.rows.tolist() == [0, 2, 3, 7] and found.zdim == 2 and len(found) == TOTAL
    assert stored_zdim(tree, 2) == 2
    with pytest.raises(InvalidInput, match="zdim 4 was not computed; stored: 2"):
        stored_zdim(tree, 4)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((TOTAL, 3), np.float32), f"has shape {TOTAL} x 3, expected N x 2"),
        (np.zeros((TOTAL + 1, 2), np.float32), f"expected {TOTAL + 1} x 2 x 2"),
        (np.zeros((TOTAL, 2), np.int64), "holds int64, expected real numbers"),
        (None, "is not a readable array"),
    ],
)
def test_damaged_latents_are_named(tree, array, said):
    write_latents(tree, some_latents(0), some_latents(0))
    if array is None:
        tree.latent_coords(2).write_bytes(b"nothing")
    else:
        np.save(tree.latent_coords(2), array)
    with pytest.raises(InvalidInput, match=said):
        read_latents(tree, 2)
    tree.contrasts(2).unlink()
    with pytest.raises(MissingFile):
        read_unregularised(tree, 2)


def test_parameters_come_back_key_by_key(tree):
    written = some_parameters(BOX, significant_components=3, input_args={"out": "here"})
    write_parameters(tree, written)
    found = read_parameters(tree)
    for field in fields(written):
        np.testing.assert_equal(getattr(found, field.name), getattr(written, field.name))
    atomic.write_pickle(tree.params, {"data_sign": 1})
    with pytest.raises(InvalidInput, match="lacks volume_shape"):
        read_parameters(tree)


def test_parameters_of_version_0_1_0_are_read(tree):
    """They say nothing of how the other half-set scores each component."""
    written = some_parameters(BOX)
    write_parameters(tree, written)
    stored = load_pickle(tree.params)
    del stored["component_z_score"]
    atomic.write_pickle(tree.params, stored)
    found = read_parameters(tree)
    assert found.component_z_score.shape == written.s.shape
    assert np.isnan(found.component_z_score).all()
    np.testing.assert_equal(found.s, written.s)


def test_noise_is_in_units_of_the_cache_that_asks():
    noise = some_parameters(BOX, noise_var_used=np.full(3, 8.0)).noise(2.0, groups=2)
    assert noise.spectrum.tolist() == [2, 2, 2] and noise.factor.tolist() == [1, 1]


def test_half_sets_come_back_by_row(tree):
    write_half_sets(tree, (np.array([0, 3]), np.array([1])))
    assert read_half_sets(tree, 5).tolist() == [0, 1, -1, 0, -1]
    with pytest.raises(InvalidInput, match="half-set 1 does not hold rows of the 3 particles"):
        read_half_sets(tree, 3)
    atomic.write_pickle(tree.halfsets, [np.array([-1]), np.array([0])])
    with pytest.raises(InvalidInput, match="half-set 1"):
        read_half_sets(tree, 3)


def test_half_models_come_back_as_densities(tree):
    rng = np.random.default_rng(0)
    halves = tuple(
        LinearModel(*(rng.normal(size=(*n, BOX, BOX, BOX)).astype(np.float32) for n in ((), (2,))), 4.0)
        for _ in range(2)
    )
    write_half_models(tree, halves)
    for found, written in zip(read_half_models(tree, 1, BOX), halves, strict=True):
        assert found.grey_level == 1
        np.testing.assert_array_equal(found.mean, 4 * written.mean)
        np.testing.assert_array_equal(found.components, 4 * written.components[:1])
    with pytest.raises(InvalidInput, match="for images of 16 pixels"):
        read_half_models(tree, 1, 16)
    only_means = tuple(replace(half, components=half.components[:0]) for half in halves)
    write_half_models(tree, only_means)
    with pytest.raises(InvalidInput, match="lacks components_half1, components_half2"):
        read_half_models(tree, 1, BOX)
