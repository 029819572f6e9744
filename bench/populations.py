"""How often the 90 % intervals of populations hold the truth: latents with known errors, 40 sets of each kind.

.venv/bin/python bench/populations.py --sets 40 --particles 600 --error 0.5
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from sklearn.cluster import KMeans

from covaria.estimation.populations.intervals import populations

Draw = Callable[[int, np.random.Generator], np.ndarray]
THREE = np.array([[-1.0, -0.5], [1.2, -0.8], [-0.2, 1.6]])
MANY = 40_000


def three_states(count: int, rng: np.random.Generator) -> np.ndarray:
    return THREE[rng.choice(3, count, p=[0.5, 0.3, 0.2])]


def two_wells(count: int, rng: np.random.Generator) -> np.ndarray:
    first = rng.random(count) < 0.3
    return (np.where(first, -1.5, 0.65) + 0.25 * rng.standard_normal(count))[:, None]


def one_cloud(count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((count, 1))


def ring(count: int, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi, count)
    return np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], 1)


KINDS: dict[str, Draw] = {"three states": three_states, "two wells": two_wells, "one cloud": one_cloud, "ring": ring}


def observed(truth: np.ndarray, error: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and precisions of errors of about `error`, different in every particle."""
    count, dim = truth.shape
    mix = np.eye(dim) + 0.25 * rng.standard_normal((count, dim, dim))
    scale = error * np.exp(0.3 * rng.standard_normal(count))
    covariance = scale[:, None, None] ** 2 * (mix @ mix.transpose(0, 2, 1))
    noise = np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), rng.standard_normal(truth.shape))
    return truth + noise, np.linalg.inv(covariance)


def trial(draw: Draw, count: int, centers: int, error: float, seed: int) -> list[np.ndarray]:
    """Inside or not, width and error of each interval, and whether the centre is resolved."""
    rng = np.random.default_rng(seed)
    coordinates, precisions = observed(draw(count, rng), error, rng)
    shrunk = np.linalg.solve(precisions + np.eye(coordinates.shape[1]), precisions @ coordinates[..., None])[..., 0]
    means = KMeans(centers, n_init=2, random_state=seed).fit(shrunk).cluster_centers_
    nearest = ((draw(MANY, rng)[:, None] - means) ** 2).sum(-1).argmin(1)
    truth = np.bincount(nearest, minlength=centers) / MANY
    found = populations(coordinates, precisions, means, np.arange(count), np.arange(count) % 2, seed)
    inside = (found.low <= truth) & (truth <= found.high)
    return [inside, found.high - found.low, abs(found.share - truth), found.resolved]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--particles", type=int, default=600)
    parser.add_argument("--error", type=float, default=0.5, help="of the coordinates, in sd of the motion")
    parser.add_argument("--centers", type=int, nargs="+", default=[3, 6])
    given = parser.parse_args()
    print("| latents | centres | resolved | intervals that hold the truth | width | error |\n|---|---|---|---|---|---|")
    for name, draw in KINDS.items():
        for centers in given.centers:
            rows = [trial(draw, given.particles, centers, given.error, 1000 + seed) for seed in range(given.sets)]
            inside, width, error, resolved = (float(np.mean(column)) for column in zip(*rows, strict=True))
            print(f"| {name} | {centers} | {resolved:.2f} | {inside:.3f} | {width:.3f} | {error:.3f} |", flush=True)


if __name__ == "__main__":
    main()
