"""Fractions of floors that were reached, kept in floors.json: a bench fails when one of them falls by a fifth."""

from __future__ import annotations

import json
from pathlib import Path

KEPT = Path(__file__).with_name("floors.json")
LOSS = 0.2


class Floors:
    """Fractions by name, as measured now and as kept."""

    def __init__(self, group: str, kept: Path = KEPT) -> None:
        self.group, self.path = group, kept
        self.measured: dict[str, float] = {}

    def add(self, name: str, fraction: float) -> None:
        self.measured[name] = round(fraction, 4)

    def hold(self) -> list[str]:
        """What has fallen by more than a fifth, or is not kept yet; a line each."""
        known = self._read().get(self.group, {})
        fallen = [
            f"{name}: {fraction:.3f} of the floor, was {known[name]:.3f}"
            for name, fraction in self.measured.items()
            if name in known and fraction < (1 - LOSS) * known[name]
        ]
        return fallen + [f"{name}: no fraction is kept (--keep)" for name in self.measured if name not in known]

    def keep(self) -> None:
        """Write what was measured over what was kept."""
        whole = self._read()
        whole[self.group] = whole.get(self.group, {}) | self.measured
        self.path.write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n")

    def _read(self) -> dict[str, dict[str, float]]:
        return dict(json.loads(self.path.read_text())) if self.path.is_file() else {}
