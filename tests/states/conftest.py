"""Small simulated sets with the truth's latents (noisy, with the precision they have) and each half-set's own mean."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from covaria.estimation.latents.model import Latents
from covaria.estimation.linear_model import LinearModel
from covaria.estimation.states.estimates import residual_map
from covaria.estimation.states.model import HalfSetModels
from covaria.estimation.states.neighbourhoods import neighbourhoods
from covaria.estimation.states.sums import ring_sums
from covaria.imaging.images import Images
from covaria.imaging.noise import Noise
from covaria.imaging.volumes import completed
from covaria.maps import solvent_mask, write_volume
from covaria.maps.fourier import resample_volume
from covaria.particles import load, read_particles, save
from covaria.request.model import IngestOptions, Request
from covaria.request.stages import STAGES
from covaria.results.latents import write_latents
from covaria.results.model import write_half_models, write_half_sets
from covaria.results.parameters import write_parameters
from covaria.running.passes import Pass
from covaria.simulation.dataset import SimulationOptions
from covaria.simulation.ensemble import BUILT_IN
from covaria.stage import Job
from covaria.testing import MemoryContext, TruthSet, some_parameters
from covaria.tree import Tree, record
from covaria_ingest.stage import run as ingest

BOX, SMALL = 48, 24
LATENT_NOISE = 0.15
"""Standard error of the latents, relative to their spread."""


@dataclass(frozen=True)
class Simulated:
    """volumes (S, D, D, D), state latents (S, q) in density units, each image's state, and everything a run finds."""

    images: Images
    model: HalfSetModels
    volumes: np.ndarray
    latents: np.ndarray
    labels: np.ndarray
    mask: np.ndarray


def mean_of(model):
    """The mean of the two half-sets, (D, D, D) densities."""
    return 0.5 * (model.halves[0].mean + model.halves[1].mean)


def everyone_map(images, model, half):
    """The map of all images' residuals of one half-set, density units."""
    near = neighbourhoods(np.zeros(model.latents.zdim), model.latents.coordinates, model.latents.precision)
    sums = ring_sums(images, model, half, [near], Pass(MemoryContext()), with_everyone=True)
    return residual_map(completed(sums.everyone, 1)).numpy() * images.scale


def make(folder, states, *, n_images, snr, box=32, seed=0, n_states=8):
    """Simulate and fit: means of the half-sets by back-projection, true components, true latents made noisy."""
    options = SimulationOptions(n_images=n_images, box=box, pixel_size_angstrom=256 / box, snr=snr, seed=seed)
    return fitted(TruthSet.simulated(folder, BUILT_IN[states](n_states), options), seed)


