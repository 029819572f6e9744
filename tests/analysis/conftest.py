"""Pictures of the analysis at a size that costs little: what they show is tested in tests/plots."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.figures import movies
from covaria.plots import style, surface


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movies, "PIXELS", 48)
    monkeypatch.setattr(movies, "TURNS", np.array([0, 180]))
    monkeypatch.setattr(surface, "FINER", 1)
    monkeypatch.setattr(style, "DPI", 40)
