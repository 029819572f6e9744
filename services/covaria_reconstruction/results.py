"""Write model/ and output/ as documented: everything is made in a staging folder and appears by renames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from covaria.estimation.latents.embedding import Embedding, ImageRows
from covaria.estimation.linear_model import LinearModel
from covaria.estimation.mean.model import MeanModel
from covaria.estimation.refinement.rounds import Refined
from covaria.estimation.sensitivity.survey import Sensitivity
from covaria.figures.drawing import draw_all
from covaria.figures.reconstruction import ReconstructionFigures
from covaria.imaging.images import Images
from covaria.maps import local_filter, write_volume
from covaria.particles.model import Particles
from covaria.results.latents import write_latents
from covaria.results.model import write_half_models, write_half_sets
from covaria.results.parameters import Parameters, write_parameters
from covaria.results.particle_table import write_particle_table
from covaria.results.recovar import LAYOUT, metadata, noise_keys, variance_fsc, with_option_names
from covaria.results.sensitivity import write_sensitivity
from covaria.selection.refined import PosedSource
from covaria.stage import Job
from covaria.tree import Tree, atomic, record
from covaria.tree.versions import becomes
from covaria_reconstruction.components import Components
from covaria_reconstruction.particles import particle_table_of
from covaria_reconstruction.parts import NO_PARTS, motion_by_part, write_motion
from covaria_reconstruction.poses import write_refined

VARIANCES = (4, 10, 20)
"""For which k a variance<k>.mrc is written."""


def write_results(
    tree: Tree,
    job: Job,
    particles: Particles,
    images: Images,
    mean: MeanModel,
    components: Components | None,
    embeddings: dict[int, Embedding] | None,
    rows: ImageRows | None,
    refined: Refined | None = None,
    source: PosedSource | None = None,
    seen: Sensitivity | None = None,
    parts: Mapping[str, np.ndarray] = NO_PARTS,
) -> None:
    """Publish OUT/output and then OUT/model (whose params.pkl completes the stage)."""
    with tree.staging("reconstruction") as folder:
        staged = Tree(folder)
        for path in (staged.volumes, staged.plots, staged.model):
            path.mkdir(parents=True)
        _write_maps(staged, images, mean, components)
        for number, part in enumerate(parts.values()):
            write_volume(staged.focus_part(number), part, images.pixel_size_angstrom)
        if parts and components is not None:
            write_motion(staged.motion_by_part, motion_by_part(components, parts), int(components.confirmed))
        _write_model(staged, job, particles, images, mean, components, embeddings, rows, refined)
        if seen is not None:
            write_sensitivity(staged, seen)
        if refined is not None and source is not None and refined.rounds:
            write_refined(source, job, particles, images, refined, staged.refined)
        draw_all(ReconstructionFigures(staged, tree.particles).drawings(staged))
        tree.publish(staged.output, tree.output)
        tree.publish(staged.model, tree.model)


def _write_maps(staged: Tree, images: Images, mean: MeanModel, components: Components | None) -> None:
    pixel = images.pixel_size_angstrom
    halves = mean.halves * images.scale
    write_volume(staged.mean, halves.mean(0), pixel)
    filtered, local_resolution = local_filter(halves[0], halves[1], mean.mask, pixel)
    write_volume(staged.mean_filtered, filtered, pixel)
    write_volume(staged.mean_local_resolution, local_resolution, pixel)
    for half in (1, 2):
        write_volume(staged.mean_half(half), halves[half - 1], pixel)
    write_volume(staged.mask, mean.mask, pixel)
    write_volume(staged.dilated_mask, mean.dilated_mask, pixel)
    write_volume(staged.focus_mask, mean.component_mask * (1 if mean.weights is None else mean.weights), pixel)
    if components is None:
        return
    for k, volume in enumerate(components.eigenvolumes):
        write_volume(staged.eigenvolume(k), volume, pixel)
    for k in VARIANCES:
        write_volume(staged.variance(k), variance_map(components, k), pixel)


def variance_map(components: Components, k: int) -> np.ndarray:
    """sum over the first k components, or all where there are fewer, of s u^2, (D, D, D)."""
    weights = components.eigenvalues[:k]
    result: np.ndarray = np.einsum("k,kzyx->zyx", weights, components.eigenvolumes[:k].astype(np.float64) ** 2).astype(
        np.float32
    )
    return result


def _write_model(
    staged: Tree,
    job: Job,
    particles: Particles,
    images: Images,
    mean: MeanModel,
    components: Components | None,
    embeddings: dict[int, Embedding] | None,
    rows: ImageRows | None,
    refined: Refined | None,
) -> None:
    write_parameters(staged, parameters_of(job, images, mean, components), recovar_keys(images, mean, components))
    first, second = (images.rows[images.half == half] for half in (0, 1))
    write_half_sets(staged, (first, second))
    write_particle_table(staged, particle_table_of(len(particles), images, mean, components, embeddings, rows, refined))
    means = mean.regularised_halves * mean.dilated_mask * images.scale
    none = np.zeros((0, *means.shape[1:]), np.float32)
    own = (none, none) if components is None else (components.half1, components.half2)
    write_half_models(staged, (LinearModel(means[0], own[0], 1.0), LinearModel(means[1], own[1], 1.0)))
    for found in (embeddings or {}).values():
        leads = images.leads  # a particle's results stand at its first image
        both = (one.take(leads) for one in (found.regularised, found.unregularised))
        write_latents(staged, *(one.in_input_order(images.rows[leads], len(particles)) for one in both))
    request = _as_recorded(job)
    pixel = float(images.pixel_size_angstrom)
    atomic.write_json(staged.metadata, metadata(staged, request, images.box, pixel, record.now()))


def _as_recorded(job: Job) -> dict[str, Any]:
    """The request, of results that will lie elsewhere with that place."""
    request = job.request
    ingest = request.ingest.model_copy(update={"grown_from": None})
    return request.model_copy(update={"out": becomes(request.out), "ingest": ingest}).model_dump(mode="json")


def recovar_keys(images: Images, mean: MeanModel, components: Components | None) -> dict[str, Any]:
    """What params.pkl holds for scripts that were written for RECOVAR."""
    pixels = np.bincount(images.plane.shell, minlength=images.box // 2)[: images.box // 2]
    power = images.scale**2
    keys = noise_keys(mean.noise_outside * power, mean.noise_bound * power, mean.image_power * power, pixels)
    if components is not None:
        keys["variance_fsc"] = variance_fsc(components.eigenvalues, components.half1, components.half2)
    return {"version": LAYOUT, **keys}


def parameters_of(job: Job, images: Images, mean: MeanModel, components: Components | None) -> Parameters:
    """What params.pkl says of a reconstruction."""
    box = images.box
    return Parameters(
        volume_shape=(box, box, box),
        voxel_size=float(images.pixel_size_angstrom),
        s=np.zeros(0) if components is None else components.eigenvalues.astype(np.float64),
        noise_var_used=mean.spectrum[: box // 2 - 1] * images.scale**2,
        noise_group_factor=mean.group_factor,
        data_sign=int(images.sign),
        uninvert_data="true" if images.sign > 0 else "false",
        mean_fsc=mean.fsc,
        mean_fsc_unmasked=mean.fsc_unmasked,
        component_fsc=np.zeros((0, box // 2)) if components is None else components.fsc,
        significant_components=0 if components is None else int(components.confirmed),
        component_z_score=np.zeros(0) if components is None else components.z_score,
        contrast_sd=float(mean.contrast_sd),
        image_scale=float(images.scale),
        input_args=with_option_names(_as_recorded(job)),
    )
