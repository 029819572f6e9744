"""Finished runs without the run: a real ingest, then books, coordinates, clusters and a table that are made up."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile

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


def written_as(dataset: Path, folder: Path, name: str) -> Path:
    """The set's STAR file as other programs write it, beside its stack."""
    folder.mkdir(exist_ok=True)
    tables = starfile.read(dataset / "particles.star")
    optics, particles = tables["optics"], tables["particles"]
    if name == "stacks":
        half = len(particles) // 2
        for number in (1, 2):
            shutil.copyfile(dataset / "particles.mrcs", folder / f"stack{number}.mrcs")
        particles["rlnImageName"] = [f"{row + 1:06d}@stack{1 + (row >= half)}.mrcs" for row in range(len(particles))]
    else:
        shutil.copyfile(dataset / "particles.mrcs", folder / "particles.mrcs")
    path = folder / f"{name}.star"
    if name.startswith("native"):
        path.write_text(as_cistem(optics, particles, names_stack=name == "native"))
        if name == "native_beside":  # cisTEM's commands are told the stack apart from the file
            (folder / "particles.mrcs").rename(path.with_suffix(".mrc"))
        return path
    if name == "scipion31":
        path.write_text(as_scipion(optics, particles))
        return path
    if name in ("stacks", "expanded"):
        copies = 2 if name == "expanded" else 1  # relion_particle_symmetry_expand repeats rows with other angles
        table = particles.loc[particles.index.repeat(copies)].reset_index(drop=True)
        if copies == 2:
            table.loc[1::2, "rlnAngleRot"] += 180
        starfile.write({"optics": optics, "particles": table}, path)
        return path
    row = optics.iloc[0]
    table = particles.drop(columns=["rlnOpticsGroup", "rlnOriginXAngst", "rlnOriginYAngst"])
    for axis in "XY":
        table[f"rlnOrigin{axis}"] = particles[f"rlnOrigin{axis}Angst"] / row["rlnImagePixelSize"]
    for label in ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"):
        table[label] = row[label]
    table["rlnDetectorPixelSize"], table["rlnMagnification"] = 1e-4 * row["rlnImagePixelSize"] * 1e4, 1e4
    lines = [f"_{label} #{k}" for k, label in enumerate(table.columns, 1)]
    rows = ["\t".join(map(str, values)) for values in table.itertuples(index=False)]
    if name == "cistem":  # comment first, one block without a name, values in wide columns
        rows = ["   ".join(f"{value!s:>14}" for value in values) for values in table.itertuples(index=False)]
        lines = ["# Written by cisTEM", "", "data_", "", "loop_", *lines, "#  IMAGE  ANGLES", *rows, ""]
    else:  # Scipion: its own columns, quoted texts
        table["rlnImageId"], table["sciComment"] = np.arange(len(table)), "'picked twice'"
        lines = [f"_{label} #{k}" for k, label in enumerate(table.columns, 1)]
        rows = [" ".join(map(str, values)) for values in table.itertuples(index=False)]
        lines = ["# version 30001", "data_particles", "loop_", *lines, *rows, ""]
    path.write_text("\n".join(lines))
    return path


def as_cistem(optics: pd.DataFrame, particles: pd.DataFrame, *, names_stack: bool) -> str:
    """cisTEM's own columns, in its widths: radians for the phase shift, minus the origin for the shift."""
    row = optics.iloc[0]
    shift = -particles[["rlnOriginXAngst", "rlnOriginYAngst"]].to_numpy()
    columns: list[tuple[str, str, object]] = [
        ("PositionInStack", "%8d", particles["rlnImageName"].str.partition("@")[0].astype(int)),
        ("AnglePsi", "%12.6f", particles["rlnAnglePsi"]), ("AngleTheta", "%12.6f", particles["rlnAngleTilt"]),
        ("AnglePhi", "%12.6f", particles["rlnAngleRot"]), ("XShift", "%12.6f", shift[:, 0]),
        ("YShift", "%12.6f", shift[:, 1]), ("Defocus1", "%12.3f", particles["rlnDefocusU"]),
        ("Defocus2", "%12.3f", particles["rlnDefocusV"]), ("DefocusAngle", "%12.6f", particles["rlnDefocusAngle"]),
        ("PhaseShift", "%12.6f", 0.25), ("ImageActivity", "%5d", 1), ("Occupancy", "%7.2f", 100), ("LogP", "%9d", -500),
        ("Sigma", "%10.4f", 1), ("Score", "%7.2f", np.arange(len(particles)) / 2), ("ScoreChange", "%7.2f", 0),
        ("PixelSize", "%8.5f", row["rlnImagePixelSize"]), ("MicroscopeVoltagekV", "%7.2f", row["rlnVoltage"]),
        ("MicroscopeCsMM", "%7.2f", row["rlnSphericalAberration"]),
        ("AmplitudeContrast", "%7.4f", row["rlnAmplitudeContrast"]), ("BeamTiltX", "%7.3f", 0),
        ("BeamTiltY", "%7.3f", 0), ("ImageShiftX", "%7.3f", 0), ("ImageShiftY", "%7.3f", 0), ("Best2DClass", "%5d", 2),
    ]  # fmt: skip
    if names_stack:
        columns.append(("StackFilename", "%50s", "'particles.mrcs'"))
        columns.append(("OriginalImageFilename", "%50s", "'" + particles["rlnMicrographName"] + "'"))
    spread = [np.broadcast_to(np.asarray(values), len(particles)).tolist() for _, _, values in columns]
    rows = [
        " ".join(form % value for (_, form, _), value in zip(columns, values, strict=True)) + " "
        for values in zip(*spread, strict=True)
    ]
    labels = [f"_cisTEM{label} #{number}" for number, (label, _, _) in enumerate(columns, 1)]
    heading = ["# Written by cisTEM Version 2.0", " ", "data_", " ", "loop_", *labels, "#    POS      PSI    THETA"]
    return "\n".join([*heading, *rows, ""])


def as_scipion(optics: pd.DataFrame, particles: pd.DataFrame) -> str:
    """Optics groups and particles with Scipion's own numbers and texts among RELION's columns."""
    table = particles.assign(rlnImageId=np.arange(len(particles)) + 1, sciComment="'picked twice'")
    text = ["# Star file generated with Scipion", "# version 30001", ""]
    for block, frame in (("optics", optics), ("particles", table)):
        text += [f"data_{block}", "", "loop_", *(f"_{label} #{number}" for number, label in enumerate(frame, 1))]
        text += ["  ".join(map(str, values)) for values in frame.itertuples(index=False)] + ["", ""]
    return "\n".join(text)


@pytest.fixture(scope="session", name="dialect")
def dialect_fixture(dataset: Path) -> Callable[[Path, str], Path]:
    """`dialect(folder, name)`: the set as another program writes it."""
    return partial(written_as, dataset)
