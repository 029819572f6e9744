"""covaria::project and covaria::backproject: each pair, on every device that is present."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from covaria.imaging import operators, volumes
from covaria.imaging.plane import half_plane
from covaria.testing import assert_adjoint

RADIUS, COMPLEX, REAL, IMAGES = 7, 2, 1, 5
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])


@pytest.fixture(params=["cpu", CUDA])
def scene(request):
    """Rotations, kx and ky, a padded grid, complex values, their gain and real weights of images, on one device."""
    generator = torch.Generator().manual_seed(0)
    plane = half_plane(2 * RADIUS + 2)
    matrices = Rotation.random(IMAGES, rng=np.random.default_rng(0)).as_matrix()
    grid = torch.randn(volumes.padded_shape(RADIUS, 2 * COMPLEX + REAL), generator=generator)
    values = torch.randn((IMAGES, len(plane), 2 * COMPLEX), generator=generator)
    weights = torch.rand((IMAGES, len(plane), REAL), generator=generator)
    gain = torch.randn((IMAGES, len(plane)), generator=generator)
    rotations = torch.as_tensor(matrices, dtype=torch.float32)
    where = (rotations, *plane.frequencies())
    return tuple(t.to(request.param) for t in where), *(t.to(request.param) for t in (grid, values, gain, weights))


def test_the_kernels_of_this_device_equal_plain_torch(scene):
    where, grid, values, gain, weights = scene
    expected = operators.plain_project(grid, *where, COMPLEX)
    torch.testing.assert_close(operators.project(grid, *where, COMPLEX), expected, rtol=1e-4, atol=1e-4)
    found, expected = grid.clone(), grid.clone()
    operators.backproject_(found, values, gain, weights, *where)
    operators.plain_backproject_(expected, values, gain, weights, *where)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_backproject_is_the_adjoint_of_project(scene):
    """As plain maps of arrays: real channels are even, so they take part like the others."""
    where, grid, values, gain, weights = scene

    def adjoint(images: torch.Tensor) -> torch.Tensor:
        return operators.backproject(
            images[..., : 2 * COMPLEX], gain, images[..., 2 * COMPLEX :], *where, grid.shape[0]
        )

    def forward(grid: torch.Tensor) -> torch.Tensor:
        seen = operators.project(grid, *where, COMPLEX)
        return torch.cat([seen[..., : 2 * COMPLEX] * gain[..., None], seen[..., 2 * COMPLEX :]], -1)

    images = torch.cat([values, weights], -1)
    assert_adjoint(forward, adjoint, grid, images)


def test_gradients_are_the_adjoints(scene):
    where, grid, values, gain, weights = scene
    grid.requires_grad_()
    images = torch.cat([values, weights], -1)
    (operators.project(grid, *where, COMPLEX) * images).sum().backward()
    ones = torch.ones_like(gain)
    torch.testing.assert_close(grid.grad, operators.backproject(values, ones, weights, *where, grid.shape[0]))
    values.requires_grad_()
    weights.requires_grad_()
    pattern = grid.detach()
    (operators.backproject(values, gain, weights, *where, grid.shape[0]) * pattern).sum().backward()
    back = operators.project(pattern, *where, COMPLEX)
    back[..., : 2 * COMPLEX] *= gain[..., None]
    torch.testing.assert_close(torch.cat([values.grad, weights.grad], -1), back)


def test_torch_finds_schema_shapes_and_gradients_in_order(scene):
    where, grid, values, gain, weights = scene
    torch.library.opcheck(operators.project, (grid.requires_grad_(), *where, COMPLEX))
    torch.library.opcheck(operators.backproject_, (grid.detach(), values, gain, weights, *where))
    given = (values.requires_grad_(), gain, weights.requires_grad_(), *where, grid.shape[0])
    torch.library.opcheck(operators.backproject, given)


def test_a_pair_that_is_not_adjoint_is_told(scene):
    _, grid, _, _, _ = scene
    with pytest.raises(AssertionError, match="<Ax, y>"):
        assert_adjoint(lambda x: 2 * x, lambda y: y, grid, grid.flip(0) + 1)
    with pytest.raises(AssertionError, match="would show nothing"):
        assert_adjoint(lambda x: 0 * x, lambda y: 0 * y, grid, grid)
