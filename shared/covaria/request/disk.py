"""How much disk a stage's results take: said before a run, and asked for before the first byte is written."""

from __future__ import annotations

from covaria.request.model import Request
from covaria.request.stages import StageName

FLOAT = 4
MAPS_OF_A_VOLUME = 8
"""Filtered, unfiltered, two halves, local resolution, neighbourhoods, subvolumes and what was chosen in each."""
STEPS_OF_A_COMPONENT, MOST_COMPONENTS_SHOWN, MOST_VOXELS_SHOWN = 10, 6, 128
"""Maps along confirmed components: how many of each, of how many, voxels a side at most (covaria.figures.movies)."""
FIGURES_BYTES = 4 << 20
"""What a stage draws: each figure as PNG, SVG and CSV; of the analysis also the report."""
DISTANCE_TEXT = 25
"""Bytes of an image's line in heterogeneity_distances.txt."""
ROW_BYTES = 200
"""Of a particle in the books of ingest, in its STAR file, in that of its cluster and of its basin."""
DENSITY_BYTES = 10 << 20
COARSE_SIDE = 34
"""Of the cube on which half-sets are compared."""


def disk_bytes(stage: StageName, request: Request, *, total: int, box: int, downsampled: bool) -> int:
    """What `stage` leaves on disk: `total` rows of the input file, images of `box` pixels, made smaller or not."""
    volume, components = FLOAT * box**3, max(request.reconstruction.zdim)
    if stage == "ingest":
        return total * ((FLOAT * box**2 if downsampled else 0) + ROW_BYTES)
    if stage == "reconstruction":
        if request.reconstruction.only_mean:
            return 7 * volume + FIGURES_BYTES
        numbers = sum(2 * zdim + 2 * zdim**2 + 1 for zdim in request.reconstruction.zdim)
        kept = growth_bytes(components, box, total) if request.ingest.growing else 0
        return (10 + 3 * components) * volume + FLOAT * total * numbers + FIGURES_BYTES + kept
    if stage == "density":
        return DENSITY_BYTES
    shown = STEPS_OF_A_COMPONENT * min(request.analysis_zdim, MOST_COMPONENTS_SHOWN)
    series = shown * FLOAT * min(box, MOST_VOXELS_SHOWN) ** 3
    return volumes(request) * volume_bytes(box, total) + series + 2 * ROW_BYTES * total + 2 * FIGURES_BYTES


def growth_bytes(components: int, box: int, total: int) -> int:
    """What a set that grows keeps of its sums: on padded half grids (4 d^3 voxels) of two halves, those of three fits
    of all components at the coarse radius and one of the confirmed ones, and the mean's."""
    coarse = min(COARSE_SIDE, box)
    channels = 3 * (2 * components + 1) * coarse**3 + (2 * min(components, MOST_COMPONENTS_SHOWN) + 4) * box**3
    return 2 * 4 * FLOAT * channels + ROW_BYTES * total


def volume_bytes(box: int, total: int) -> int:
    """What one state volume and its diagnostics take."""
    return MAPS_OF_A_VOLUME * FLOAT * box**3 + DISTANCE_TEXT * total


def volumes(request: Request) -> int:
    """How many state volumes the analysis makes."""
    options = request.analysis
    return options.n_clusters + options.n_trajectories * options.n_vols_along_path
