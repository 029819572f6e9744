"""Tests of coordinates against covariates: rightly calibrated where nothing is there, found where something is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from covaria.estimation import association as a


def covariates(rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[a.Covariate]]:
    """Micrographs of 20 particles; defocus and time are theirs; views, contrasts and places the particles' own."""
    micrograph = np.arange(count) // 20
    defocus = rng.uniform(1, 2, count // 20)[micrograph] + 0.01 * rng.normal(size=count)
    directions = rng.normal(size=(count, 3))
    return defocus, [
        a.Covariate("micrograph", micrograph, many=True),
        a.Covariate("defocus", a.bins_of(defocus), units=a.shared_units(defocus, micrograph)),
        a.Covariate("view", a.views_of(directions / np.linalg.norm(directions, axis=1, keepdims=True))),
        a.Covariate("place", a.places_of(rng.uniform(size=(count, 2)))),
    ]


def test_where_nothing_is_there_p_values_are_even() -> None:
    """Also where views differ in how well they know the coordinate: one in ten p-values lies below 0.1."""
    rng, found = np.random.default_rng(0), []
    for _ in range(60):
        _, known = covariates(rng, 1200)
        noise = 1 + 2 * (known[2].groups % 3)
        found += a.associations((noise * rng.standard_t(4, size=1200))[:, None], known)
    p = np.array([one.p for one in found])
    for name in ("micrograph", "defocus", "view", "place"):
        own = np.array([one.p for one in found if one.covariate == name])
        assert len(own) == 60
        assert (own < 0.1).mean() < 0.25 and (own < 0.5).mean() > 0.3, name
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert sum(one.confirmed for one in found) <= 2, "of 60 families, one in a hundred may err"


def test_what_is_there_is_found_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    defocus, known = covariates(rng, 2000)
    z = rng.normal(size=(2000, 2))
    z[:, 1] += 1.5 * (defocus - 1.5) ** 2 * 12
    z[::17] = np.nan
    confirmed = {(one.coordinate, one.covariate) for one in a.associations(z, known) if one.confirmed}
    assert confirmed == {(1, "defocus"), (1, "micrograph")}, "a bent dependence too; defocus is the micrographs'"


def test_a_shared_covariate_is_tested_over_micrographs() -> None:
    """Micrographs whose means differ, for no reason that defocus has: over particles it would seem so."""
    rng = np.random.default_rng(2)
    p, naive = [], []
    for _ in range(30):
        defocus, known = covariates(rng, 1200)
        z = rng.normal(size=1200) + rng.normal(size=60)[known[0].groups]
        p.append(next(one.p for one in a.associations(z[:, None], known) if one.covariate == "defocus"))
        (one,) = a.associations(z[:, None], [a.Covariate("defocus", a.bins_of(defocus))])
        naive.append(one.p)
    assert (np.array(p) < 0.05).mean() < 0.2
    assert (np.array(naive) < 0.05).mean() > 0.8


def test_welch_and_kruskal_against_scipy() -> None:
    rng = np.random.default_rng(3)
    values, groups = rng.normal(size=300), rng.integers(0, 4, 300)
    (found,) = a.associations(values[:, None], [a.Covariate("x", groups, many=True)])
    assert found.p == pytest.approx(stats.kruskal(*(values[groups == g] for g in range(4))).pvalue, rel=1e-6)
    two = (groups > 1).astype(np.int64)
    (found,) = a.associations(values[:, None], [a.Covariate("x", two)])
    ranks = stats.rankdata(values)
    assert found.p == pytest.approx(stats.ttest_ind(ranks[two == 0], ranks[two == 1], equal_var=False).pvalue, rel=1e-6)


def test_holm() -> None:
    assert a.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert a.holm([0.9, 0.9]).tolist() == [1, 1]


def test_unknown_values_and_single_groups_are_left_out() -> None:
    z = np.arange(40.0)[:, None]
    assert a.associations(z, [a.Covariate("x", np.zeros(40, np.int64)), a.Covariate("y", np.full(40, -1))]) == ()
    assert a.bins_of([1.0, np.nan, 2.0]).tolist()[1] == -1
    assert a.bins_of(np.full(9, 3.0)).tolist() == [0] * 9 or len(set(a.bins_of(np.full(9, 3.0)))) == 1
    assert np.linalg.norm(a.even_directions(24).mean(0)) < 0.05
