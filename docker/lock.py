"""Write docker/requirements/*.txt: what each image installs, versions from constraints.txt, the hash of every wheel.

    python docker/lock.py [--index https://pypi.org/simple]

An image installs these files with `pip install --no-deps --require-hashes`, so nothing gets into it that is not listed
here. What the extras need is followed through the metadata that the index serves beside each wheel (PEP 658), for
CPython 3.11 on Linux, x86_64 and aarch64. A package without a version in constraints.txt, or without a wheel for one of
the two machines, is an error.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import sys
import tomllib
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass, field
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docker" / "requirements"
PYTHON = (3, 11)
GLIBC = 36
"""Minor version of Debian 12's glibc (2.36)."""
MACHINES = ("x86_64", "aarch64")

TORCH = "torch"
"""Installed by itself: builds for other devices come from other indexes."""

IMAGES = {
    "common": ["broker", "otel", "postgres"],
    "ingest": ["broker", "ingest"],
    "gateway": ["gateway"],
    "density": ["broker", "density"],
    "reconstruction": ["broker", "reconstruction"],
    "analysis": ["broker", "analysis", "view"],
}
"""File -> extras of pyproject.toml, whose requirements it holds without those that only torch has."""


@dataclass(frozen=True)
class Wheel:
    """A file of a release that fits a machine."""

    name: str
    url: str
    sha256: str


@dataclass(frozen=True)
class Package:
    """A pinned package, and its wheels for each machine that needs it."""

    name: str
    version: str
    wheels: dict[str, set[Wheel]] = field(default_factory=dict)


def extra_requirements(project: dict[str, object], extras: list[str]) -> list[str]:
    """Requirements of the project and of named extras, extras of extras included, in the order of the file."""
    name, table = project["name"], project["optional-dependencies"]
    assert isinstance(table, dict) and isinstance(project["dependencies"], list)
    found = list(project["dependencies"])
    for extra in extras:
        for entry in table[extra]:
            own = re.fullmatch(rf"{name}\[([a-z, ]+)\]", entry)
            found += extra_requirements(project, re.split(r", *", own[1])) if own else [entry]
    return list(dict.fromkeys(found))


def read_pins(path: Path) -> dict[str, str]:
    """Canonical name -> version of a constraints file. Raises ValueError for a line that is no `name==version`."""
    pins: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            name, equals, version = line.strip().partition("==")
            if not equals:
                raise ValueError(f"{path.name}, line {number}: {line!r} is not name==version")
            pins[canonicalize_name(name)] = version
    return pins


def environment(machine: str) -> dict[str, str]:
    """What markers are evaluated for."""
    version = ".".join(map(str, PYTHON))
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{version}.0",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{version}.0",
        "python_version": version,
        "sys_platform": "linux",
    }


def supported_tags(machine: str) -> frozenset[Tag]:
    """Tags of wheels that Debian 12's CPython 3.11 installs on a machine."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(5, GLIBC + 1)]
    platforms += [f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}", f"linux_{machine}"]
    interpreter = f"cp{PYTHON[0]}{PYTHON[1]}"
    own = cpython_tags(PYTHON, abis=[interpreter], platforms=platforms)
    return frozenset(own) | frozenset(compatible_tags(PYTHON, interpreter, platforms))


class Index:
    """A package index that speaks JSON (PEP 691)."""

    def __init__(self, url: str) -> None:
        if not url.startswith("https://"):
            raise ValueError(f"index {url}: only https is asked")
        self.url = url.rstrip("/")
        self.releases: dict[str, list[dict[str, object]]] = {}
        self.required: dict[str, list[Requirement]] = {}

    def wheels(self, name: str, version: str, machine: str) -> set[Wheel]:
        """Every wheel of a release that installs on a machine. Raises LookupError where there is none."""
        if name not in self.releases:
            self.releases[name] = json.loads(self._get(f"{self.url}/{name}/", "application/vnd.pypi.simple.v1+json"))[
                "files"
            ]
        tags, found = supported_tags(machine), set()
        for file in self.releases[name]:
            filename, hashes = str(file["filename"]), file["hashes"]
            assert isinstance(hashes, dict)
            if not filename.endswith(".whl") or f"-{version.split('+')[0]}" not in filename:
                continue
            _, found_version, _, wheel_tags = parse_wheel_filename(filename)
            if str(found_version) == version and wheel_tags & tags:
                found.add(Wheel(filename, str(file["url"]), hashes["sha256"]))
        if not found:
            raise LookupError(f"{name} {version}: {self.url} has no wheel for CPython 3.11 on Linux {machine}")
        return found

    def requirements(self, wheels: set[Wheel], environment: dict[str, str], extras: set[str]) -> list[Requirement]:
        """What a release, with extras, requires in an environment. All its wheels are taken to require the same."""
        wheel = min(wheels, key=lambda wheel: wheel.name)
        if wheel.url not in self.required:
            metadata = Parser().parsestr(self._metadata(wheel))
            self.required[wheel.url] = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
        return [
            needed
            for needed in self.required[wheel.url]
            if needed.marker is None or any(needed.marker.evaluate({**environment, "extra": e}) for e in ("", *extras))
        ]

    def _metadata(self, wheel: Wheel) -> str:
        """The file beside the wheel; some have none: then the wheel's own."""
        try:
            return self._get(f"{wheel.url}.metadata").decode()
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return metadata_of(self._get(wheel.url), wheel)

    def _get(self, url: str, accept: str = "*/*") -> bytes:
        request = urllib.request.Request(url, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=60) as answer:  # nosec B310
            data: bytes = answer.read()
            return data


