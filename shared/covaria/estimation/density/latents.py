"""Latent estimates and their errors in the density's own coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

REJECTED_SHARE = 0.1
RELATIVE_FLOOR = 1e-6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class UncertainPoints:
    """The particles that a density is made from: where they seem to lie, and how far off that may be.

    coordinates  (N, d)     unregularised estimates of the first d latent coordinates
    covariances  (N, d, d)  of their errors, the other coordinates of the same fit integrated out
    """

    zdim: int
    coordinates: Float64[np.ndarray, "particle dim"]
    covariances: Float64[np.ndarray, "particle dim dim"]
    rejected: int


def marginal_covariances(
    precisions: Float64[np.ndarray, "particle q q"], dim: int
) -> Float64[np.ndarray, "particle {dim} {dim}"]:
    """(N, k, k) precisions -> (N, dim, dim) error covariances of the first `dim` coordinates.

    The whole matrix is inverted, then cut: cutting first would pretend that the others were known. Directions that an
    image says nothing about get a large, finite variance (eigenvalues are floored at 1e-6 of the largest).
    """
    values, vectors = np.linalg.eigh(0.5 * (precisions + precisions.transpose(0, 2, 1)))
    floor = np.maximum(RELATIVE_FLOOR * values[:, -1:], np.finfo(float).tiny)
    leading = vectors[:, :dim]
    result: Array = np.einsum("nik,nk,njk->nij", leading, 1 / np.maximum(values, floor), leading)
    return result


def keep_precise(covariances: Float64[np.ndarray, "particle dim dim"]) -> Bool[np.ndarray, " particle"]:
    """All but the tenth with the largest error volume (determinant) in the density's own coordinates."""
    volume = np.linalg.slogdet(covariances)[1]
    result: NDArray[np.bool_] = np.isfinite(volume) & (volume <= np.quantile(volume, 1 - REJECTED_SHARE))
    return result
