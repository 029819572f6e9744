"""A run whose latent coordinates came from elsewhere: its own mean, half-sets and noise, their components found anew.

The folder that is made is an output directory like any other: density, analyze, state, trajectory, subset work on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile

import numpy as np

from covaria.errors import InvalidInput
from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.linear_model import LinearModel
from covaria.estimation.states.given import Given, judge, regression_bytes
from covaria.figures.drawing import draw_all
from covaria.figures.reconstruction import ReconstructionFigures
from covaria.findings import Component, Findings
from covaria.imaging.images import Images, read_images
from covaria.maps import read_volume, resolution_at, write_volume
from covaria.particles import Particles, load, save
from covaria.request.identity import job_identity
from covaria.request.model import Request
from covaria.results.external import in_rows, read_external
from covaria.results.latents import write_latents
from covaria.results.model import read_half_means, read_half_sets, write_half_models, write_half_sets
from covaria.results.parameters import Parameters, read_parameters, write_parameters
from covaria.results.particle_table import ParticleTable, noise_of_images, read_particle_table, write_particle_table
from covaria.running.passes import Pass
from covaria.stage import Context
from covaria.tree import Tree, atomic, record
from covaria.tree.integrity import sums_of_stage
from covaria.tree.sums import describe_file

OWN_STAGES = ("ingest", "reconstruction")


@dataclass(frozen=True)
class Source:
    """What OUT holds, without its own coordinates; values (N, d) the given ones, NaN in rows that are not used."""

    tree: Tree
    parameters: Parameters
    particles: Particles
    half_set: np.ndarray
    table: ParticleTable
    values: np.ndarray
    columns: tuple[str, ...]
    file: Path


def read_source(tree: Tree, file: Path) -> Source:
    """Raises MissingFile, InvalidInput: OUT has no mean map, the latents are not those of its particles."""
    parameters, particles = read_parameters(tree), load(tree.particles)
    half_set = read_half_sets(tree, len(particles))
    table = read_particle_table(tree, len(particles))
    used = particles.used & (half_set >= 0) & np.isfinite(table.columns["contrast"])
    found = read_external(file)
    values = in_rows(found, used, file, particles.source)
    return Source(tree, parameters, particles, half_set, table, values, found.columns, file)


def make_run(source: Source, target: Tree, context: Context) -> Given:
    """Write model/, output/ and the particles of the new run into the empty folder `target`."""
    given, images = _judged(source, context)
    for folder in (target.state, target.model, target.volumes, target.plots):
        folder.mkdir(parents=True)
    save(target.particles, source.particles)
    _write_model(source, given, images, target)
    _write_maps(source, given, target)
    return given


def draw(target: Tree) -> None:
    """The figures of output/plots."""
    draw_all(ReconstructionFigures(target, target.particles).drawings(target))


def write_books(source: Source, given: Given, made: Tree, request: Request, command_line: str) -> None:
    """The books of the new run in `made`: ingest and reconstruction are done, density and analysis are to follow."""
    record.write_request(
        made, job_id=job_identity(request), command="external", command_line=command_line, stages=OWN_STAGES,
        request=request,
    )  # fmt: skip
    for stage in OWN_STAGES:
        now = record.now()
        state = {"stage": stage, "status": "succeeded", "started_at": now, "finished_at": now}
        record.write_stage_state(made, stage, state | {"files": sums_of_stage(made, stage, None)})
    record.write_findings(made, "reconstruction", findings_of(source, given))
    record.refresh(made)


def findings_of(source: Source, given: Given) -> Findings:
    """What the images say of the coordinates."""
    total = given.variance[: given.confirmed].sum()
    components = tuple(
        Component(z_score=float(score), share=float(variance / total))
        for score, variance in list(zip(given.z_score, given.variance, strict=True))[: given.confirmed]
    )
    rest = [source.columns[k] for k in given.order[given.confirmed :]]
    warnings = [f"coordinates come from {source.file.name}: tested is that they say something of the images"]
    if rest:
        warnings.append(f"the images do not confirm {', '.join(rest)}: clusters, paths and density are without")
    return Findings(
        particles=len(source.particles),
        used=int(np.isfinite(source.values).all(1).sum()),
        resolution_angstrom=resolution_at(source.parameters.mean_fsc, source.parameters.voxel_size),
        tested=len(given.order),
        components=components,
        warnings=tuple(warnings),
    )


def _judged(source: Source, context: Context) -> tuple[Given, Images]:
    tree, box, count = source.tree, source.particles.box, source.values.shape[1]
    needed = regression_bytes(box, count)
    if context.device == "cpu" and needed > context.memory_bytes:
        raise InvalidInput(
            f"{count} coordinates at {box} voxels need about {needed / 1e9:.1f} GB, "
            f"{context.memory_bytes / 1e9:.1f} are allowed",
            file=source.file, hint=f"--memory-gb {np.ceil(1.1 * needed / 1e9):g}, or give fewer coordinates",
        )  # fmt: skip
    used = np.isfinite(source.values).all(1)
    images = read_images(
        replace(source.particles, half_set=source.half_set, used=used), device=context.device,
        memory_bytes=context.memory_bytes,
        progress=lambda done, total: context.progress("reading images", done, total),
    ).signed(source.parameters.data_sign)  # fmt: skip
    noise = source.parameters.noise(images.scale, images.groups)
    mean = read_half_means(tree).mean(0) / np.float32(images.scale)
    problem = Problem(
        images, Pass(context), noise_of_images(tree, noise, images.rows, len(source.particles)), mean,
        read_volume(tree.focus_mask if tree.focus_mask.is_file() else tree.dilated_mask)[0],
        source.parameters.contrast_sd, images.half,
    )  # fmt: skip
    contrasts = np.asarray(source.table.columns["contrast"][images.rows], np.float32)
    given = judge(problem, source.values[images.rows], contrasts)
    context.log.info("z-scores %s: %d confirmed of %d", np.round(given.z_score, 1).tolist(), given.confirmed, count)
    return given, images


def _write_model(source: Source, given: Given, images: Images, target: Tree) -> None:
    total = len(source.particles)
    parameters = replace(
        source.parameters,
        s=given.variance,
        component_fsc=given.fsc,
        component_z_score=given.z_score,
        significant_components=given.confirmed,
    )
    write_parameters(target, parameters)
    first, second = (images.rows[images.half == half] for half in (0, 1))
    write_half_sets(target, (first, second))
    means = read_half_means(source.tree)
    models = [LinearModel(mean, own, 1.0) for mean, own in zip(means, given.halves, strict=True)]
    write_half_models(target, (models[0], models[1]))
    whole = given.latents.in_input_order(images.rows, total)
    write_latents(target, whole, whole)
    columns = {name: values for name, values in source.table.columns.items() if not name.startswith("latent_")}
    columns |= {f"latent_{k + 1}": whole.coordinates[:, k] for k in range(given.confirmed)}
    write_particle_table(target, ParticleTable(columns))
    about = {
        "file": describe_file(source.file),
        "columns": [source.columns[k] for k in given.order],
        "subtracted_mean": given.centre,
        "z_score": given.z_score,
        "confirmed": given.confirmed,
    }
    atomic.write_json(target.external, about)


def _write_maps(source: Source, given: Given, target: Tree) -> None:
    tree, pixel = source.tree, source.parameters.voxel_size
    for name in ("mean", "mean_filtered", "mean_local_resolution", "mask", "dilated_mask", "focus_mask"):
        if getattr(tree, name).is_file():
            copyfile(getattr(tree, name), getattr(target, name))
    for half in (1, 2):
        copyfile(tree.mean_half(half), target.mean_half(half))
    volumes = given.halves.mean(0)
    for k, volume in enumerate(volumes):
        write_volume(target.eigenvolume(k), volume, pixel)
    for k in (4, 10, 20):
        variance = np.einsum("k,kzyx->zyx", given.variance[:k], volumes[:k].astype(np.float64) ** 2)
        write_volume(target.variance(k), variance, pixel)
