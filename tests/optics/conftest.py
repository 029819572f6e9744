"""A .cs of six particles beside its stack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from microscope import write_stack


@pytest.fixture
def workshop_of_cs(tmp_path) -> Callable[[dict[str, np.ndarray]], Path]:
    """cs(more columns) -> its path."""
    rng = np.random.default_rng(0)

    def cs(more: dict[str, np.ndarray]) -> Path:
        full = np.ones(6, "f4")
        columns = {
            "uid": np.arange(6, dtype="u8"), "blob/path": np.full(6, b"stack.mrcs"),
            "blob/idx": np.arange(6, dtype="u4"), "blob/shape": np.full((6, 2), 32, "u4"), "blob/psize_A": 2 * full,
            "ctf/df1_A": 15000 * full, "ctf/df2_A": 14000 * full, "ctf/df_angle_rad": 0.3 * full,
            "ctf/accel_kv": 300 * full, "ctf/cs_mm": 2.7 * full, "ctf/amp_contrast": 0.1 * full,
            "ctf/phase_shift_rad": 0 * full, "alignments3D/pose": rng.normal(size=(6, 3)).astype("f4"),
            "alignments3D/shift": rng.normal(size=(6, 2)).astype("f4"), **more,
        }  # fmt: skip
        table = np.zeros(6, [(name, values.dtype, values.shape[1:]) for name, values in columns.items()])
        for name, values in columns.items():
            table[name] = values
        write_stack(tmp_path / "stack.mrcs", rng.normal(size=(6, 32, 32)), 2.0)
        with (tmp_path / "particles.cs").open("wb") as file:
            np.save(file, table)
        return tmp_path / "particles.cs"

    return cs
