"""model/particles.parquet: what was written is read, and what is damaged is refused."""

import numpy as np
import pytest
from pyarrow import parquet

from covaria.errors import InvalidInput, MissingFile
from covaria.imaging.noise import Noise
from covaria.results.particle_table import (
    ParticleTable,
    counting,
    noise_of_images,
    read_particle_table,
    write_particle_table,
)
from covaria.tree import Tree

HALF_SET = np.array([0, 1, -1, 1], np.int8)
WEIGHT = np.array([1.0, 0.02, np.nan, 0.9], np.float32)


@pytest.fixture
def tree(tmp_path):
    tree = Tree(tmp_path)
    tree.model.mkdir(parents=True)
    columns = {"half_set": HALF_SET, "weight": WEIGHT, "p_empty": 1 - WEIGHT, "p_outlier": WEIGHT * 0}
    write_particle_table(tree, ParticleTable(columns | {"noise_to_1": WEIGHT + 1, "noise_to_2": WEIGHT + 2}))
    return tree


def test_round_trip(tree):
    table = read_particle_table(tree, 4)
    np.testing.assert_array_equal(table.columns["half_set"], HALF_SET)
    np.testing.assert_array_equal(table.weight, WEIGHT)
    np.testing.assert_allclose(table.band_noise, np.stack([WEIGHT + 1, WEIGHT + 2], 1))
    assert parquet.read_table(tree.particle_table)["half_set"].null_count == 1


def test_who_counts(tree):
    np.testing.assert_array_equal(counting(tree, 4), [True, False, False, True])
    rows = np.array([0, 1, 3])
    noise = noise_of_images(tree, Noise.white(16, 1), rows, 4)
    np.testing.assert_allclose(noise.weight, WEIGHT[rows])
    np.testing.assert_allclose(noise.bands[:, 1], WEIGHT[rows] + 2)


def test_damage_is_refused(tree):
    with pytest.raises(InvalidInput, match="4 rows for 5 particles"):
        read_particle_table(tree, 5)
    tree.particle_table.write_bytes(b"PAR1 not at all")
    with pytest.raises(InvalidInput, match="not a readable table"):
        read_particle_table(tree, 4)
    tree.particle_table.unlink()
    with pytest.raises(MissingFile):
        read_particle_table(tree, 4)
