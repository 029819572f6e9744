"""The components that a reconstruction has found."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Components:
    """Principal components in density units on the full box.

    eigenvolumes (K, D, D, D) with sum of squares 1, eigenvalues (K,), half1 and half2 (K, D, D, D): each half-set's own
    eigenvolumes in the same axes; fsc (K, D // 2); confirmed (): how many are confirmed; pose_spread (3,) of the
    poses' errors, as `PoseSpread`. level (N,), outlier and band_noise (N, bands), as those of `MeanModel`, of images
    judged by what confirmed components leave of them; empty where there are none. coarse (K, d, d, d) and fine
    (k, d, d, d): the fits that they come from, on their own cubes, sqrt(eigenvalue) x eigenvolume in cache units;
    alone1, alone2 (K, d, d, d): those of each half-set alone.
    """

    eigenvolumes: np.ndarray
    eigenvalues: np.ndarray
    half1: np.ndarray
    half2: np.ndarray
    fsc: np.ndarray
    confirmed: np.ndarray
    z_score: np.ndarray
    pose_spread: np.ndarray
    level: np.ndarray = field(default_factory=lambda: np.ones(0))
    outlier: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    band_noise: np.ndarray = field(default_factory=lambda: np.ones((0, 0)))
    coarse: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.float32))
    fine: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.float32))
    alone1: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.float32))
    alone2: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.float32))
