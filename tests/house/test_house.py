"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["conventions.md", "architecture.md"])
def test_what_a_page_names_is_there(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    named = re.findall(r"`(tests/[a-z_/]+\.py)?(?:::(test_\w+))?`", text)
    file = ""
    for path, test in named:
        file = path or file
        if file:
            assert (ROOT / file).is_file(), file
        if test:
            assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"
    for package in re.findall(r"`covaria\.([a-z_]+)`", text):
        place = ROOT / "shared" / "covaria" / package
        assert place.is_dir() or place.with_suffix(".py").is_file(), package