def metadata_of(data: bytes, wheel: Wheel) -> str:
    """METADATA of a wheel's bytes. Raises ValueError where they are not those that the index promised."""
    if hashlib.sha256(data).hexdigest() != wheel.sha256:
        raise ValueError(f"{wheel.url} is not the file whose hash the index gives")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (name,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        return archive.read(name).decode()


def closure(
    index: Index, roots: list[str], pins: dict[str, str], without: frozenset[str] = frozenset()
) -> dict[str, Package]:
    """Every package that the roots need on any of the machines, but for those named `without` and what only they need.

    Raises LookupError for a package that constraints.txt does not pin, or whose pinned version a requirement excludes.
    """
    packages: dict[str, Package] = {}
    for machine in MACHINES:
        todo, seen = [Requirement(root) for root in roots], set()
        while todo:
            requirement = todo.pop()
            name = canonicalize_name(requirement.name)
            if name in without:
                continue
            if name not in pins:
                raise LookupError(f"constraints.txt has no version of {name}, which {requirement} asks for")
            if not requirement.specifier.contains(pins[name], prereleases=True):
                raise LookupError(f"constraints.txt has {name}=={pins[name]}, but {requirement} is asked for")
            if (name, *sorted(requirement.extras)) in seen:
                continue
            seen.add((name, *sorted(requirement.extras)))
            package = packages.setdefault(name, Package(name, pins[name]))
            package.wheels[machine] = index.wheels(name, pins[name], machine)
            todo += index.requirements(package.wheels[machine], environment(machine), requirement.extras)
    return packages


def write(path: Path, packages: dict[str, Package]) -> None:
    """A requirements file: name==version, a marker where only one machine needs it, a hash for each wheel."""
    lines = [
        "# Generated by `make requirements` (docker/lock.py) from pyproject.toml and constraints.txt; do not edit."
    ]
    for _, package in sorted(packages.items()):
        only = "" if set(package.wheels) == set(MACHINES) else f' ; platform_machine == "{min(package.wheels)}"'
        hashes = sorted({wheel.sha256 for wheels in package.wheels.values() for wheel in wheels})
        head = f"{package.name}=={package.version}{only}"
        lines += " \\\n    ".join([head, *(f"--hash=sha256:{sha256}" for sha256 in hashes)]).splitlines()
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", default="https://pypi.org/simple")
    index = Index(parser.parse_args().index)
    pins = read_pins(ROOT / "constraints.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    files = {"build": closure(index, project["build-system"]["requires"], pins)}
    for image, extras in IMAGES.items():
        roots = extra_requirements(project["project"], extras)
        files[image] = closure(index, roots, pins, frozenset({TORCH}))
    files[TORCH] = closure(index, [TORCH], pins)
    FOLDER.mkdir(exist_ok=True)
    for name, packages in files.items():
        write(FOLDER / f"{name}.txt", packages)
        print(f"docker/requirements/{name}.txt: {len(packages)} packages")


if __name__ == "__main__":
    try:
        main()
    except (LookupError, ValueError, OSError) as error:
        sys.exit(f"docker/lock.py: {error}")
