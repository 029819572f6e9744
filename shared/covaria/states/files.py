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
from covaria.states.subvolumes import choice_by_shell, subvolumes
from covaria.tree import VolumeFiles, atomic

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
    files = VolumeFiles(directory, name)
    files.diagnostics.mkdir(parents=True, exist_ok=True)
    for half in (1, 2):
        write_volume(files.half(half), state.halves[half - 1], pixel)
    write_volume(files.unfiltered, state.halves.mean(axis=0), pixel)
    write_volume(files.local_resolution, state.local_resolution, pixel)
    np.savetxt(files.latent_coords, target[None])
    distances = np.full(run.total, np.nan)
    distances[run.images.rows[run.images.leads]] = neighbours.distance
    np.savetxt(files.distances, distances, fmt="%.6g")
    atomic.save_npy(files.chosen_bandwidth, state.choice.strongest(run.images.box))
    atomic.write_json(files.params, _parameters(state, target, neighbours, run, b_factor))
    _write_by_subvolume(files, state, neighbours, run)
    write_volume(files.volume, apply_b_factor(state.filtered, b_factor, pixel), pixel)
    return files.volume


def _write_by_subvolume(files: VolumeFiles, state: State, neighbours: Neighbourhoods, run: Run) -> None:
    """The choice once more, as RECOVAR's diagnostics have it. Candidate 0 is the linear model alone."""
    box, pixel = run.images.box, run.images.pixel_size_angstrom
    parts = subvolumes(run.model.mask)
    chosen = choice_by_shell(state.choice.strongest(box), parts.places, box)
    values = {
        "heterogeneity_bins": np.array([np.nan, *neighbours.edges, neighbours.distance.max()]),
        "n_images_per_bin": np.array([0, *neighbours.sizes, len(neighbours.distance)]),
        "fscs": fsc(state.halves[0], state.halves[1], run.model.mask),
        "ml_choice": chosen,
        "voxel_size": float(pixel),
    }
    atomic.write_pickle(files.params_pkl, values)
    atomic.write_pickle(files.split_choice, {"split_choice": chosen})
    write_volume(files.sampling, parts.owner, pixel)


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
