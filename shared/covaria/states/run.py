"""A finished reconstruction, read back as the frozen model that states need."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput, MissingFile
from covaria.estimation.states.model import LinearModel
from covaria.imaging.images import Images, read_images
from covaria.imaging.noise import Noise
from covaria.maps.volume import read_volume
from covaria.particles import load
from covaria.pickles import load_pickle
from covaria.stage import Context
from covaria.tree import Tree

RUN_FIRST = "run `covaria reconstruct` first"


@dataclass(frozen=True)
class Run:
    """The images and the linear model of OUT at one zdim.

    total      rows of the input file
    confirmed  how many of the coordinates say where an image lies; the others are noise
    """

    images: Images
    model: LinearModel
    total: int
    confirmed: int


def _require(path: Path) -> None:
    if not path.is_file():
        raise MissingFile("is not there", file=path, hint=RUN_FIRST)


def checked_targets(tree: Tree, zdim: int, targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """Latent points as (T, zdim) float64. Raises InvalidInput for a zdim that OUT lacks, another width, or NaN."""
    stored = tree.zdims()
    if zdim not in stored:
        words = ", ".join(map(str, stored)) or "none"
        raise InvalidInput(
            f"zdim {zdim} was not computed; stored: {words}", file=tree.model, hint="choose one of them with --zdim"
        )
    points = np.asarray(targets, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != zdim or len(points) == 0:
        raise InvalidInput(
            f"latent points of shape {points.shape}; (T, {zdim}) is needed", hint="one point a row, zdim numbers each"
        )
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise InvalidInput(f"latent point {bad[0] + 1} holds a value that is not a finite number", row=int(bad[0]) + 1)
    return points


def load_run(tree: Tree, zdim: int, context: Context) -> Run:
    """Read OUT's particles, model and latents at `zdim`. Images with no latent (excluded) are left out.

    Raises MissingFile and InvalidInput where OUT is not a finished reconstruction.
    """
    _require(tree.particles)
    params = load_pickle(tree.params, hint=RUN_FIRST)
    halves = load_pickle(tree.halfsets, hint=RUN_FIRST)
    latents, precision, contrasts = (
        _array(path) for path in (tree.latent_coords(zdim), tree.latent_precision(zdim), tree.contrasts(zdim))
    )
    particles = load(tree.particles)
    if len(latents) != len(particles):
        raise InvalidInput(
            f"holds {len(latents)} rows, the particles {len(particles)}", file=tree.latent_coords(zdim), hint=RUN_FIRST
        )
    half_set = np.full(len(particles), -1, np.int8)
    for half in (0, 1):
        half_set[np.asarray(halves[half])] = half
    used = particles.used & (half_set >= 0) & np.isfinite(latents).all(1) & np.isfinite(contrasts)
    images = read_images(
        replace(particles, half_set=half_set, used=used),
        device=context.device,
        memory_bytes=context.memory_bytes,
        rank=context.ranks.rank,
        ranks=context.ranks.size,
        progress=lambda done, total: context.progress("reading images", done, total),
    ).signed(params["data_sign"])
    means, components = _half_volumes(tree, zdim, images.box)
    model = LinearModel(
        means,
        components,
        latents[images.rows],
        precision[images.rows],
        contrasts[images.rows],
        _noise(params, images),
        read_volume(tree.dilated_mask)[0],
    )
    return Run(images, model, len(particles), min(zdim, int(params.get("significant_components", zdim))))


def latent_coordinates(tree: Tree, zdim: int) -> NDArray[np.float32]:
    """(N, zdim) in the input file's row order, NaN where excluded. Raises MissingFile."""
    return _array(tree.latent_coords(zdim))


def _array(path: Path) -> NDArray[np.float32]:
    _require(path)
    result: NDArray[np.float32] = np.load(path, allow_pickle=False).astype(np.float32)
    return result


def _half_volumes(tree: Tree, zdim: int, box: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(2, D, D, D) means and (2, zdim, D, D, D) components of the two half-sets."""
    _require(tree.half_components)
    with np.load(tree.half_components, allow_pickle=False) as stored:
        missing = {f"{kind}_half{h}" for kind in ("mean", "components") for h in (1, 2)} - set(stored)
        if missing:
            raise InvalidInput(
                f"lacks {', '.join(sorted(missing))}",
                file=tree.half_components,
                hint="`covaria reconstruct` without --only-mean",
            )
        means = np.stack([stored[f"mean_half{h}"] for h in (1, 2)])
        components = np.stack([stored[f"components_half{h}"][:zdim] for h in (1, 2)])
    if means.shape[1:] != (box,) * 3 or components.shape[1:] != (zdim, *(box,) * 3):
        raise InvalidInput(
            f"holds means {means.shape} and components {components.shape} for images of {box} pixels",
            file=tree.half_components,
            hint=RUN_FIRST,
        )
    return means.astype(np.float32), components.astype(np.float32)


def _noise(params: dict[str, Any], images: Images) -> Noise:
    spectrum = np.asarray(params["noise_var_used"], np.float64) / images.scale**2
    factor = np.asarray(params.get("noise_group_factor", np.ones(images.groups)), np.float64)
    return Noise(spectrum, np.resize(factor, max(images.groups, len(factor))))
