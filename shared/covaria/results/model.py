"""model/halfsets.pkl and model/half_components.npz: the half-sets and each one's own volumes."""

from __future__ import annotations

import numpy as np

from covaria.errors import InvalidInput, MissingFile
from covaria.estimation.linear_model import LinearModel
from covaria.pickles import load_pickle
from covaria.results.latents import RECONSTRUCT_AGAIN, RECONSTRUCT_FIRST
from covaria.tree import Tree, atomic


def write_half_sets(tree: Tree, half_sets: tuple[np.ndarray, np.ndarray]) -> None:
    """The original rows of each half-set's used images; a particle has one image, so the particles' are the same."""
    for path in (tree.halfsets, tree.particle_halfsets):
        atomic.write_pickle(path, [rows.astype(np.int64) for rows in half_sets])


def read_half_sets(tree: Tree, total: int) -> np.ndarray:
    """Each row's half-set, 0 or 1, and -1 where it is in none: (total,) int8. Raises MissingFile and InvalidInput."""
    stored = load_pickle(tree.halfsets, hint=RECONSTRUCT_FIRST)
    half_set = np.full(total, -1, np.int8)
    if not isinstance(stored, (list, tuple)) or len(stored) != 2:
        raise InvalidInput("does not hold two half-sets", file=tree.halfsets, hint=RECONSTRUCT_AGAIN)
    for half, rows in enumerate(map(np.asarray, stored)):
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or (len(rows) and not 0 <= rows.min() <= rows.max() < total):
            raise InvalidInput(
                f"half-set {half + 1} does not hold rows of the {total} particles",
                file=tree.halfsets,
                hint=RECONSTRUCT_AGAIN,
            )
        half_set[rows] = half
    return half_set


def write_half_models(tree: Tree, halves: tuple[LinearModel, LinearModel]) -> None:
    """Each half-set's own regularised mean and eigenvolumes, densities; the second only where there are some."""
    arrays = {}
    for number, half in enumerate(halves, 1):
        densities = half.in_units_of(1.0)
        arrays[f"mean_half{number}"] = densities.mean.astype(np.float32)
        if half.count:
            arrays[f"components_half{number}"] = densities.components.astype(np.float32)
    atomic.save_npz(tree.half_components, arrays)


def read_half_means(tree: Tree) -> np.ndarray:
    """Each half-set's own regularised mean, (2, D, D, D) densities. Raises MissingFile and InvalidInput."""
    path = tree.half_components
    if not path.is_file():
        raise MissingFile("is not there", file=path, hint=RECONSTRUCT_FIRST)
    with np.load(path, allow_pickle=False) as stored:
        if not {"mean_half1", "mean_half2"} <= set(stored):
            raise InvalidInput("lacks the half-sets' means", file=path, hint=RECONSTRUCT_AGAIN)
        means: np.ndarray = np.stack([stored["mean_half1"], stored["mean_half2"]])
    return means


def read_half_models(tree: Tree, zdim: int, box: int) -> tuple[LinearModel, LinearModel]:
    """The first `zdim` components of each half-set and its mean, densities. Raises MissingFile and InvalidInput."""
    path = tree.half_components
    if not path.is_file():
        raise MissingFile("is not there", file=path, hint=RECONSTRUCT_FIRST)
    with np.load(path, allow_pickle=False) as stored:
        missing = {f"{kind}_half{h}" for kind in ("mean", "components") for h in (1, 2)} - set(stored)
        if missing:
            hint = "`covaria reconstruct` without --only-mean"
            raise InvalidInput(f"lacks {', '.join(sorted(missing))}", file=path, hint=hint)
        found = [(stored[f"mean_half{h}"], stored[f"components_half{h}"][:zdim]) for h in (1, 2)]
    for mean, components in found:
        if mean.shape != (box,) * 3 or components.shape != (zdim, *(box,) * 3):
            raise InvalidInput(
                f"holds a mean {mean.shape} and components {components.shape} for images of {box} pixels",
                file=path,
                hint=RECONSTRUCT_FIRST,
            )
    first, second = (LinearModel(m.astype(np.float32), c.astype(np.float32), 1.0) for m, c in found)
    return first, second
