"""What is said of a run: the words of `Findings`, its stages, its curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import CovariaError
from covaria.particles.model import Particles
from covaria.results.parameters import read_parameters
from covaria.tree import Tree, record
from covaria.tree.readme import next_commands, stage_rows

THRESHOLD = 4
AZIMUTHS, HEIGHTS = 36, 18


def summary(tree: Tree, document: Mapping[str, Any], particles: Particles | None) -> dict[str, Any]:
    """The first part of run.json; particles: where they are there."""
    findings = record.read_findings(tree)
    return {
        "name": tree.out.name,
        "status": document["status"],
        "error": document.get("error"),
        "headline": findings.headline(),
        "lines": findings.lines()[1:],
        "notes": document.get("notes", []),
        "particles": findings.particles,
        "used": findings.used,
        "set_aside": findings.set_aside,
        "resolution_angstrom": findings.resolution_angstrom,
        "tested": findings.tested,
        "threshold": THRESHOLD,
        "components": [one.model_dump() for one in findings.components],
        "command": document["command_line"],
        "source": document["parameters"]["ingest"]["particles"],
        "stages": stage_rows(document),
        "next": next_commands(document),
        "versions": {"covaria": document["covaria_version"], **document.get("environment", {})},
        "curves": _curves(tree),
        "views": None if particles is None else views(particles),
    }


def _curves(tree: Tree) -> dict[str, Any] | None:
    """FSC inside the mask and outside by 1/angstrom; the held-out z-score of each component that was tested."""
    if not tree.params.is_file():
        return None
    try:
        known = read_parameters(tree)
    except CovariaError:  # told where the components are read
        return None
    shells = np.arange(len(known.mean_fsc)) / (known.volume_shape[0] * known.voxel_size)
    return {
        "frequency": _finite(shells),
        "fsc": _finite(known.mean_fsc),
        "fsc_unmasked": _finite(known.mean_fsc_unmasked),
        "z_scores": _finite(known.component_z_score),
        "eigenvalues": _finite(known.s),
    }


def views(particles: Particles) -> list[list[int]]:
    """How many particles are seen from where: cosine of the tilt (18, from -1) x azimuth (36, from -180 degrees), bins
    of equal area."""
    x, y, z = particles.rotations[particles.used, 2].T
    column = ((np.arctan2(y, x) + np.pi) * (AZIMUTHS / (2 * np.pi))).astype(int).clip(0, AZIMUTHS - 1)
    row = ((z + 1) * (HEIGHTS / 2)).astype(int).clip(0, HEIGHTS - 1)
    counts = np.bincount(row * AZIMUTHS + column, minlength=HEIGHTS * AZIMUTHS)
    return [[int(value) for value in line] for line in counts.reshape(HEIGHTS, AZIMUTHS)]


def _finite(values: NDArray[Any]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in np.asarray(values, dtype=float)]
