"""The committed page is what its source makes."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from covaria.view.routes import STATIC

SOURCE = STATIC.parent / "page"
OLDEST_NODE = 20


def test_every_built_file_goes_into_the_wheel() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["covaria.view"]
    packed = {path for pattern in patterns for path in STATIC.parent.glob(pattern) if path.is_file()}
    assert packed == {path for path in STATIC.rglob("*") if path.is_file()} != set()


def test_the_built_page_is_that_of_the_lock_file(tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no Node.js on this machine")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node.js {OLDEST_NODE} or newer is needed, {version.strip()} found")
    shutil.copytree(SOURCE, tmp_path / "page", ignore=shutil.ignore_patterns("node_modules"))
    for command in (["ci", "--no-audit", "--no-fund", "--prefer-offline"], ["run", "build"]):
        subprocess.run([npm, *command], cwd=tmp_path / "page", check=True, capture_output=True, timeout=280)
    built = sorted(path.relative_to(tmp_path / "static") for path in (tmp_path / "static").rglob("*"))
    assert built == sorted(path.relative_to(STATIC) for path in STATIC.rglob("*"))
    for name in built:
        if (STATIC / name).is_file():
            assert filecmp.cmp(STATIC / name, tmp_path / "static" / name, shallow=False), f"{name}: run `make page`"
