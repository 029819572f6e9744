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


BUILT = ("view/static", "view/notebook", "report/static")
LIBRARY = STATIC.parents[1]


def test_every_built_file_goes_into_the_wheel() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    data = project["tool"]["setuptools"]["package-data"]
    packed = {
        path
        for package in ("view", "report")
        for pattern in data[f"covaria.{package}"]
        for path in (LIBRARY / package).glob(pattern)
        if path.is_file()
    }
    assert packed == {path for folder in BUILT for path in (LIBRARY / folder).rglob("*") if path.is_file()} != set()


def test_the_built_files_are_those_of_the_lock_file(tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no Node.js on this machine")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node.js {OLDEST_NODE} or newer is needed, {version.strip()} found")
    source = tmp_path / "view" / "page"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("node_modules"))
    for command in (["ci", "--no-audit", "--no-fund", "--prefer-offline"], ["run", "build"]):
        subprocess.run([npm, *command], cwd=source, check=True, capture_output=True, timeout=280)
    for folder in BUILT:
        built, here = tmp_path / folder, LIBRARY / folder
        names = sorted(path.relative_to(built) for path in built.rglob("*"))
        assert names == sorted(path.relative_to(here) for path in here.rglob("*"))
        for name in names:
            if (here / name).is_file():
                assert filecmp.cmp(here / name, built / name, shallow=False), f"{folder}/{name}: run `make page`"