def fitted(truth, seed=0):
    """What a run would find of a set with known truth."""
    box = truth.particles.box
    images, labels, volumes = truth.images(), truth.labels, truth.volumes
    spread = (volumes - volumes[labels].mean(0)).reshape(len(volumes), -1)
    axis = np.linalg.svd(spread[np.unique(labels)], full_matrices=False)[2][:1] if len(volumes) > 1 else spread[:1] + 1
    axis = axis / np.linalg.norm(axis)
    state_latents = spread @ axis.T
    sigma = LATENT_NOISE * max(float(state_latents[labels].std()), 1e-3)
    noisy = state_latents[labels] + np.random.default_rng(seed).normal(0, sigma, (len(labels), 1))
    spectrum = truth.noise[: box // 2] / images.scale**2
    nothing = LinearModel(np.zeros((box,) * 3, np.float32), np.zeros((1, box, box, box), np.float32), 1.0)
    blank = HalfSetModels(
        (nothing, nothing),
        Latents(
            noisy.astype(np.float32),
            np.full((len(labels), 1, 1), 1 / sigma**2, np.float32),
            truth.contrasts.astype(np.float32),
        ),
        Noise(spectrum, np.ones(images.groups)),
        np.ones((box,) * 3, np.float32),
    )
    means = np.stack([everyone_map(images, blank, half) for half in (0, 1)])
    masks = solvent_mask("from_halfmaps", means[0], means[1], truth.particles.pixel_size_angstrom)
    component = axis.reshape(1, box, box, box).astype(np.float32)
    first, second = (LinearModel(mean * masks.dilated_mask, component, 1.0) for mean in means)
    model = replace(blank, halves=(first, second), mask=masks.dilated_mask)
    return Simulated(images, model, volumes, state_latents, labels, masks.mask)


@pytest.fixture(scope="session")
def moving(tmp_path_factory):
    """An arm that swings, bright images: 1,000 of 32 pixels."""
    torch.set_num_threads(1)
    return make(tmp_path_factory.mktemp("moving") / "set", "curved", n_images=1000, snr=0.5)


@pytest.fixture(scope="session")
def rigid(tmp_path_factory):
    """One rigid particle: 1,000 images of 32 pixels."""
    return make(tmp_path_factory.mktemp("rigid") / "set", "homogeneous", n_images=1000, snr=0.5)


@pytest.fixture(scope="session")
def without_components():
    """`without_components(simulated)`: the same set with a linear model that knows the mean alone."""

    def without(simulated):
        first, second = (replace(h, components=np.zeros_like(h.components)) for h in simulated.model.halves)
        return replace(simulated, model=replace(simulated.model, halves=(first, second)))

    return without


@dataclass(frozen=True)
class Finished:
    """An OUT as reconstruction leaves it, with two rows excluded, and the simulated set it was made of."""

    tree: Tree
    simulated: Simulated
    excluded: np.ndarray


@pytest.fixture(scope="session")
def smaller(tmp_path_factory):
    """`Finished` of 500 images of 48 pixels that the run made smaller, to 24; truth (2, 48, 48, 48) densities."""
    folder = tmp_path_factory.mktemp("smaller")
    options = SimulationOptions(
        n_images=500, box=BOX, pixel_size_angstrom=4.0, snr=1.0, seed=4, atom_sigma_angstrom=2.0
    )
    truth = TruthSet.simulated(folder / "set", BUILT_IN["presence"](2), options)
    tree, ratio = Tree(folder / "out"), SMALL / BOX
    request = Request(out=tree.out, ingest=IngestOptions(particles=folder / "set" / "particles.star", downsample=SMALL))
    record.write_request(tree, job_id="job", command="run", command_line="covaria run", stages=STAGES, request=request)
    ingest(Job("job", request), MemoryContext())
    seen = replace(
        truth,
        particles=load(tree.particles),
        volumes=np.stack([resample_volume(volume, SMALL) for volume in truth.volumes]) / ratio,
        noise=truth.noise[: SMALL // 2] * ratio**4,
    )
    simulated = fitted(seen)
    write_run(tree, simulated, np.zeros(0, int), seen.particles.half_set)
    return Finished(tree, replace(simulated, volumes=truth.volumes), np.zeros(0, int))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    simulated = make(folder / "set", "curved", n_images=400, snr=0.5, box=24)
    tree = Tree(folder / "out")
    particles = read_particles(IngestOptions(particles=folder / "set" / "particles.star"))
    excluded = np.array([3, 11])
    used = particles.used.copy()
    used[excluded] = False
    tree.particles.parent.mkdir(parents=True)
    save(tree.particles, replace(particles, used=used))
    write_run(tree, simulated, excluded, particles.half_set)
    return Finished(tree, simulated, excluded)


def write_run(tree, simulated, excluded, half_set):
    """model/ and output/volumes as reconstruction writes them, as far as states read them."""
    model, images = simulated.model, simulated.images
    tree.volumes.mkdir(parents=True)
    write_parameters(
        tree,
        some_parameters(
            images.box,
            voxel_size=images.pixel_size_angstrom,
            s=simulated.latents[simulated.labels].var(0),
            noise_var_used=model.noise.spectrum[:-1] * images.scale**2,
            noise_group_factor=model.noise.factor,
        ),
    )
    keep = np.setdiff1d(np.arange(len(half_set)), excluded)
    first, second = (keep[half_set[keep] == half] for half in (0, 1))
    write_half_sets(tree, (first, second))
    write_half_models(tree, model.halves)
    latents = model.latents.take(keep).in_input_order(keep, len(half_set))
    write_latents(tree, latents, latents)
    pixel = images.pixel_size_angstrom
    write_volume(tree.mask, simulated.mask, pixel)
    write_volume(tree.dilated_mask, model.mask, pixel)
    write_volume(tree.mean_filtered, mean_of(model), pixel)
    write_volume(tree.eigenvolume(0), model.halves[0].components[0], pixel)
