"""Latent coordinates that another program found, read as numbers: .npy, .pkl, .cs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE
from covaria.particles.cryosparc.table import CsTable
from covaria.pickles import load_pickle

MOST = 64
ONE_A_ROW = "one row of numbers for each particle: (N, d)"
COMPONENT = "components_mode_{}/value"
"""cryoSPARC's 3D variability: one column a component."""
MAX_BYTES = 16 << 30


@dataclass(frozen=True)
class ExternalLatents:
    """values (N, d) as the file has them; columns their names; uids (N,) of a .cs."""

    values: NDArray[np.float64]
    columns: tuple[str, ...]
    uids: NDArray[Any] | None = None


def read_external(path: Path) -> ExternalLatents:
    """Raises MissingFile, InvalidInput: not numbers, not (N, d), more than 64 columns."""
    suffix = path.suffix.lower()
    if suffix == ".cs":
        return _of_cs(path)
    if suffix == ".npy":
        with ANYWHERE.open(path, most_bytes=MAX_BYTES, hint=ONE_A_ROW) as file:
            try:
                values = np.load(file, allow_pickle=False)
            except (ValueError, EOFError, OSError) as error:
                raise InvalidInput("a damaged .npy file", file=path, hint="write it again with numpy.save") from error
    elif suffix == ".pkl":
        values = load_pickle(path, hint=ONE_A_ROW)
    else:
        raise InvalidInput(
            f"{suffix or 'no ending'}: not a kind of file that is read", file=path, hint=".npy, .pkl, .cs"
        )
    table = _checked(values, path)
    return ExternalLatents(table, tuple(f"z{k + 1}" for k in range(table.shape[1])))


def in_rows(found: ExternalLatents, used: NDArray[np.bool_], path: Path, source: Path) -> NDArray[np.float64]:
    """One row for each of the run's rows, NaN where it uses none: the file has all rows, or those in use, in order.

    A .cs beside a .cs is matched by uid. Raises InvalidInput that names a row.
    """
    total, values = len(used), found.values
    if found.uids is not None and source.suffix.lower() == ".cs":
        values = _by_uid(found, source, path)
    if len(values) == total:
        rows = values.copy()
        rows[~used] = np.nan
    elif len(values) == int(used.sum()):
        rows = np.full((total, values.shape[1]), np.nan)
        rows[used] = values
    else:
        raise InvalidInput(
            f"holds {len(values):,} rows; the run has {total:,}, of which {int(used.sum()):,} are in use",
            file=path,
            hint="give the latents of these very particles, in the order of the run's particle file",
        )
    bad = np.flatnonzero(used & ~np.isfinite(rows).all(1))
    if len(bad):
        raise InvalidInput("a number that is not finite", file=path, row=int(bad[0]) + 1, hint="leave the particle out")
    flat = np.flatnonzero(rows[used].std(0) <= 1e-9 * np.abs(rows[used]).max(0))
    if len(flat):
        raise InvalidInput("the same in all particles", file=path, column=found.columns[flat[0]], hint="leave it out")
    return rows


def _of_cs(path: Path) -> ExternalLatents:
    table = CsTable(path, (), ANYWHERE)
    names = [name for k in range(MOST) if (name := COMPONENT.format(k)) in table.names]
    if not names:
        shown = ", ".join(table.names[:12])
        raise InvalidInput(
            f"has no column {COMPONENT.format(0)}; it has {shown}", file=path, hint="a 3D variability job's"
        )
    columns = [table.numbers(name) for name in names]
    values = np.stack([column for column in columns if column is not None], 1)
    return ExternalLatents(_checked(values, path), tuple(names), table.get("uid"))


def _by_uid(found: ExternalLatents, source: Path, path: Path) -> NDArray[np.float64]:
    uids = CsTable(source, (), ANYWHERE).get("uid")
    if uids is None or found.uids is None:
        raise InvalidInput("has no uid", file=source, column="uid", hint="give .npy with the run's row order")
    order = np.argsort(found.uids)
    at = np.minimum(np.searchsorted(found.uids[order], uids), len(order) - 1)
    rows = found.values[order[at]].copy()
    rows[found.uids[order[at]] != uids] = np.nan
    return rows


def _checked(values: Any, path: Path) -> NDArray[np.float64]:
    array = np.asarray(values) if isinstance(values, (np.ndarray, list, tuple)) else np.zeros(0)
    if array.ndim == 1 and array.dtype.kind in "fiu":
        array = array[:, None]
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not 1 <= array.shape[1] <= MOST or len(array) == 0:
        raise InvalidInput(
            f"holds an array of shape {array.shape} and type {array.dtype}" if array.size else "holds no array",
            file=path,
            hint=f"{ONE_A_ROW}, d up to {MOST}",
        )
    return array.astype(np.float64)
