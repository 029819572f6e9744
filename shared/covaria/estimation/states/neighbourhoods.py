"""How near an image's latent is to a target, and the nested neighbourhoods that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jaxtyping import Float, Int

SMALLEST_NEIGHBOURHOOD = 100
LARGEST_SHARE = 1 / 3
N_NEIGHBOURHOODS = 8


def squared_distances(
    target: Float[np.ndarray, " q"], latents: Float[np.ndarray, "image q"], precision: Float[np.ndarray, "image q q"]
) -> Float[np.ndarray, " image"]:
    """d_i = (z* - z_i)^T Prec_i (z* - z_i): target (q,), latents (N, q), precision (N, q, q) -> (N,)."""
    difference = np.asarray(target, np.float64) - latents
    result: NDArray[np.float64] = np.einsum("ni,nij,nj->n", difference, precision.astype(np.float64), difference)
    return result


def leading(
    latents: Float[np.ndarray, "image q"], precision: Float[np.ndarray, "image q q"], count: int
) -> tuple[Float[np.ndarray, "image k"], Float[np.ndarray, "image k k"]]:
    """The first `count` of the coordinates (N, q), and their own precision (N, count, count) whatever the others are.

    Coordinates along components that only fit noise hold each image's own noise: neighbours chosen by them would build
    that noise up again, in both half-sets alike.
    """
    if count >= latents.shape[1]:
        return latents, precision
    covariance = np.linalg.inv(precision.astype(np.float64))[:, :count, :count]
    return latents[:, :count], np.linalg.inv(covariance)


def neighbourhood_sizes(count: int) -> Int[np.ndarray, " neighbourhood"]:
    """How many nearest images (both half-sets together) each neighbourhood holds: geometric, smallest first.

    From about 100 images, or 1/64 of all, up to a third of all. "All images" is a further candidate that every target
    shares, so it is not among them.
    """
    largest = max(1, int(count * LARGEST_SHARE))
    smallest = min(max(SMALLEST_NEIGHBOURHOOD, count // 64), largest)
    return np.unique(np.rint(np.geomspace(smallest, largest, N_NEIGHBOURHOODS)).astype(np.int64))


@dataclass(frozen=True)
class Neighbourhoods:
    """Nested neighbourhoods of one target.

    distance  (N,)  d_i of every image
    sizes     (K,)  images in each neighbourhood
    edges     (K,)  the largest distance in each
    ring      (N,)  the smallest neighbourhood that holds the image; K beyond the last
    """

    distance: Float[np.ndarray, " image"]
    sizes: Int[np.ndarray, " neighbourhood"]
    edges: Float[np.ndarray, " neighbourhood"]
    ring: Int[np.ndarray, " image"]


def neighbourhoods(
    target: Float[np.ndarray, " q"], latents: Float[np.ndarray, "image q"], precision: Float[np.ndarray, "image q q"]
) -> Neighbourhoods:
    """The nested neighbourhoods of a target (q,) among latents (N, q) with precision (N, q, q)."""
    distance = squared_distances(target, latents, precision)
    sizes = neighbourhood_sizes(len(distance))
    rank = np.empty(len(distance), dtype=np.int64)
    order = np.argsort(distance, kind="stable")
    rank[order] = np.arange(len(distance))
    return Neighbourhoods(distance, sizes, distance[order][sizes - 1], np.searchsorted(sizes, rank, side="right"))
