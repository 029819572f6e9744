"""Do the latent coordinates depend on what they should not: the micrograph, the defocus, the view, the contrast?

A coordinate is ranked over the particles, the covariate cut into groups, and the groups' mean ranks compared: with
Kruskal and Wallis's test where groups are many (micrographs), with Welch's analysis of variance of the ranks elsewhere,
which stands that one group is noisier than another (views and defoci are; Zimmerman & Zumbo 1993). A covariate that all
particles of a micrograph share is tested over micrographs' means, which are as many independent measurements as there
are. p-values are corrected for the number of tests (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

Array = NDArray[np.float64]
SIGNIFICANT = 0.01
BINS, VIEWS, SIDE = 10, 24, 4
FEWEST = 5
"""Of a group; smaller ones are left out."""
FEWEST_UNITS = 30
SHARED = 0.05
"""Of a covariate's variance lies within micrographs: then all their particles share it."""


@dataclass(frozen=True)
class Covariate:
    """What a coordinate may depend on.

    groups (N,) code of each particle's group, -1 unknown; many: a group is no bin but a thing (a micrograph)
    units (N,) what is measured once, where particles share it; None: every particle
    """

    name: str
    groups: Int64[np.ndarray, " particle"]
    many: bool = False
    units: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Association:
    """One test. share: of the ranks' variance that the groups explain; p_corrected by Holm over all tests."""

    coordinate: int
    covariate: str
    groups: int
    units: int
    share: float
    p: float
    p_corrected: float = 1.0

    @property
    def confirmed(self) -> bool:
        return self.p_corrected < SIGNIFICANT


def associations(
    coordinates: Float64[np.ndarray, "particle dim"], covariates: Sequence[Covariate]
) -> tuple[Association, ...]:
    """Every coordinate against every covariate that has two groups or more; NaN rows are left out."""
    found = []
    for covariate in covariates:
        for number, values in enumerate(coordinates.T):
            measured, groups = _measured(values, covariate)
            if len(np.unique(groups)) > 1:
                found.append(_tested(number, covariate, measured, groups))
    corrected = holm([one.p for one in found])
    return tuple(replace(one, p_corrected=float(p)) for one, p in zip(found, corrected, strict=True))


def holm(p_values: ArrayLike) -> Array:
    """p-values corrected for their number: the chance that any of them is so small where nothing is there."""
    given = np.asarray(p_values, dtype=float)
    order = np.argsort(given)
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    corrected = np.empty(len(given))
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def bins_of(values: ArrayLike, count: int = BINS) -> NDArray[np.int64]:
    """(N,) bin of each value, about equally many in each; -1 for NaN."""
    given = np.asarray(values, dtype=float)
    known = np.isfinite(given)
    codes = np.full(len(given), -1, dtype=np.int64)
    if known.any():
        edges = np.unique(np.quantile(given[known], np.linspace(0, 1, count + 1)[1:-1]))
        codes[known] = np.searchsorted(edges, given[known], side="right")
    return codes


def views_of(directions: Float64[np.ndarray, "particle 3"], count: int = VIEWS) -> Int64[np.ndarray, " particle"]:
    """(N,) the nearest of `count` even directions (Fibonacci's spiral)."""
    centers = even_directions(count)
    codes: NDArray[np.int64] = np.argmax(directions @ centers.T, axis=1).astype(np.int64)
    codes[~np.isfinite(directions).all(axis=1)] = -1
    return codes


def even_directions(count: int) -> Float64[np.ndarray, "{count} 3"]:
    """Unit vectors that cover the sphere evenly."""
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)


def places_of(places: Float64[np.ndarray, "particle 2"], side: int = SIDE) -> Int64[np.ndarray, " particle"]:
    """(N,) which of side x side fields of the micrograph a particle lies in; -1 for NaN."""
    x, y = (bins_of(axis, side) for axis in places.T)
    return np.where((x >= 0) & (y >= 0), side * x + y, -1)


def shared_units(values: ArrayLike, micrograph: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The micrographs, where their particles share a value; None where they differ or micrographs are few."""
    given = np.asarray(values, dtype=float)
    known = np.isfinite(given) & (micrograph >= 0)
    if not known.any() or len(np.unique(micrograph[known])) < FEWEST_UNITS:
        return None
    codes = np.unique(micrograph[known], return_inverse=True)[1]
    means = np.bincount(codes, given[known]) / np.bincount(codes)
    total = float(given[known].var())
    return micrograph if total > 0 and float((given[known] - means[codes]).var()) < SHARED * total else None


def _measured(values: Array, covariate: Covariate) -> tuple[Array, NDArray[np.int64]]:
    """Ranks, and the group of each; groups that are too small are left out."""
    from scipy.stats import rankdata

    known = np.isfinite(values) & (covariate.groups >= 0)
    ranks, groups = rankdata(values[known]) / max(int(known.sum()), 1), covariate.groups[known]
    if covariate.units is not None:
        unit = np.unique(covariate.units[known], return_inverse=True)[1]
        counts = np.bincount(unit)
        first = np.unique(unit, return_index=True)[1]
        ranks, groups = np.bincount(unit, ranks) / counts, groups[first]
    sizes = np.unique(groups, return_inverse=True, return_counts=True)
    kept = sizes[2][sizes[1]] >= FEWEST
    return ranks[kept], groups[kept]


def _tested(number: int, covariate: Covariate, ranks: Array, groups: NDArray[np.int64]) -> Association:
    code = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(code)
    means = np.bincount(code, ranks) / sizes
    between = float((sizes * (means - ranks.mean()) ** 2).sum())
    total = float(((ranks - ranks.mean()) ** 2).sum())
    share = between / total if total > 0 else 0.0
    spread = np.bincount(code, (ranks - means[code]) ** 2) / np.maximum(sizes - 1, 1)
    p = _kruskal(share, len(ranks), len(sizes)) if covariate.many else _welch(means, spread, sizes)
    return Association(number, covariate.name, len(sizes), len(ranks), share, p)


def _kruskal(share: float, count: int, groups: int) -> float:
    """H = (N - 1) x the share of the ranks' variance that lies between the groups."""
    from scipy.stats import chi2

    return float(chi2.sf((count - 1) * share, groups - 1))


def _welch(means: Array, variances: Array, sizes: NDArray[np.int64]) -> float:
    """Welch 1951."""
    from scipy.stats import f

    groups, weight = len(means), sizes / np.maximum(variances, 1e-12)
    center = float((weight * means).sum() / weight.sum())
    spread = float(((1 - weight / weight.sum()) ** 2 / (sizes - 1)).sum())
    statistic = float((weight * (means - center) ** 2).sum()) / (groups - 1)
    statistic /= 1 + 2 * (groups - 2) / (groups**2 - 1) * spread
    return float(f.sf(statistic, groups - 1, (groups**2 - 1) / (3 * spread)))
