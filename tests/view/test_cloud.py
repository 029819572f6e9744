"""Columns in two bytes: what is read back, what is missing, in which order."""

from __future__ import annotations

import json

import numpy as np
import pytest

from covaria.errors import InvalidInput, MissingFile
from covaria.estimation.latents.model import Latents
from covaria.explorer.cloud import LEVELS, MISSING, quantised
from covaria.explorer.run_files import RunFiles
from covaria.results.confirmed import load_latents
from covaria.results.latents import read_latents, write_latents
from covaria.tree import Tree


def test_codes_are_within_half_a_step() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    values[[3, 5]] = np.nan, np.inf
    codes, low, high = quantised(values)
    assert codes[3] == codes[5] == MISSING and (codes == MISSING).sum() == 2
    known = codes != MISSING
    read = low + (high - low) * codes[known] / LEVELS
    assert np.abs(read - values[known]).max() <= 0.5001 * (high - low) / LEVELS


@pytest.mark.parametrize("values", [np.full(4, np.nan), np.full(4, 7.0), np.zeros(0)])
def test_columns_without_spread_or_without_values(values: np.ndarray) -> None:
    codes, low, high = quantised(values)
    assert high > low and len(codes) == len(values)
    assert (codes == np.where(np.isnan(values), MISSING, 0)).all()


def test_the_page_reads_the_run_s_own_values(finished: Tree) -> None:
    run = RunFiles(finished.out)
    described = json.loads(run.read("run.json"))
    rows = np.frombuffer(run.read("rows.u32"), "<u4")
    assert sorted(rows) == list(range(len(rows))) and (np.diff(rows.astype(int)) < 0).any()
    latents = load_latents(finished, 3)
    points = latents.in_deviations(latents.coordinates)
    for k, column in enumerate(described["columns"][:2]):
        assert column["name"] == f"z{k + 1}"
        codes = np.frombuffer(run.read(f"columns/z{k + 1}.u16"), "<u2")
        read = column["low"] + (column["high"] - column["low"]) * codes / LEVELS
        assert np.abs(read - points[rows, k]).max() < 1e-4
    errors = np.frombuffer(run.read("columns/z1_error.u16"), "<u2")
    column = next(one for one in described["columns"] if one["name"] == "z1_error")
    precision = read_latents(finished, 3).precision
    expected = np.sqrt(np.linalg.inv(precision.astype(float))[:, 0, 0]) / latents.deviations[0]
    assert np.allclose(column["low"] + (column["high"] - column["low"]) * errors / LEVELS, expected[rows], rtol=1e-4)


def test_coordinates_are_of_the_dimension_that_was_analysed(copied: Tree) -> None:
    """A run stores several; they differ by some tenths of a standard deviation."""
    known = read_latents(copied, 3)
    for zdim in (1, 4):
        shape = (len(known.coordinates), zdim)
        other = Latents(np.full(shape, 9, np.float32), np.ones((*shape, zdim), np.float32), known.contrasts)
        write_latents(copied, other, other)
    run = RunFiles(copied.out)
    latents = load_latents(copied, 3)
    expected = latents.in_deviations(latents.coordinates)
    for k in range(2):
        assert np.allclose(run.table.columns(frozenset([f"z{k + 1}"]))[f"z{k + 1}"], expected[:, k])


def test_every_name_is_read_and_no_other(finished: Tree) -> None:
    run = RunFiles(finished.out)
    assert all(len(run.read(name)) for name in run.names())
    for name in ("columns/z3.u16", "maps/32_0.rgba", "../first/job.json", "states/9_64.u8", "nothing"):
        with pytest.raises((MissingFile, InvalidInput)):
            run.read(name)
