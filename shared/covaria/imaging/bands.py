"""Bands of rings: where along the half plane an image's power is compared with that of the others.

A ring is ceil(abs(k)), the order in which `HalfPlane` lists its pixels: so a band is a slice of the list, and the plane
of a smaller radius has the same bands as far as it reaches.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from covaria.imaging.plane import HalfPlane, half_plane

if TYPE_CHECKING:
    from jaxtyping import Float

FIRST_LIMITS = (1, 2, 3, 5, 8, 12, 18, 27)
GROWTH = 1.5


@lru_cache(maxsize=16)
def band_limits(box: int) -> tuple[int, ...]:
    """The last ring of each band: 1 2 3 5 8 12 18 27 40 60 ... box // 2 - 1; the last band holds two rings at least."""
    edge = box // 2 - 1
    limits = list(FIRST_LIMITS)
    while limits[-1] < edge:
        limits.append(int(limits[-1] * GROWTH))
    return (*(limit for limit in limits if limit < edge - 1), edge)


@lru_cache(maxsize=64)
def band_lengths(box: int, radius: int) -> tuple[int, ...]:
    """How many pixels of the half plane of `radius` lie in each of its bands; the bands beyond have none."""
    ends = [len(half_plane(box, min(limit, radius))) for limit in band_limits(box)]
    return tuple(int(n) for n in np.diff([0, *ends]))


@lru_cache(maxsize=16)
def band_freedom(box: int) -> Float[np.ndarray, " band"]:
    """Real numbers in each band, (bands,): what the whitened power of pure noise adds up to."""
    plane = half_plane(box)
    ends = np.cumsum((0, *band_lengths(box, plane.radius)))
    return np.diff(np.append(0.0, np.cumsum(plane.weight, dtype=np.float64))[ends])


def band_sums(values: Float[torch.Tensor, "image pixel"], plane: HalfPlane) -> Float[torch.Tensor, "image band"]:
    """Sums of pixel values (b, n) over each band, (b, bands)."""
    parts = torch.split(values, list(band_lengths(plane.box, plane.radius)), 1)
    return torch.stack([part.sum(1) for part in parts], 1)


def on_pixels(values: Float[torch.Tensor, "image band"], plane: HalfPlane) -> Float[torch.Tensor, "image pixel"]:
    """One value a band, (b, bands), on every pixel of the plane: (b, n). The transpose of `band_sums`."""
    lengths = torch.as_tensor(band_lengths(plane.box, plane.radius), device=values.device)
    return values.repeat_interleave(lengths, 1, output_size=len(plane))
