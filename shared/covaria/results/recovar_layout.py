"""A finished run in the layout and units of RECOVAR 0.4.5, which Scipion's plugin 3.1 reads.

Its eigenvolumes have the sum of squares 1 / D^3, ours 1: z D^1.5, precision / D^3, eigenvalues D^3, u / D^1.5.
"""

from __future__ import annotations

from shutil import copyfile
from typing import Any

import numpy as np

from covaria.errors import InvalidInput
from covaria.maps.volume import read_volume, write_volume
from covaria.pickles import load_pickle
from covaria.results.latents import RECONSTRUCT_FIRST, read_latents, read_unregularised
from covaria.results.parameters import read_parameters
from covaria.tree import RecovarTree, Tree, atomic

VERSION = "0.4"


def export_recovar(tree: Tree, target: RecovarTree) -> None:
    """Write OUT's model and maps into `target`. Raises MissingFile, InvalidInput: OUT holds no latent coordinates."""
    zdims = tree.zdims()
    if not zdims:
        raise InvalidInput("holds no latent coordinates", file=tree.model, hint=RECONSTRUCT_FIRST)
    parameters = read_parameters(tree)
    box = parameters.volume_shape[0]
    target.params.parent.mkdir(parents=True)
    target.mean.parent.mkdir(parents=True)
    atomic.write_pickle(target.embeddings, embeddings(tree, zdims, box))
    stored = dict(load_pickle(tree.params, hint=RECONSTRUCT_FIRST))
    atomic.write_pickle(target.params, stored | {"version": VERSION, "s": parameters.s * float(box) ** 3})
    for source, copy in (
        (tree.halfsets, target.halfsets),
        (tree.halfsets, target.particle_halfsets),
        (tree.mean, target.mean),
        (tree.mean_filtered, target.mean_filtered),
        (tree.mean_half(1), target.mean_half(1)),
        (tree.mean_half(2), target.mean_half(2)),
        (tree.mask, target.mask),
        (tree.dilated_mask, target.dilated_mask),
        *((path, target.variance(k)) for k in (4, 10, 20) if (path := tree.variance(k)).is_file()),
    ):
        copyfile(source, copy)
    for k in range(len(parameters.s)):
        volume, pixel = read_volume(tree.eigenvolume(k))
        write_volume(target.eigenvolume(k), volume / np.float32(box**1.5), pixel)


def embeddings(tree: Tree, zdims: list[int], box: int) -> dict[str, dict[int | str, Any]]:
    """zs, cov_zs (the matrices of the distances: precisions) and contrasts, by zdim and "<zdim>_noreg"."""
    found: dict[str, dict[int | str, Any]] = {"zs": {}, "cov_zs": {}, "contrasts": {}}
    for zdim in zdims:
        for key, latents in ((zdim, read_latents(tree, zdim)), (f"{zdim}_noreg", read_unregularised(tree, zdim))):
            found["zs"][key] = np.asarray(latents.coordinates * np.float32(box**1.5))
            found["cov_zs"][key] = np.asarray(latents.precision / np.float32(box**3))
            found["contrasts"][key] = np.array(latents.contrasts)
    return found
