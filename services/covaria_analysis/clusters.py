"""k-means in latent space, centres in an order that neighbours share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria_analysis.latents import Array, Latents

RESTARTS = 10


@dataclass(frozen=True)
class Clusters:
    """centers (K, k) latent coordinates; labels (N,) number of each particle's centre, -1 where excluded."""

    centers: Array
    labels: NDArray[np.int64]

    def nearest_rows(self, latents: Latents) -> NDArray[np.int64]:
        """(K,) the particle nearest to each centre."""
        points = latents.coordinates[latents.rows]
        distances = ((points[:, None, :] - self.centers[None]) ** 2).sum(axis=2) if len(points) < 2**14 else None
        if distances is not None:
            result: NDArray[np.int64] = latents.rows[distances.argmin(axis=0)]
            return result
        return np.array([latents.rows[((points - center) ** 2).sum(axis=1).argmin()] for center in self.centers])


def find_clusters(latents: Latents, count: int, seed: int) -> Clusters:
    """The best of ten k-means runs; centres ordered along the leaves of their average-linkage tree.

    Raises InvalidInput where there are fewer particles than clusters.
    """
    from sklearn.cluster import KMeans

    points = latents.coordinates[latents.rows]
    if len(points) < count:
        raise InvalidInput(
            f"{count} clusters of {len(points)} particles", hint=f"ask for at most {len(points)} with --n-clusters"
        )
    fitted = KMeans(n_clusters=count, n_init=RESTARTS, random_state=seed).fit(points)
    order = leaf_order(fitted.cluster_centers_)
    rank = np.empty(count, dtype=np.int64)
    rank[order] = np.arange(count)
    labels = np.full(len(latents.used), -1, dtype=np.int64)
    labels[latents.rows] = rank[fitted.labels_]
    return Clusters(np.asarray(fitted.cluster_centers_[order], dtype=float), labels)


def leaf_order(centers: Array) -> NDArray[np.int64]:
    """Centres (K, k) in the order of the leaves of their hierarchical tree, neighbours side by side.

    The tree leaves the direction open: the end with the smaller first coordinate comes first.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(centers) < 3:
        order = np.argsort(centers[:, 0], kind="stable")
    else:
        order = leaves_list(linkage(centers, method="average", optimal_ordering=True))
    return order[::-1] if centers[order[0], 0] > centers[order[-1], 0] else order
