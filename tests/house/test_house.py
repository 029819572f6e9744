"""Rules of the house that no linter knows: sizes, and pages that name tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for place in ("shared", "services") for path in (ROOT / place).rglob("*.py"))
LONGEST_MODULE, LONGEST_FUNCTION = 300, 60


def test_a_module_is_one_idea() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in long.items() if lines > LONGEST_MODULE} == {}


def test_a_function_fits_a_screen() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    assert {name: lines for name, lines in long.items() if lines > LONGEST_FUNCTION} == {}


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
