"""What is written for each state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria import __version__
from covaria.estimation.states.assemble import State
from covaria.estimation.states.neighbourhoods import Neighbourhoods
from covaria.maps.correlation import fsc, resolution_at
from covaria.maps.sharpening import apply_b_factor
from covaria.maps.volume import write_volume
from covaria.states.run import Run
from covaria.tree import atomic

SCHEMA_VERSION = 1


def write_state(
    directory: Path,
    name: str,
    state: State,
    target: NDArray[np.float64],
    neighbours: Neighbourhoods,
    run: Run,
    b_factor: float,
) -> Path:
    """Write <name>.mrc, its half-maps and average, and diagnostics/<name>/; returns the filtered volume's path."""
    pixel = run.images.pixel_size_angstrom
    diagnostics = directory / "diagnostics" / name
    diagnostics.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.mrc"
    for half in (1, 2):
        write_volume(directory / f"{name}_half{half}_unfil.mrc", state.halves[half - 1], pixel)
    write_volume(directory / f"{name}_unfil.mrc", state.halves.mean(axis=0), pixel)
    write_volume(diagnostics / "local_resolution.mrc", state.local_resolution, pixel)
    np.savetxt(diagnostics / "latent_coords.txt", target[None])
    distances = np.full(run.total, np.nan)
    distances[run.images.rows] = neighbours.distance
    np.savetxt(diagnostics / "heterogeneity_distances.txt", distances, fmt="%.6g")
    atomic.save_npy(diagnostics / "chosen_bandwidth.npy", state.choice.strongest(run.images.box))
    atomic.write_json(diagnostics / "params.json", _parameters(state, target, neighbours, run, b_factor))
    write_volume(path, apply_b_factor(state.filtered, b_factor, pixel), pixel)
    return path


def _parameters(
    state: State, target: NDArray[np.float64], neighbours: Neighbourhoods, run: Run, b_factor: float
) -> dict[str, object]:
    curve = fsc(state.halves[0], state.halves[1], run.model.mask)
    pixel = run.images.pixel_size_angstrom
    images = [0, *neighbours.sizes.tolist(), len(neighbours.distance)]
    edges: list[float | None] = [None, *neighbours.edges.tolist(), float(neighbours.distance.max())]
    return {
        "schema_version": SCHEMA_VERSION,
        "covaria_version": __version__,
        "zdim": len(target),
        "latent_coords": target.tolist(),
        "b_factor": b_factor,
        "pixel_size_angstrom": pixel,
        "candidates": [
            {"number": k, "images": n, "largest_distance": d, "share_in_mask": float(share)}
            for k, (n, d, share) in enumerate(zip(images, edges, state.choice.shares.mean(0).tolist(), strict=True))
        ],
        "candidate_0": "the linear model alone, mean + components x latent",
        "shares_by_band": state.choice.shares.tolist(),
        "chosen_bandwidth_axes": ["band", "z", "y", "x"],
        "half_map_resolution_angstrom": {
            "fsc_0.5": resolution_at(curve, pixel, 0.5),
            "fsc_1/7": resolution_at(curve, pixel),
        },
    }
