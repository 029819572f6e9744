"""Whom the probabilities set aside, how micrographs and optics groups fare, and what the coordinates depend on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.estimation.association import (
    BINS,
    FEWEST,
    VIEWS,
    Association,
    Covariate,
    associations,
    bins_of,
    even_directions,
    holm,
    places_of,
    shared_units,
    views_of,
)
from covaria.selection.apply import selected
from covaria.selection.columns import RunColumns
from covaria.selection.model import All, Not, Rows, Selection, Where

MEANS = ("p_empty", "p_outlier", "contrast", "noise_level", "residual")
PLACES = (("rlnCoordinateX", "rlnCoordinateY"), ("location_center_x_frac", "location_center_y_frac"))
TAKEN = re.compile(r"(20\d{6})[_-]?(\d{6})")
"""Day and time in a micrograph's name, as EPU and SerialEM write them."""
MOST_NAMES = 150
"""Micrographs in one condition."""


@dataclass(frozen=True)
class Known:
    """A covariate with what it looks like in a figure: a number or a place of each particle, and its unit."""

    covariate: Covariate
    position: NDArray[np.float64] | None = None
    unit: str = ""


@dataclass(frozen=True)
class Group:
    """A micrograph or an optics group. p_corrected: that so many are set aside by chance (binomial, Holm)."""

    name: str
    particles: int
    set_aside: int
    p_corrected: float
    means: dict[str, float]


def kept_by(table: RunColumns, p_empty: float, p_outlier: float, micrographs: float | None = None) -> Selection:
    """Particles in use whose probabilities are no higher; without micrographs of which more than that share is."""
    names = set(table.names)
    if not {"p_empty", "p_outlier"} <= names:
        raise InvalidInput(
            "has no probabilities", file=table.tree.particle_table, hint="run `covaria reconstruct` again"
        )
    each: Selection = Where(expression=f"p_empty <= {p_empty!r} and p_outlier <= {p_outlier!r}")
    if micrographs is None:
        return each
    bad = [
        group.name
        for group in groups_of(table, selected(each, table), "micrograph")
        if group.set_aside > micrographs * group.particles
    ]
    if not bad:
        return each
    lists = [bad[start : start + MOST_NAMES] for start in range(0, len(bad), MOST_NAMES)]
    if any(len(repr(tuple(names))) > 3900 for names in lists):
        lists = [[name] for name in bad]
    return All(of=(each, *(Not(of=Where(expression=f"micrograph in {[*names]!r}")) for names in lists)))


def without(kept: Selection, junk: NDArray[np.bool_]) -> Selection:
    """The same without the run's rows (N,) that are junk."""
    rows = np.flatnonzero(junk)
    return All(of=(kept, Not(of=Rows(rows=tuple(rows.tolist()))))) if len(rows) else kept


def groups_of(table: RunColumns, kept: NDArray[np.bool_], column: str) -> list[Group]:
    """One for each value of a column among the particles in use, those with most set aside first."""
    from scipy.stats import binom

    used = table.used
    names = [name for name in MEANS if name in table.names]
    found = table.columns(frozenset({column, *names}))
    values, code = np.unique(found[column][used].astype(str), return_inverse=True)
    sizes = np.bincount(code)
    aside = np.bincount(code, ~kept[used]).astype(int)
    p = holm(binom.sf(aside - 1, sizes, aside.sum() / max(int(sizes.sum()), 1)))
    sums = {name: np.bincount(code, np.nan_to_num(found[name][used])) / sizes for name in names}
    order = np.lexsort((-sizes, -aside / sizes))
    return [
        Group(
            str(values[at]), int(sizes[at]), int(aside[at]), float(p[at]),
            {name: float(sums[name][at]) for name in names},
        )
        for at in order
    ]  # fmt: skip


def dependences_of(
    table: RunColumns, kept: NDArray[np.bool_]
) -> tuple[tuple[Association, ...], list[Known], NDArray[np.float64]]:
    """Every confirmed coordinate of the kept particles against every covariate that there is; (N, k) coordinates.

    Of symmetry copies the first is taken: the others show the same image.
    """
    names = [f"z{k + 1}" for k in range(table.sizes.confirmed) if f"z{k + 1}" in table.names]
    if not names:
        return (), [], np.zeros((len(kept), 0))
    columns = table.columns(frozenset(names))
    coordinates = np.stack([columns[name] for name in names], axis=1)
    coordinates[~kept] = np.nan
    coordinates[table.source_rows :] = np.nan
    known = list(_covariates(table))
    return associations(coordinates, [one.covariate for one in known]), known, coordinates


def _covariates(table: RunColumns) -> Iterator[Known]:
    particles, columns = table.particles, set(table.names)
    micrograph = particles.micrograph
    if (micrograph >= 0).any():
        yield Known(Covariate("micrograph", micrograph, many=True))
    yield Known(Covariate("optics group", particles.optics_group, many=True))
    defocus = 0.5e-4 * (particles.ctf.defocus_u_angstrom + particles.ctf.defocus_v_angstrom)
    yield _number("defocus", defocus, " (µm)", micrograph)
    views, middles = views_of(particles.rotations[:, 2, :]), even_directions(VIEWS)
    degrees = np.rad2deg(np.stack([np.arctan2(middles[:, 1], middles[:, 0]), np.arccos(middles[:, 2])], axis=1))
    yield Known(Covariate("view", views), degrees[views], "rot (degrees)|tilt (degrees)")
    yield _number("contrast", table.columns(frozenset({"contrast"}))["contrast"], "", micrograph)
    for pair in PLACES:
        if columns.issuperset(pair):
            found = table.columns(frozenset(pair))
            places = np.stack([np.asarray(found[name], dtype=float) for name in pair], axis=1)
            yield Known(Covariate("place in the micrograph", places_of(places)), places, "x|y")
            break
    if (micrograph >= 0).any():
        moment, unit = _time(table)
        yield _number("time", moment, unit, micrograph)


def _number(name: str, values: NDArray[np.float64], unit: str, micrograph: NDArray[np.int64]) -> Known:
    units = shared_units(values, micrograph)
    measured = len(values) if units is None else len(np.unique(units))
    groups = bins_of(values, max(2, min(BINS, measured // (2 * FEWEST))))
    return Known(Covariate(name, groups, units=units), np.asarray(values, dtype=float), unit)


def _time(table: RunColumns) -> tuple[NDArray[np.float64], str]:
    """(N,) hours since the first micrograph where names tell it, else the micrographs' order in the file."""
    names = table.columns(frozenset({"micrograph"}))["micrograph"].astype(str)
    unique, code = np.unique(names, return_inverse=True)
    matches = [TAKEN.search(name) for name in unique.tolist()]
    if all(matches):
        moments = np.array([_moment(*match.groups()) for match in matches if match])
        return ((moments - moments.min()) / np.timedelta64(1, "h"))[code], " (hours)"
    first = np.full(len(unique), len(code))
    np.minimum.at(first, code, np.arange(len(code)))
    return np.argsort(np.argsort(first)).astype(float)[code], " (order of micrographs)"


def _moment(day: str, clock: str) -> np.datetime64:
    return np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}")
