"""A small phantom: a compact chain of atoms, part of it sharp and part of it smeared out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from covaria.maps import shell_average, shell_indices


def render(points, box, sigma):
    """Sum of Gaussians of width `sigma` voxels at points (n, 3) = x, y, z relative to voxel D//2."""
    axis = np.arange(box) - box // 2
    volume = np.zeros((box,) * 3, np.float32)
    for point in points:
        x, y, z = (np.exp(-((axis - c) ** 2) / (2 * sigma**2)) for c in point)
        volume += (z[:, None, None] * y[None, :, None] * x[None, None, :]).astype(np.float32)
    return volume


def chain(box, atoms=100, seed=0):
    generator = np.random.default_rng(seed)
    steps = generator.normal(size=(atoms, 3))
    points = np.cumsum(steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0)
    points -= points.mean(0)
    return points * (box / 4.5) / np.abs(points).max()


def coloured_noise(box, power, generator):
    """White noise shaped to `power` (D//2,) for each shell."""
    transform = np.fft.rfftn(generator.normal(size=(box,) * 3))
    table = np.concatenate([power, np.full(box, power[-1])])
    shaped = transform * np.sqrt(table[shell_indices(box)])
    return np.fft.irfftn(shaped, s=(box,) * 3, axes=(0, 1, 2)).astype(np.float32)


@dataclass(frozen=True)
class NoisyPair:
    truth: np.ndarray
    sharp: np.ndarray
    smeared: np.ndarray
    half1: np.ndarray
    half2: np.ndarray


@pytest.fixture(scope="session")
def noisy_pair():
    """`noisy_pair(box, level)`: half-maps of a truth whose right side is blurred by motion."""

    def make(box=48, level=0.01):
        generator = np.random.default_rng(1)
        points = chain(box)
        right = points[:, 0] > 0
        sharp = render(points[~right], box, box / 64)
        jitter = generator.normal(size=(12, 3)) * box / 32
        smeared = np.mean([render(points[right] + shift, box, box / 64) for shift in jitter], axis=0)
        truth = (sharp + smeared).astype(np.float32)
        signal = shell_average(np.abs(np.fft.rfftn(truth)) ** 2, box)[box // 8]
        power = level * signal * (1 + (np.arange(box // 2) / 10) ** 2) / box**3
        halves = [truth + coloured_noise(box, power, generator) for _ in range(2)]
        return NoisyPair(truth, sharp, smeared, *halves)

    return make
