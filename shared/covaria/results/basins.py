"""density/data/basins.json: the stable states, what separates them, and the particles in them."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from covaria.errors import InvalidInput, MissingFile
from covaria.estimation.density.basins import LEAST_DEPTH_KT, Basins
from covaria.findings import Basin as Found
from covaria.opening import ANYWHERE
from covaria.shares import Share
from covaria.trajectory import read_density
from covaria.tree import DensityTree
from covaria.tree.atomic import save_npy, write_json

MOST_BYTES = 1 << 20
AGAIN = "run `covaria density` again"


class Basin(BaseModel):
    """A basin of the density."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    peak: tuple[float, ...]
    """Latent coordinates of its densest point, of the density's dimensions."""
    peak_sd: tuple[float, ...]
    """The same in standard deviations of the motion."""
    energy_kt: Annotated[float, Field(ge=0)]
    """Of the peak, above the densest point of all."""
    population: Share
    """Of the density's mass."""
    low: Share | None
    high: Share | None
    """Ends of the population's 90 % interval: the density of particles drawn again."""
    particles: Annotated[int, Field(ge=0)]
    """Whose estimates lie in it."""
    particle: Annotated[int, Field(ge=0)] | None
    """The row, from 0, of the one nearest to the peak: the most visited place's own image."""


class BasinTable(BaseModel):
    """The basins, the most populated first; barriers_kt[i][j] from i over the lowest pass to j, null: none known."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    least_depth_kt: Annotated[float, Field(gt=0)]
    basins: Annotated[tuple[Basin, ...], Field(min_length=1, max_length=100)]
    barriers_kt: tuple[tuple[float | None, ...], ...]

    def findings(self) -> tuple[Found, ...]:
        """What is said of them."""
        return tuple(
            Found(
                population=one.population, low=one.low, high=one.high,
                barrier_kt=min((cost for j, cost in enumerate(row) if j != i and cost is not None), default=None),
            )
            for i, (one, row) in enumerate(zip(self.basins, self.barriers_kt, strict=True))
        )  # fmt: skip

    @model_validator(mode="after")
    def _of_one_size(self) -> Self:
        count, dim = len(self.basins), {len(one.peak) for one in self.basins}
        if len(self.barriers_kt) != count or any(len(row) != count for row in self.barriers_kt) or len(dim) > 1:
            raise ValueError("its lists differ in length")
        return self


def basin_table(basins: Basins, coordinates: NDArray[np.float64], deviations: NDArray[np.float64]) -> BasinTable:
    """coordinates (N, >= d): the particles', NaN where left out; deviations (>= d,) of the motion along each axis."""
    dim, scale = basins.grid.dim, deviations[: basins.grid.dim]
    labels, places = basins.of(coordinates), coordinates[:, :dim] / scale
    found = []
    for number, peak in enumerate(basins.peaks):
        apart = np.where(labels == number, ((places - peak / scale) ** 2).sum(axis=1), np.inf)
        found.append(
            Basin(
                peak=tuple(peak.tolist()),
                peak_sd=tuple((peak / scale).tolist()),
                energy_kt=float(basins.energies_kt[number]),
                population=float(basins.populations[number]),
                low=_known(basins.low[number]),
                high=_known(basins.high[number]),
                particles=int((labels == number).sum()),
                particle=int(apart.argmin()) if np.isfinite(apart).any() else None,
            )
        )
    barriers = tuple(tuple(v if np.isfinite(v) else None for v in row) for row in basins.barriers_kt.tolist())
    return BasinTable(least_depth_kt=LEAST_DEPTH_KT, basins=tuple(found), barriers_kt=barriers)


def _known(value: float) -> float | None:
    return float(np.clip(value, 0, 1)) if np.isfinite(value) else None


def write_basins(tree: DensityTree, table: BasinTable, basins: Basins) -> None:
    """The table, and which grid point belongs to which basin."""
    write_json(tree.basins, table.model_dump(mode="json"))
    save_npy(tree.basin_labels, basins.labels.astype(np.int16))


def load_basins(tree: DensityTree) -> Basins:
    """What the density stage found. Raises MissingFile, InvalidInput."""
    table, grid = read_basins(tree), read_density(tree.knee)
    if not tree.basin_labels.is_file():
        raise MissingFile("is not there", file=tree.basin_labels, hint=AGAIN)
    try:
        labels = np.load(tree.basin_labels, allow_pickle=False)
    except (ValueError, OSError, EOFError):
        labels = np.zeros(0)
    count = len(table.basins)
    if labels.shape != grid.values.shape or labels.dtype.kind != "i" or not -1 <= labels.min() <= labels.max() < count:
        raise InvalidInput(f"does not hold {count} basins of the density's grid", file=tree.basin_labels, hint=AGAIN)
    energies = np.array([one.energy_kt for one in table.basins])
    barriers = np.array([[np.inf if cost is None else cost for cost in row] for row in table.barriers_kt])
    populations, low, high = (
        np.array([getattr(one, name) for one in table.basins], dtype=float) for name in ("population", "low", "high")
    )
    peaks = np.array([one.peak for one in table.basins])
    return Basins(grid, labels.astype(np.int64), peaks, populations, low, high, energies, barriers + energies[:, None])


def read_basins(tree: DensityTree) -> BasinTable:
    """Raises MissingFile, InvalidInput."""
    with ANYWHERE.open(tree.basins, most_bytes=MOST_BYTES, hint=AGAIN) as file:
        content = file.read()
    try:
        return BasinTable.model_validate_json(content)
    except ValidationError as error:
        raise InvalidInput(f"does not hold basins ({error.errors()[0]['msg']})", file=tree.basins, hint=AGAIN) from None
