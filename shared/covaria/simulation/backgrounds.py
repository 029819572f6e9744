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
    pixels = carbon_edges(truth, box) + blobs(truth, box)
    if gradient_height:
        pixels += gradients(truth, box, gradient_height)
    return pixels.astype(np.float32)


def carbon_edges(truth: ImageTruth, box: int) -> NDArray[np.float64]:
    """From -EDGE_HEIGHT / 2 to EDGE_HEIGHT / 2 within a pixel; 0 where there is no edge."""
    distance = _along(truth.edge_angle_deg, box) - truth.edge_offset_pixels[:, None, None]
    return np.where(truth.carbon_edge[:, None, None], EDGE_HEIGHT * np.clip(distance, -0.5, 0.5), 0.0)


def blobs(truth: ImageTruth, box: int) -> NDArray[np.float64]:
    """A Gaussian of BLOB_HEIGHT; 0 where there is none."""
    offsets = _offsets(box)
    x = offsets - truth.blob_x_pixels[:, None]
    y = offsets - truth.blob_y_pixels[:, None]
    width = 2 * (BLOB_SD * box) ** 2
    spot = BLOB_HEIGHT * np.exp(-(y**2) / width)[:, :, None] * np.exp(-(x**2) / width)[:, None, :]
    return np.where(truth.blob[:, None, None], spot, 0.0)


def gradients(truth: ImageTruth, box: int, height: float) -> NDArray[np.float64]:
    """A ramp that rises by `height` in a box length and is 0 at the centre."""
    return height / box * _along(truth.gradient_angle_deg, box)


def _along(angle_deg: NDArray[np.float64], box: int) -> NDArray[np.float64]:
    """x cos(angle) + y sin(angle) of every pixel, (n, D, D)."""
    angle, offsets = np.deg2rad(angle_deg), _offsets(box)
    return np.cos(angle)[:, None, None] * offsets + np.sin(angle)[:, None, None] * offsets[:, None]


def _offsets(box: int) -> NDArray[np.float64]:
    return np.arange(box, dtype=np.float64) - box // 2
