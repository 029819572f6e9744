"""Tilt series: which images of a particle are used, and what the options say of their dose and angle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.metadata import Metadata
from covaria.request.model import IngestOptions

LISTED = 5


def with_tilts(
    metadata: Metadata, used: NDArray[np.bool_], options: IngestOptions
) -> tuple[Metadata, NDArray[np.bool_]]:
    """The options for tilt series applied, half-sets whole by particle, and which rows are left of `used` (N,).

    Raises InvalidInput where the options are given for other images, contradict the file, or a tilt is there twice.
    """
    particle = metadata.particle
    if particle is None:
        given = [name for name in ("ntilts", "dose_per_tilt", "angle_per_tilt") if getattr(options, name) is not None]
        if given:
            raise InvalidInput(
                f"--{given[0].replace('_', '-')} is for tilt series, and these images are independent",
                file=metadata.source,
                hint="leave it out, or give particles with _rlnGroupName, dose and tilt",
            )
        return metadata, used
    _refuse_doubled(metadata, particle, used)
    order = _order(metadata, particle)
    if options.dose_per_tilt is not None or options.angle_per_tilt is not None:
        metadata = _completed(metadata, order, options)
    if options.ntilts is not None:
        rank = _rank_within(particle, order, used)
        used = used & (rank < options.ntilts)
    return _noted(_with_whole_halves(metadata, particle), particle, used), used


def _order(metadata: Metadata, particle: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) the place of each tilt in the order of its particle's exposure: by dose, else as the file has them."""
    dose = metadata.dose if metadata.dose is not None else metadata.ctf.get("b_factor_angstrom2")
    key = np.zeros(metadata.count) if dose is None else np.nan_to_num(dose)
    return _rank_within(particle, key, np.ones(metadata.count, dtype=bool))


def _rank_within(particle: NDArray[np.int64], key: NDArray[np.generic], used: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N,) how many used rows of the same particle come before, by key and then by row."""
    rank = np.zeros(len(particle), dtype=np.int64)
    rows = np.flatnonzero(used)
    rows = rows[np.lexsort((rows, key[rows], particle[rows]))]
    first = np.concatenate([[True], particle[rows][1:] != particle[rows][:-1]])
    start = np.maximum.accumulate(np.where(first, np.arange(len(rows)), 0))
    rank[rows] = np.arange(len(rows)) - start
    return rank


def _completed(metadata: Metadata, order: NDArray[np.int64], options: IngestOptions) -> Metadata:
    """Dose and cosine from the order of the tilts: 0, +a, -a, +2a, -2a .. each after one more dose."""
    ctf = dict(metadata.ctf)
    if options.dose_per_tilt is not None:
        if metadata.dose is not None or "b_factor_angstrom2" in ctf:
            raise InvalidInput("says the dose of each tilt", file=metadata.source, hint="leave --dose-per-tilt out")
        metadata = replace(metadata, dose=(order * options.dose_per_tilt).astype(np.float64))
    if options.angle_per_tilt is not None:
        if "scale" in ctf:
            raise InvalidInput("says the scale of each tilt", file=metadata.source, hint="leave --angle-per-tilt out")
        ctf["scale"] = np.cos(np.deg2rad(options.angle_per_tilt * np.ceil(order / 2)))
    return replace(metadata, ctf=ctf)


def _refuse_doubled(metadata: Metadata, particle: NDArray[np.int64], used: NDArray[np.bool_]) -> None:
    if metadata.stack_of_row is None or metadata.image_of_row is None:
        return
    rows = np.flatnonzero(used)
    keys = np.stack([particle[rows], metadata.stack_of_row[rows], metadata.image_of_row[rows]])
    order = np.lexsort(keys)
    same = np.all(keys[:, order][:, 1:] == keys[:, order][:, :-1], axis=0)
    if same.any():
        row = int(rows[order[1:][same]].min())
        raise InvalidInput(
            "this tilt of its particle is there twice",
            file=metadata.source,
            row=row + 1,
            column=metadata.named("image"),
            hint="remove the row, or leave it out with --ind",
        )


def _with_whole_halves(metadata: Metadata, particle: NDArray[np.int64]) -> Metadata:
    """Every tilt in the half-set of its particle's first."""
    half = metadata.half_set
    if half is None:
        return metadata
    first = np.unique(particle, return_index=True)[1]
    whole = half[first][particle]
    moved = np.unique(particle[(whole != half)])
    if not len(moved):
        return metadata
    note = f"{len(moved)} particles have tilts in both half-sets: all follow the particle's first"
    return replace(metadata, half_set=whole).with_notes(note)


def _noted(metadata: Metadata, particle: NDArray[np.int64], used: NDArray[np.bool_]) -> Metadata:
    counts = np.unique(particle[used], return_counts=True)[1]
    if not len(counts):
        return metadata
    most = int(counts.max())
    fewer = int(np.count_nonzero(counts < most))
    note = f"tilt series: {len(counts)} particles of up to {most} tilts"
    return metadata.with_notes(note + (f"; {fewer} have fewer" if fewer else ""))
