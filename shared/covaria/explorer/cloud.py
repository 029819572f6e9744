"""The particles as the page draws them: each column in two bytes, all in one random order that never changes.

A value is low + (high - low) code / LEVELS; a category's code is the value itself; MISSING where there is none. Because
the order is random, the first rows are a fair preview of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.results.latents import read_latents
from covaria.selection.columns import RunColumns
from covaria.tree import Tree

LEVELS, MISSING = 65534, 65535
SEED = 0
CHUNK = 200_000
Codes = NDArray[np.uint16]

SHOWN: Mapping[str, str] = {
    "umap1": "UMAP 1",
    "umap2": "UMAP 2",
    "contrast": "contrast",
    "defocus_u_angstrom": "defocus U (Å)",
    "residual": "residual power",
    "noise_level": "noise level",
    "p_empty": "P(empty)",
    "p_outlier": "P(outlier)",
    "weight": "weight in sums",
    "cluster": "cluster",
    "half_set": "half-set",
    "optics_group": "optics group",
}
"""Columns that a selection can name, beside the latent coordinates z1, z2 ..., and their labels."""
DERIVED = ("_error", "_correlation")
MOST_ERROR = 2.0
"""Standard deviations of the motion; with its prior no coordinate is known worse than 1."""
CATEGORIES = ("cluster", "half_set", "optics_group", "micrograph_number")


@dataclass(frozen=True)
class Column:
    """selectable: whether a selection can name it."""

    name: str
    label: str
    low: float
    high: float
    selectable: bool
    category: bool = False


class Cloud:
    """The particles that a run used.

    zdim: of the coordinates that errors are told of; confirmed: how many of them are drawn; most: particles, a fair
    sample where there are more.
    """

    def __init__(self, tree: Tree, table: RunColumns, zdim: int, confirmed: int, most: int | None = None) -> None:
        self.tree, self.table, self.zdim, self.confirmed, self.most = tree, table, zdim, confirmed, most
        self._kept: dict[str, tuple[Column, Codes]] = {}

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(n,) row of each drawn particle, in the order of every column."""
        return np.random.default_rng(SEED).permutation(np.flatnonzero(self.table.used))[: self.most]

    @cached_property
    def names(self) -> list[str]:
        """Every column, coordinates first."""
        latent = [f"z{k + 1}" for k in range(self.confirmed)]
        known = [name for name in SHOWN if name in self.table.own_names]
        errors = [f"{name}_error" for name in latent]
        pairs = [f"z{i + 1}_z{j + 1}_correlation" for i in range(self.confirmed) for j in range(i + 1, self.confirmed)]
        return [*latent, *known, "micrograph_number", *errors, *pairs]

    def column(self, name: str) -> Column:
        if name.endswith(DERIVED) and name in self.names:  # known before it is computed
            return Column(name, _label(name), *self._span(name), selectable=False)
        return self._made(name)[0]

    def codes(self, name: str) -> Codes:
        """(n,) little-endian. Raises InvalidInput for a column that is not there."""
        return self._made(name)[1]

    def _made(self, name: str) -> tuple[Column, Codes]:
        if name not in self._kept:
            if name not in self.names:
                raise InvalidInput(f"no column {name!r}", file=self.tree.out, hint=f"known: {', '.join(self.names)}")
            self._kept[name] = self._make(name)
        return self._kept[name]

    def _make(self, name: str) -> tuple[Column, Codes]:
        values = np.asarray(self._values(name), dtype=float)
        if name.endswith(DERIVED):
            codes, low, high = quantised(values, *self._span(name))
            return Column(name, _label(name), low, high, selectable=False), codes
        selectable = name in self.table.own_names
        if name in CATEGORIES:
            codes = np.where(values >= 0, np.minimum(values, LEVELS), MISSING).astype("<u2")
            return Column(name, _label(name), 0.0, float(LEVELS), selectable, category=True), codes
        codes, low, high = quantised(values)
        return Column(name, _label(name), low, high, selectable), codes

    def _values(self, name: str) -> NDArray[Any]:
        """(n,) in the drawn order."""
        if name.endswith(DERIVED):
            return self._errors[name]
        whole = self.table.particles.micrograph if name == "micrograph_number" else self._column(name)
        return whole[self.rows]

    def _column(self, name: str) -> NDArray[Any]:
        return self.table.columns(frozenset([name]))[name]

    @staticmethod
    def _span(name: str) -> tuple[float, float]:
        return (0.0, MOST_ERROR) if name.endswith("_error") else (-1.0, 1.0)

    @cached_property
    def _errors(self) -> dict[str, NDArray[np.float32]]:
        """Posterior standard deviation of each coordinate, in those of the motion, and correlations of the errors."""
        precision = read_latents(self.tree, self.zdim).precision
        scale = self.table.sizes.deviations[: self.confirmed]
        kept = np.full((len(self.rows), self.confirmed, self.confirmed), np.nan, np.float32)
        for start in range(0, len(self.rows), CHUNK):
            block = np.asarray(precision[self.rows[start : start + CHUNK]], dtype=float)
            sound = np.isfinite(block).all(axis=(1, 2))
            inverse = np.linalg.pinv(block[sound], hermitian=True)[:, : self.confirmed, : self.confirmed]
            kept[start : start + CHUNK][sound] = inverse / (scale[:, None] * scale)
        spread = np.sqrt(np.maximum(np.diagonal(kept, axis1=1, axis2=2), 0))
        found = {f"z{k + 1}_error": spread[:, k] for k in range(self.confirmed)}
        for i in range(self.confirmed):
            for j in range(i + 1, self.confirmed):
                both = np.maximum(spread[:, i] * spread[:, j], 1e-30)
                found[f"z{i + 1}_z{j + 1}_correlation"] = np.clip(kept[:, i, j] / both, -1, 1)
        return found


def quantised(
    values: NDArray[np.float64], low: float | None = None, high: float | None = None
) -> tuple[Codes, float, float]:
    """(codes (n,), low, high) of numbers, NaN and infinities as MISSING.

    low, high: of the codes, where they are given; numbers beyond them are drawn there.
    """
    known = np.isfinite(values)
    if low is None or high is None:
        low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 1.0)
    span = high - low or 1.0
    codes = np.full(len(values), MISSING, "<u2")
    codes[known] = np.rint((np.clip(values[known], low, low + span) - low) * (LEVELS / span))
    return codes, low, low + span


def _label(name: str) -> str:
    if name in SHOWN:
        return SHOWN[name]
    if name == "micrograph_number":
        return "micrograph (number)"
    if name.endswith("_error"):
        return f"error of {name[:-6]} (sd)"
    if name.endswith("_correlation"):
        return f"correlation of the errors of {' and '.join(name.split('_')[:2])}"
    return f"component {name[1:]} (sd)"
