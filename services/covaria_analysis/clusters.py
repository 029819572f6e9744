"""k-means in latent space, centres in an order that neighbours share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.results.confirmed import Array, ConfirmedLatents

RESTARTS = 10


@dataclass(frozen=True)
class Clusters:
    """centers (K, k) latent coordinates; labels (N,) number of each particle's centre, -1 where excluded."""

    centers: Array
    labels: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(K,) particles whose estimate lies nearest to each centre."""
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.centers))

    def nearest_rows(self, latents: ConfirmedLatents) -> NDArray[np.int64]:
        """(K,) the particle nearest to each centre."""
        points = latents.in_deviations(latents.coordinates[latents.rows])
        centers = latents.in_deviations(self.centers)
        return np.array([latents.rows[((points - center) ** 2).sum(axis=1).argmin()] for center in centers])


def find_clusters(latents: ConfirmedLatents, count: int, seed: int, start: Array | None = None) -> Clusters:
    """The best of ten k-means runs on the confirmed components, each in standard deviations of its motion.

    Centres are ordered along the leaves of their average-linkage tree. From `start` (count, zdim), the centres of the
    version before, there is one run, and each keeps its number. Raises InvalidInput where there are fewer particles
    than clusters.
    """
    from sklearn.cluster import KMeans

    points = latents.in_deviations(latents.coordinates[latents.rows])
    if len(points) < count:
        raise InvalidInput(
            f"{count} clusters of {len(points)} particles", hint=f"ask for at most {len(points)} with --n-clusters"
        )
    if start is None:
        fitted = KMeans(n_clusters=count, n_init=RESTARTS, random_state=seed).fit(points)
        order = leaf_order(fitted.cluster_centers_)
    else:
        fitted = KMeans(n_clusters=count, init=latents.in_deviations(start), n_init=1).fit(points)
        order = np.arange(count)
    rank = np.empty(count, dtype=np.int64)
    rank[order] = np.arange(count)
    labels = np.full(len(latents.used), -1, dtype=np.int64)
    labels[latents.rows] = rank[fitted.labels_]
    return Clusters(latents.from_deviations(np.asarray(fitted.cluster_centers_[order], dtype=float)), labels)


def one_cluster(latents: ConfirmedLatents) -> Clusters:
    """Where nothing is confirmed: every particle in use belongs to the mean."""
    return Clusters(np.zeros((1, latents.zdim)), np.where(latents.used, 0, -1).astype(np.int64))


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
