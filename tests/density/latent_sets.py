"""Particles with known latent densities and known errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covaria.tree.atomic import write_pickle


@dataclass(frozen=True)
class LatentSet:
    truth: np.ndarray
    estimates: np.ndarray
    covariances: np.ndarray
    centers: np.ndarray
    weights: np.ndarray


def three_states(count: int, noise: float, dim: int, seed: int, zdim: int | None = None) -> LatentSet:
    """States of weight 1/4, 1/4, 1/2 at distance 1 to 2; error sd about `noise`, different in every particle."""
    rng = np.random.default_rng(seed)
    centers = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.2]])[:, :dim]
    return _observe(centers, np.array([0.25, 0.25, 0.5]), 0.08, count, noise, zdim or dim, rng)


def two_wells(count: int, noise: float, dim: int, seed: int) -> LatentSet:
    rng = np.random.default_rng(seed)
    centers = np.array([[-1.0, 0.0], [1.0, 0.0]])[:, :dim]
    return _observe(centers, np.array([0.3, 0.7]), 0.15, count, noise, dim, rng)


def _observe(centers, weights, width, count, noise, zdim, rng) -> LatentSet:
    dim = centers.shape[1]
    state = rng.choice(len(weights), count, p=weights)
    truth = 0.05 * rng.standard_normal((count, zdim))
    truth[:, :dim] = centers[state] + width * rng.standard_normal((count, dim))
    return observe(truth, noise, rng, centers, weights)


def observe(truth, noise, rng, centers=np.zeros((0, 1)), weights=np.zeros(0)) -> LatentSet:
    count, zdim = truth.shape
    scale = noise * np.exp(0.3 * rng.standard_normal(count))
    mix = np.eye(zdim) + 0.25 * rng.standard_normal((count, zdim, zdim))
    covariances = scale[:, None, None] ** 2 * (mix @ mix.transpose(0, 2, 1))
    error = np.einsum("nij,nj->ni", np.linalg.cholesky(covariances), rng.standard_normal((count, zdim)))
    return LatentSet(truth, truth + error, covariances, centers, weights)


def weights_near(mass: np.ndarray, axes: list[np.ndarray], centers: np.ndarray) -> np.ndarray:
    """Mass nearer to each centre than to any other."""
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    nearest = ((points[..., None, :] - centers) ** 2).sum(axis=-1).argmin(axis=-1)
    return np.array([mass[nearest == number].sum() for number in range(len(centers))])


def write_model(
    out: Path, found: LatentSet, zdims: tuple[int, ...], excluded: np.ndarray, confirmed: int | None = None
) -> None:
    """OUT/model as the reconstruction leaves it; `excluded` rows are NaN; all components confirmed by default."""
    (out / ".covaria").mkdir(parents=True, exist_ok=True)
    prior = found.truth.var(axis=0) + 1e-3
    write_pickle(
        out / "model" / "params.pkl",
        {"s": prior, "significant_components": len(prior) if confirmed is None else confirmed},
    )
    for k in zdims:
        folder = out / "model" / f"zdim_{k}"
        folder.mkdir(parents=True)
        precision = np.linalg.inv(found.covariances[:, :k, :k])
        inverse_prior = np.diag(1 / prior[:k])
        both = precision + inverse_prior
        mean = np.linalg.solve(both, np.einsum("nij,nj->ni", precision, found.estimates[:, :k])[..., None])[..., 0]
        arrays = {
            "latent_coords": mean,
            "latent_coords_noreg": found.estimates[:, :k].copy(),
            "latent_precision": both @ np.linalg.inv(precision) @ both,
            "latent_precision_noreg": precision,
            "contrasts": 1 + 0.1 * np.random.default_rng(1).standard_normal(len(mean)),
        }
        for name, array in arrays.items():
            array[excluded] = np.nan
            np.save(folder / f"{name}.npy", array.astype(np.float32))
