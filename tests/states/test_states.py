"""What states must show: nearer to the truth than the mean map and than averaging nearest images; a fitting choice."""

import numpy as np
import pytest
import torch

from covaria.estimation.states.assemble import assemble
from covaria.estimation.states.estimates import residual_map, residual_maps
from covaria.estimation.states.neighbourhoods import neighbourhoods
from covaria.estimation.states.sums import ring_sums
from covaria.imaging.volumes import completed
from covaria.maps import fsc, fsc_area
from covaria.running.passes import Pass
from covaria.testing import MemoryContext


def states_at(simulated, targets):
    images, model = simulated.images, simulated.model
    near = [neighbourhoods(target, model.latents.coordinates, model.latents.precision) for target in targets]
    residuals, everyone = [], []
    for half in (0, 1):
        sums = ring_sums(images, model, half, near, Pass(MemoryContext()), with_everyone=True)
        residuals.append([residual_maps(sums.completed(t)) for t in range(len(targets))])
        everyone.append(residual_map(completed(sums.everyone, 1)))
    shared = torch.stack(everyone)
    states = [
        assemble(
            model, target, (residuals[0][t], residuals[1][t]), shared, near[t].sizes, len(images), images.scale, 1.0
        )
        for t, target in enumerate(targets)
    ]
    return states, residuals


def area(volume, truth, mask):
    return fsc_area(fsc(volume * mask, truth * mask))


@pytest.mark.parametrize("linear", [True, False], ids=["with components", "mean alone"])
def test_states_beat_the_mean_map_and_the_average_of_nearest_images(moving, without_components, linear):
    simulated = moving if linear else without_components(moving)
    chosen = [1, 4, 6]
    states, residuals = states_at(simulated, simulated.latents[chosen])
    halves = simulated.model.halves
    blank_mean = 0.5 * (halves[0].mean + halves[1].mean)
    for t, (state, number) in enumerate(zip(states, chosen, strict=True)):
        truth, mask = simulated.volumes[number], simulated.mask
        nearest = np.mean(
            [halves[h].mean + residuals[h][t].maps[0].numpy() * simulated.images.scale for h in (0, 1)],
            axis=0,
        )
        if linear:
            nearest = nearest + sum(halves[h].at(simulated.latents[number]) for h in (0, 1)) / 2 - blank_mean
        assert area(state.filtered, truth, mask) > area(blank_mean, truth, mask) + 0.005
        assert area(state.filtered, truth, mask) > area(nearest, truth, mask) + 0.005


def test_a_rigid_particle_chooses_all_images_or_no_residual(rigid):
    (state,), _ = states_at(rigid, [np.zeros(1)])
    shares = state.choice.shares.mean(0)
    assert int(shares.argmax()) in (0, len(shares) - 1)
    assert float(shares[0] + shares[-1]) > 0.5


def test_strong_motion_beyond_the_linear_model_chooses_narrow_neighbourhoods(moving, without_components):
    (state,), _ = states_at(without_components(moving), moving.latents[[0]])
    shares = state.choice.shares[1:6].mean(0)
    assert float(shares[1:-1].sum()) > 0.9
    narrower_half = state.choice.shares[1, 1 : 1 + (shares.shape[0] - 2) // 2].sum()
    assert float(narrower_half) > 0.4


def test_the_choice_covers_every_place_and_band(moving):
    (state,), _ = states_at(moving, moving.latents[[2]])
    for weight in state.choice.weights:
        assert weight.sum(0).numpy() == pytest.approx(1.0, abs=1e-4)
    strongest = state.choice.strongest(32)
    assert strongest.shape[0] == len(state.choice.weights) and strongest.max() < state.choice.shares.shape[1]
    assert state.choice.shares.sum(1).numpy() == pytest.approx(1.0, abs=1e-3)
