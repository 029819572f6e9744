"""UMAP: the latent cloud laid flat, for the eye only."""

from __future__ import annotations

import numpy as np

from covaria.results.confirmed import Array, ConfirmedLatents

FEWEST_PARTICLES = 15
FEWEST_COMPONENTS = 3
"""With fewer there is nothing to lay flat: the density shows the cloud itself."""
MOST_FITTED = 50_000
NEIGHBOURS = 15
EPOCHS = 200


def embed_flat(latents: ConfirmedLatents, seed: int) -> Array | None:
    """(N, 2) UMAP coordinates of the confirmed components, NaN where excluded; None where there is little to lay out.

    Above 50,000 particles a seeded sample is laid out and the others are placed into its map.
    """
    rows = latents.rows
    if len(rows) < FEWEST_PARTICLES or latents.confirmed < FEWEST_COMPONENTS:
        return None
    from umap import UMAP

    points = latents.in_deviations(latents.coordinates[rows]).astype(np.float32)
    fitted = np.arange(len(points))
    if len(points) > MOST_FITTED:
        fitted = np.sort(np.random.default_rng(seed).choice(len(points), MOST_FITTED, replace=False))
    # A start from the principal components: the spectral one fails on small or disconnected neighbour graphs.
    neighbours = min(NEIGHBOURS, len(fitted) - 1)
    model = UMAP(n_neighbors=neighbours, n_epochs=EPOCHS, random_state=seed, n_jobs=1, init="pca")
    flat = np.full((len(latents.used), 2), np.nan)
    flat[rows[fitted]] = model.fit_transform(points[fitted])
    others = np.setdiff1d(np.arange(len(points)), fitted)
    if others.size:
        flat[rows[others]] = model.transform(points[others])
    return flat
