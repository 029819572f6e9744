"""What lies in an image beside the particle: the edge of a carbon film, a bright contaminant, a ramp of grey."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covaria.simulation.image_truth import ImageTruth

EDGE_HEIGHT = 3.0
"""Of the step, in standard deviations of the ordinary noise."""
EDGE_REACH = 0.35
"""The largest distance of the edge's line from the centre, in box lengths."""
BLOB_HEIGHT = 15.0
BLOB_SD = 0.05
"""Of the blob's Gaussian profile, in box lengths."""
BLOB_REACH = 0.45
"""The largest distance of the blob from the centre along x and along y, in box lengths."""


def background(truth: ImageTruth, box: int, gradient_height: float) -> NDArray[np.float32]:
    """The sum of all three for these images, (n, D, D), [y, x], for particles brighter than their surroundings."""
    pixels = np.zeros((len(truth), box, box), np.float32)
    if gradient_height:
        pixels += gradients(truth.gradient_angle_deg, gradient_height, box)
    edge, blob = np.flatnonzero(truth.carbon_edge), np.flatnonzero(truth.blob)
    pixels[edge] += carbon_edges(truth.edge_angle_deg[edge], truth.edge_offset_pixels[edge], box)
    pixels[blob] += blobs(truth.blob_x_pixels[blob], truth.blob_y_pixels[blob], box)
    return pixels


def carbon_edges(angle_deg: NDArray[np.float64], offset_pixels: NDArray[np.float64], box: int) -> NDArray[np.float32]:
    """From -EDGE_HEIGHT / 2 to EDGE_HEIGHT / 2 within a pixel of the line x cos(angle) + y sin(angle) = offset."""
    distance = _along(angle_deg, box) - offset_pixels[:, None, None].astype(np.float32)
    return EDGE_HEIGHT * np.clip(distance, -0.5, 0.5)


def blobs(x_pixels: NDArray[np.float64], y_pixels: NDArray[np.float64], box: int) -> NDArray[np.float32]:
    """Gaussians of BLOB_HEIGHT at x, y from the box centre."""
    width = 2 * (BLOB_SD * box) ** 2
    x, y = (np.exp(-((_offsets(box) - place[:, None]) ** 2) / width) for place in (x_pixels, y_pixels))
    return (BLOB_HEIGHT * y[:, :, None] * x[:, None, :]).astype(np.float32)


def gradients(angle_deg: NDArray[np.float64], height: float, box: int) -> NDArray[np.float32]:
    """Ramps that rise by `height` in a box length and are 0 at the centre."""
    return height / box * _along(angle_deg, box)


def _along(angle_deg: NDArray[np.float64], box: int) -> NDArray[np.float32]:
    """x cos(angle) + y sin(angle) of every pixel, (n, D, D)."""
    angle, offsets = np.deg2rad(angle_deg), _offsets(box)
    x, y = (np.multiply.outer(part, offsets).astype(np.float32) for part in (np.cos(angle), np.sin(angle)))
    return x[:, None, :] + y[:, :, None]


def _offsets(box: int) -> NDArray[np.float64]:
    return np.arange(box, dtype=np.float64) - box // 2
