"""A benchmark that can fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


def test_a_fraction_that_falls_by_a_fifth_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    from floors import Floors

    before = Floors("cpu", tmp_path / "floors.json")
    before.add("project", 0.30)
    before.add("E-step", 0.10)
    assert before.hold() == ["project: no fraction is kept (--keep)", "E-step: no fraction is kept (--keep)"]
    before.keep()
    now = Floors("cpu", tmp_path / "floors.json")
    now.add("project", 0.25)
    now.add("E-step", 0.07)
    assert now.hold() == ["E-step: 0.070 of the floor, was 0.100"]
    sys.modules.pop("floors")
