"""A facility in memory for attacks: real services, no broker, no process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from covaria_memory_site import MemorySite


@pytest.fixture
def memory_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemorySite:
    """No power is cut from this machine while it runs: syncing to the disk would only cost time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    return MemorySite(tmp_path)
