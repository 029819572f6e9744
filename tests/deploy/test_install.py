"""One line installs it: a wheel with all packages, data files and commands; every extra exists and is documented."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NOT_CODE = {".py", ".pyc"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("shared", "services"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", ".", "."]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    return zipfile.ZipFile(next(source.glob("covaria-*.whl")))


def test_the_wheel_holds_every_module_and_data_file(wheel: zipfile.ZipFile) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "shared", "services"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    expected = {name.split("/", 1)[1] for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    expected = {name for name in expected if not name.startswith("covaria/view/page/")}  # what static/ is built from
    held = set(wheel.namelist())
    assert {name for name in expected if Path(name).suffix not in NOT_CODE} - held == set()
    assert {name for name in expected if Path(name).suffix == ".py"} - held == set()
    assert "covaria/py.typed" in held and not any(name.startswith("tests") for name in held)


def test_its_metadata_name_command_stages_and_extras(wheel: zipfile.ZipFile) -> None:
    folder = next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
    points = wheel.read(f"{folder}/entry_points.txt").decode()
    assert "covaria = covaria.cli:main" in points
    for stage in ("ingest", "reconstruction", "density", "analysis"):
        assert f"{stage} = covaria_{stage}.stage:run" in points
    metadata = message_from_bytes(wheel.read(f"{folder}/METADATA"))
    assert set(metadata.get_all("Provides-Extra", [])) == set(EXTRAS)
    assert any(name.endswith("LICENSE") for name in wheel.namelist())


def test_all_holds_what_every_part_needs() -> None:
    """Extras name one another as covaria[a,b]; `all` reaches every one but the developers' and the services' own."""

    def reached(extra: str) -> set[str]:
        inner = {name for line in EXTRAS[extra] for name in _extras_in(line)}
        return {extra} | {name for one in inner for name in reached(one)}

    assert all(set(_extras_in(line)) <= set(EXTRAS) for lines in EXTRAS.values() for line in lines)
    assert reached("all") | {"dev", "gateway", "otel", "postgres"} == set(EXTRAS)
    needed = {re.split(r"[\[<>=;]", line)[0] for name in reached("all") for line in EXTRAS[name]} - {"covaria"}
    code = f"import importlib.metadata as m; [m.version(name) for name in {sorted(needed)!r}]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_names_the_extras_and_the_line() -> None:
    page = (ROOT / "docs" / "guide" / "install.md").read_text()
    parts = page.split("## Parts")[1]
    assert {name for name in re.findall(r"`([a-z]+)`", parts.split("\n## ")[0])} == set(EXTRAS) - {"files"}
    for text in (page, (ROOT / "README.md").read_text()):
        assert 'pip install "covaria[all]"' in text
    assert PROJECT["requires-python"] == ">=3.11" and "Python 3.11 or newer" in page


def _extras_in(line: str) -> list[str]:
    found = re.match(r"covaria\[([a-z,]+)\]", line)
    return found[1].split(",") if found else []
