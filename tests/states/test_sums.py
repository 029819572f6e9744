import numpy as np
import pytest
import torch

from covaria.estimation.states.estimates import held_out
from covaria.estimation.states.model import Residuals
from covaria.estimation.states.neighbourhoods import neighbourhoods
from covaria.estimation.states.sums import ring_sums
from covaria.imaging.slices import project
from covaria.imaging.volumes import completed, to_padded
from covaria.maps import fsc
from covaria.running.passes import Pass
from covaria.testing import MemoryContext


def sums_of(simulated, half, memory_bytes=2 << 30):
    latents = simulated.model.latents
    near = neighbourhoods(simulated.latents[1], latents.coordinates, latents.precision)
    passes = Pass(MemoryContext(memory_bytes=memory_bytes))
    sums = ring_sums(simulated.images, simulated.model, half, [near], passes, with_everyone=True)
    return near, sums


def test_held_out_terms_are_those_of_the_images_themselves(moving):
    """sum |A d|^2 and sum <A d, residual> over the smallest neighbourhood, from its sums and image by image."""
    near, sums = sums_of(moving, 0)
    terms = held_out(completed(sums.rings[0][0], 1))
    map_ = torch.as_tensor(moving.model.halves[0].components[0] / moving.images.scale)
    transform = torch.fft.rfftn(map_)
    weights = torch.full((transform.shape[-1],), 2.0)
    weights[0] = weights[-1] = 1.0
    quadratic = float((weights * terms.weight * transform.abs() ** 2).sum())
    linear = float((weights * (transform.conj() * terms.gradient).real).sum())
    residuals, padded = Residuals(moving.model, 0, moving.images), to_padded(map_[None])
    inside = (moving.images.half == 0) & (near.ring == 0)
    direct_quadratic = direct_linear = 0.0
    for batch in moving.images.batches(inside, moving.model.noise):
        values, gain, weight = residuals.of(batch)
        slices = project(padded, batch.rotations, batch.plane)[..., 0]
        direct_quadratic += float((weight * slices**2).sum())
        direct_linear += float((gain[..., None] * values[..., 0] * slices).sum())
    assert linear == pytest.approx(direct_linear, rel=1e-3)
    assert quadratic == pytest.approx(direct_quadratic, rel=0.05)


def test_sums_do_not_depend_on_the_batches_and_rings_hold_their_images(moving):
    near, one = sums_of(moving, 1, memory_bytes=1 << 20)
    _, other = sums_of(moving, 1)
    for a, b in zip(one.tensors().values(), other.tensors().values(), strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-4
    inner = sum(ring[..., 2].sum() for ring in one.rings[0])
    share = np.count_nonzero((near.ring < len(near.sizes)) & (moving.images.half == 1)) / np.count_nonzero(
        moving.images.half == 1
    )
    assert float(inner / one.everyone[..., 2].sum()) == pytest.approx(share, rel=0.1)


def test_a_blank_models_residual_is_the_mean_map(moving):
    mean = np.mean(moving.volumes[moving.labels], axis=0)
    halves = moving.model.halves
    curve = fsc(0.5 * (halves[0].mean + halves[1].mean), mean, moving.mask)
    assert curve[1:12].min() > 0.9
