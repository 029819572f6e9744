"""report.html of a million particles: the moving part and one figure, below 15 MB, in a time that a person waits."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from covaria_pages import write_run

from covaria.explorer.embedded import embedded
from covaria.explorer.run_files import RunFiles
from covaria.simulation.dataset import SimulationOptions
from covaria.simulation.ensemble import BUILT_IN
from covaria.testing import TruthSet
from covaria.tree import AnalysisTree, record

pytestmark = pytest.mark.slow
COUNT, MOST_S = 1_000_000, 120.0
BY_ROW = ("rotations", "translations", "optics_group", "half_set", "micrograph", "used")


def repeated(truth: TruthSet, rows: np.ndarray) -> TruthSet:
    """The same images again and again."""
    particles: Any = truth.particles
    images = replace(particles.images, file=particles.images.file[rows], index=particles.images.index[rows])
    values = {name: getattr(particles, name)[rows] for name in BY_ROW}
    particles = replace(particles, ctf=particles.ctf.take(rows), images=images, **values)
    return replace(truth, particles=particles, labels=truth.labels[rows], contrasts=truth.contrasts[rows])


def test_it_is_made_and_stays_small(tmp_path: Path, record_property: Any) -> None:
    options = SimulationOptions(n_images=300, box=32, pixel_size_angstrom=8.0, snr=1.0, seed=2)
    truth = TruthSet.simulated(tmp_path / "set", BUILT_IN["plane"](9), options)
    tree = write_run(tmp_path / "out", repeated(truth, np.arange(COUNT) % 300))
    began = time.process_time()
    run, analysis = RunFiles(tree.out), AnalysisTree(tree.analysis(3))
    for drawing in (*embedded(run.figures, run.request.ingest, analysis), *run.figures.drawings(analysis)):
        if drawing.target in (analysis.explore, analysis.pca_plot(0)):
            drawing.make()
    record.refresh(tree)
    seconds, size = time.process_time() - began, tree.report.stat().st_size
    record_property("cpu_seconds", seconds)
    record_property("bytes", size)
    assert size < 15e6 and seconds < MOST_S
    assert "1,000,000" in tree.report.read_text()
