"""Finished runs without the run: a real ingest, then books, coordinates, clusters and a table that are made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from covaria.estimation.latents.model import Latents
from covaria.particles import load
from covaria.request.model import IngestOptions, Request
from covaria.results.latents import write_latents
from covaria.results.model import write_half_sets
from covaria.results.particle_table import ParticleTable, write_particle_table
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN
from covaria.stage import Job
from covaria.testing import MemoryContext
from covaria.tree import AnalysisTree, Tree, record
from covaria.tree.artifacts import KMeansResult, write_kmeans
from covaria.tree.atomic import write_pickle
from covaria_ingest.stage import run

CLUSTERS, COUNT, BOX = 3, 60, 32


@pytest.fixture(scope="session", name="dataset")
def dataset_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selection") / "set"
    options = SimulationOptions(n_images=COUNT, box=BOX, pixel_size_angstrom=8.0, snr=1.0, seed=3)
    simulate(folder, BUILT_IN["homogeneous"](1), options)
    return folder


def finish(out: Path, ingest: IngestOptions) -> Tree:
    """OUT as a run of two confirmed components leaves it: clusters by index, z1 = index, contrast = 1 + index / N."""
    request = Request(out=out, ingest=ingest)
    tree = Tree(out)
    out.mkdir()
    record.write_request(
        tree, job_id="a", command="run", command_line="covaria run", stages=("ingest",), request=request
    )
    run(Job("a", request), MemoryContext())
    particles = load(tree.particles)
    count, rows = len(particles), particles.rows
    index = np.arange(count, dtype=float)
    coordinates = np.stack([index, np.zeros(count)], 1)[rows]
    found = Latents(coordinates, np.tile(np.eye(2), (len(rows), 1, 1)), 1 + index[rows] / count)
    latents = found.in_input_order(rows, count)
    write_latents(tree, latents, latents)
    write_pickle(tree.params, {"s": np.array([4.0, 1.0]), "significant_components": 2})
    half = particles.half_set
    write_half_sets(tree, (np.flatnonzero(half == 0), np.flatnonzero(half == 1)))
    columns = {name: (index % 10 / 10).astype(np.float32) for name in ("weight", "p_empty", "p_outlier", "noise_to_9")}
    write_particle_table(tree, ParticleTable({"half_set": half, **columns}))
    labels = np.where(particles.used, np.arange(count) % CLUSTERS, -1)
    analysis = AnalysisTree(tree.analysis(2))
    analysis.data.mkdir(parents=True)
    write_kmeans(analysis, KMeansResult(np.zeros((CLUSTERS, 2)), labels))
    return tree


@pytest.fixture(scope="session", name="finished")
def finished_fixture(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tree]:
    """`finished(particles, **options)`: a run of that file."""
    return lambda particles, **options: finish(
        tmp_path_factory.mktemp("run") / "out", IngestOptions(particles=particles, **options)
    )


@pytest.fixture(scope="session", name="plain")
def plain_fixture(finished: Callable[..., Tree], dataset: Path) -> Tree:
    return finished(dataset / "particles.star", downsample=None)
