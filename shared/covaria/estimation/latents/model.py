"""The latent coordinates of a data set: one value for all who make or use them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Latents:
    """Latent coordinates at one dimension q (density x voxel^(1/2)), a row for each image, NaN where one is not used.

    coordinates  (N, q)     with prior or without
    precision    (N, q, q)  inverse sampling covariance of these coordinates
    contrasts    (N,)
    """

    coordinates: Float[np.ndarray, "image q"]
    precision: Float[np.ndarray, "image q q"]
    contrasts: Float[np.ndarray, " image"]

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def zdim(self) -> int:
        return int(self.coordinates.shape[1])

    @property
    def used(self) -> NDArray[np.bool_]:
        """(N,) which images have coordinates."""
        return np.asarray(np.isfinite(self.coordinates).all(axis=1))

    @property
    def rows(self) -> NDArray[np.int64]:
        """The images that have coordinates, ascending."""
        return np.flatnonzero(self.used)

    def take(self, rows: np.ndarray) -> Latents:
        """Those of some rows."""
        return Latents(*(getattr(self, field.name)[rows] for field in fields(self)))

    def in_input_order(self, rows: np.ndarray, total: int) -> Latents:
        """These, of the images at `rows` of an input file of `total`, in the file's order; float32."""
        return Latents(*(in_input_order(getattr(self, field.name), rows, total) for field in fields(self)))


def in_input_order(values: np.ndarray, rows: np.ndarray, total: int) -> np.ndarray:
    """Rows of used images placed in the input file's order, NaN where an image was not used; float32."""
    out = np.full((total, *values.shape[1:]), np.nan, np.float32)
    out[rows] = values
    return out
