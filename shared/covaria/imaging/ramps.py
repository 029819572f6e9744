"""Ramps of grey in images: uneven ice or lighting that whoever extracted the particles left in.

A ramp has no place in the particle's frame, but it is one and the same pattern in the frame of every image: to a model
of white noise within a shell it is motion. It is measured on each image's background, outside the circle that its box
holds, and taken off as far as it is more than the background's own noise: with measured slopes b of error e, and s the
spread of slopes that all images have beyond e, what is subtracted is b s^2 / (s^2 + e^2). Where images have none,
s = 0 and nothing is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from jaxtyping import Float

NORMAL = 1.4826
"""A normal distribution's standard deviation over its median absolute value."""
RAYLEIGH = 1.1774
"""The median length of a vector with two normal coordinates of variance 1."""
LEAST = 0.25
"""Of the background's standard deviations, from edge to edge: noise that is stronger at low resolution alone gives 0.1,
and a ramp of that height harms nothing."""
SURELY = 4.0
"""Standard errors by which slopes must vary beyond their own errors before they count as ramps."""
ROUNDING = 1e-6
SCATTER = 2.33
"""Standard error of a variance taken from the median of n absolute values: SCATTER / sqrt(n) of itself."""


@dataclass(frozen=True)
class Ramps:
    """spread: of slopes along an axis, over the background's standard deviation and for a pixel; 0: there are none."""

    spread: float = 0.0

    def height(self, box: int) -> float:
        """How far an ordinary image's ramp rises across the box, in standard deviations of its background."""
        return float(RAYLEIGH * self.spread * box)

    def taken_from(self, pixels: Float[torch.Tensor, "image d d"]) -> Float[torch.Tensor, "image d d"]:
        """The images without their ramps; zero stays zero at the box's centre."""
        if not self.spread:
            return pixels
        box = pixels.shape[-1]
        slopes = _slopes(pixels)
        kept = self.spread**2 / (self.spread**2 + _error(box) ** 2)
        axis = torch.arange(box, dtype=pixels.dtype) - box // 2
        x, y = (kept * slopes.measured).to(pixels.dtype).T
        left: torch.Tensor = pixels - x[:, None, None] * axis - y[:, None, None] * axis[:, None]
        return left


NO_RAMPS = Ramps()


def find_ramps(pixels: Float[torch.Tensor, "image d d"]) -> Ramps:
    """From some images of a set."""
    box = pixels.shape[-1]
    slopes = _slopes(pixels)
    varied = slopes.deviation > ROUNDING * pixels.abs().amax(dim=(1, 2))
    relative = (slopes.measured[varied] / slopes.deviation[varied, None]).flatten().abs()
    if not len(relative):
        return NO_RAMPS
    variance, error = float(NORMAL * relative.median()) ** 2, _error(box) ** 2
    if variance < error * (1 + SURELY * SCATTER / np.sqrt(len(relative))):
        return NO_RAMPS
    found = Ramps(float(np.sqrt(variance - error)))
    return found if found.height(box) >= LEAST else NO_RAMPS


@dataclass(frozen=True)
class _Slopes:
    """measured (b, 2): grey levels a pixel along x and y; deviation (b,) of the background about its plane."""

    measured: torch.Tensor
    deviation: torch.Tensor


def _slopes(pixels: torch.Tensor) -> _Slopes:
    where, inverse = _plane_fit(pixels.shape[-1])
    background = pixels.flatten(1)[:, where].double()
    planes = background @ inverse.T
    x, y = _axes(pixels.shape[-1])
    fitted = planes[:, :1] + planes[:, 1:2] * x[where] + planes[:, 2:] * y[where]
    return _Slopes(planes[:, 1:], (background - fitted).square().mean(1).sqrt())


def _error(box: int) -> float:
    """Standard error of a slope where the background is white noise of variance 1."""
    inverse = _plane_fit(box)[1]
    return float(inverse[1].square().sum().sqrt())


def _axes(box: int) -> tuple[torch.Tensor, torch.Tensor]:
    axis = torch.arange(box, dtype=torch.float64) - box // 2
    return axis.repeat(box), axis.repeat_interleave(box)


@lru_cache(maxsize=8)
def _plane_fit(box: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The background's pixels (n,), and what makes (level, slope along x, along y) of them: (3, n)."""
    x, y = _axes(box)
    where = torch.nonzero(x.square() + y.square() > (box / 2) ** 2)[:, 0]
    design = torch.stack([torch.ones(len(where), dtype=torch.float64), x[where], y[where]], 1)
    return where, torch.linalg.pinv(design)
