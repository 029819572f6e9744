import numpy as np
import pytest

from covaria.estimation.states.neighbourhoods import leading, neighbourhood_sizes, neighbourhoods, squared_distances


def test_distances_are_the_quadratic_form_of_each_images_precision():
    generator = np.random.default_rng(0)
    latents, target = generator.normal(size=(20, 3)), generator.normal(size=3)
    roots = generator.normal(size=(20, 3, 3))
    precision = roots @ roots.transpose(0, 2, 1)
    expected = [(target - z) @ p @ (target - z) for z, p in zip(latents, precision, strict=True)]
    assert squared_distances(target, latents, precision) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("count", [5, 60, 400, 4000, 100000])
def test_sizes_grow_geometrically_up_to_a_third(count):
    sizes = neighbourhood_sizes(count)
    assert np.all(np.diff(sizes) > 0) and sizes[0] >= 1 and sizes[-1] == max(1, count // 3)
    if count >= 4000:
        assert 8 <= len(sizes) <= 12
        ratios = sizes[1:] / sizes[:-1]
        assert ratios.max() / ratios.min() < 1.05


def test_rings_are_nested_by_rank():
    generator = np.random.default_rng(1)
    latents = generator.normal(size=(600, 2)).astype(np.float32)
    precision = np.tile(np.eye(2, dtype=np.float32), (600, 1, 1))
    near = neighbourhoods(np.array([0.3, -0.2]), latents, precision)
    for k, size in enumerate(near.sizes):
        assert np.count_nonzero(near.ring <= k) == size
        assert near.distance[near.ring <= k].max() == near.edges[k] <= near.distance[near.ring > k].min()


def test_leading_coordinates_keep_their_own_precision():
    """The marginal of a Gaussian: the block of the covariance, not of the precision."""
    generator = np.random.default_rng(2)
    roots = generator.normal(size=(5, 3, 3))
    precision = roots @ roots.transpose(0, 2, 1) + np.eye(3)
    latents = generator.normal(size=(5, 3))
    found, own = leading(latents, precision, 2)
    np.testing.assert_array_equal(found, latents[:, :2])
    np.testing.assert_allclose(np.linalg.inv(own), np.linalg.inv(precision)[:, :2, :2])
    whole = leading(latents, precision, 3)
    assert whole[0] is latents and whole[1] is precision


def test_with_no_coordinate_to_go_by_every_target_has_the_same_neighbours():
    latents, precision = leading(np.ones((600, 2)), np.tile(np.eye(2), (600, 1, 1)), 0)
    near = [neighbourhoods(np.zeros(0), latents, precision) for _ in range(2)]
    np.testing.assert_array_equal(near[0].ring, near[1].ring)
