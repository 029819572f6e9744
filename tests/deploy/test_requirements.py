"""docker/requirements agree with pyproject.toml and constraints.txt, and hold all that is needed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import re
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from deployment import REPOSITORY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = REPOSITORY / "docker" / "requirements"
FILES = sorted(path.stem for path in FOLDER.glob("*.txt"))


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docker_lock", REPOSITORY / "docker" / "lock.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def listed(name: str) -> dict[str, tuple[str, list[str]]]:
    """Package -> (version, hashes) of a requirements file."""
    text = (FOLDER / f"{name}.txt").read_text().replace("\\\n", "")
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r"([a-z0-9-]+)==(\S+)( ; [^-]+?)?((?: +--hash=sha256:[0-9a-f]{64})+)", line)
            assert match, f"{name}.txt: {line!r}"
            found[match[1]] = (match[2], re.findall(r"[0-9a-f]{64}", match[4]))
    return found


@pytest.mark.parametrize("name", FILES)
def test_versions_are_those_of_the_constraints(lock: ModuleType, name: str):
    pins = lock.read_pins(REPOSITORY / "constraints.txt")
    for package, (version, hashes) in listed(name).items():
        assert pins.get(package) == version, f"{package}: run `make requirements`"
        assert hashes and len(set(hashes)) == len(hashes)


def test_each_image_gets_all_that_its_extras_need(lock: ModuleType):
    """By the metadata of what is installed here; torch's own requirements stand in torch.txt."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert set(FILES) == {*lock.IMAGES, "build", "torch"}
    for image, extras in lock.IMAGES.items():
        there, with_torch = listed(image), listed("torch")
        todo = [Requirement(text) for text in lock.extra_requirements(project, extras)]
        seen: set[str] = set()
        while todo:
            requirement = todo.pop()
            name = canonicalize_name(requirement.name)
            if name in seen:
                continue
            seen.add(name)
            if name == "torch":
                assert name in with_torch and name not in there
                continue
            assert name in there, f"{image}.txt lacks {name}: run `make requirements`"
            assert requirement.specifier.contains(there[name][0]), f"{image}.txt: {requirement}"
            for text in importlib.metadata.requires(name) or []:
                needed = Requirement(text)
                environment = {**lock.environment("x86_64"), "extra": ""}
                if needed.marker is None or needed.marker.evaluate(environment):
                    todo.append(needed)
        assert set(there) <= seen, f"{image}.txt holds more than is needed: run `make requirements`"


def test_the_light_images_list_no_torch():
    for name in ("common", "ingest", "density"):
        assert not {"torch", "triton", "numba"} & set(listed(name))
    assert {"triton", "nvidia-cublas"} <= set(listed("torch"))


def wheel(name: str, version: str, requires: list[str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {text}" for text in requires)]
        archive.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join(lines) + "\n\n")
    return data.getvalue()


@pytest.fixture
def index(lock: ModuleType, monkeypatch: pytest.MonkeyPatch):
    """An index without a network: a needs b; b needs c, on x86_64 only, and with its extra d."""
    b = ["c; platform_machine == 'x86_64'", "d; extra == 'more'", "e; extra == 'x'"]
    data = {
        "a-1.0-py3-none-any.whl": wheel("a", "1.0", ["b[more]>=2"]),
        "b-2.0-py3-none-any.whl": wheel("b", "2.0", b),
        "c-3.0-cp311-cp311-manylinux_2_28_x86_64.whl": wheel("c", "3.0", []),
        "c-3.0-cp312-cp312-manylinux_2_28_x86_64.whl": b"of another Python",
        "c-3.0-cp311-cp311-manylinux_2_40_x86_64.whl": b"of a newer system",
        "d-4.0-py3-none-any.whl": wheel("d", "4.0", []),
        "d-4.0.tar.gz": b"source",
    }  # fmt: skip

    def get(self: object, url: str, accept: str = "*/*") -> bytes:
        if url.endswith(".metadata"):
            raise lock.urllib.error.HTTPError(url, 404, "not found", {}, None)  # type: ignore[arg-type]
        if url.endswith("/"):
            name = url.split("/")[-2]
            files = [
                {"filename": f, "url": f"https://files/{f}", "hashes": {"sha256": hashlib.sha256(data[f]).hexdigest()}}
                for f in data
                if f.startswith(f"{name}-")
            ]
            return json.dumps({"files": files}).encode()
        return data[url.rpartition("/")[2]]

    monkeypatch.setattr(lock.Index, "_get", get)
    return lock.Index("https://index")


PINS = {"a": "1.0", "b": "2.0", "c": "3.0", "d": "4.0"}


def test_a_closure_follows_extras_and_machines(lock: ModuleType, index, tmp_path: Path):
    packages = lock.closure(index, ["a"], PINS)
    assert {name: set(package.wheels) for name, package in packages.items()} == {
        "a": {"x86_64", "aarch64"},
        "b": {"x86_64", "aarch64"},
        "c": {"x86_64"},
        "d": {"x86_64", "aarch64"},
    }
    (only,) = packages["c"].wheels["x86_64"]
    assert only.name == "c-3.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    lock.write(tmp_path / "x.txt", packages)
    assert 'c==3.0 ; platform_machine == "x86_64" \\\n    --hash=sha256:' in (tmp_path / "x.txt").read_text()
    assert set(lock.closure(index, ["a"], PINS, frozenset({"b"}))) == {"a"}


@pytest.mark.parametrize(
    ("pins", "said"),
    [
        ({k: v for k, v in PINS.items() if k != "d"}, "constraints.txt has no version of d"),
        ({**PINS, "b": "1.0"}, "constraints.txt has b==1.0, but b.* is asked for"),
        ({**PINS, "c": "9.0"}, "c 9.0: .* has no wheel for CPython 3.11 on Linux x86_64"),
    ],
)
def test_what_cannot_be_locked_is_named(lock: ModuleType, index, pins: dict[str, str], said: str):
    with pytest.raises(LookupError, match=said):
        lock.closure(index, ["a"], pins)


def test_a_wheel_that_is_not_the_promised_one_is_refused(lock: ModuleType):
    promised = lock.Wheel("a-1.0-py3-none-any.whl", "https://files/a-1.0-py3-none-any.whl", "0" * 64)
    with pytest.raises(ValueError, match="is not the file whose hash the index gives"):
        lock.metadata_of(wheel("a", "1.0", []), promised)


def test_a_line_that_pins_nothing_is_refused(lock: ModuleType, tmp_path: Path):
    (tmp_path / "constraints.txt").write_text("# words\na==1.0\nb>=2\n")
    with pytest.raises(ValueError, match="line 3: 'b>=2' is not name==version"):
        lock.read_pins(tmp_path / "constraints.txt")
