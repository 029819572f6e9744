"""The Dockerfile's promises that can be kept to without a container engine; `make stack-smoke` builds and runs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from deployment import REPOSITORY

from covaria.request.stages import STAGES

DOCKERFILE = (REPOSITORY / "docker" / "Dockerfile").read_text()

FORBID = """
import importlib, sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden!r}:
            raise ModuleNotFoundError(f"{{name}} is not in the {image} image")
sys.meta_path.insert(0, Forbid())
import pkgutil
for package in {packages!r}:
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(module.__path__, package + "."):
        importlib.import_module(found.name)
"""

TORCH = {"torch", "triton", "numba", "sklearn", "skimage", "umap"}


def imports(image: str, packages: list[str], forbidden: set[str]) -> subprocess.CompletedProcess[str]:
    code = FORBID.format(forbidden=sorted(forbidden), image=image, packages=packages)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("image", "packages", "forbidden"),
    [
        ("ingest", ["covaria_ingest", "covaria.worker", "covaria.bus", "covaria.cli"], TORCH | {"matplotlib"}),
        ("gateway", ["covaria.gateway"], TORCH | {"matplotlib", "mrcfile", "starfile", "pandas", "scipy"}),
        ("density", ["covaria_density", "covaria.worker", "covaria.bus"], TORCH | {"mrcfile", "starfile", "pandas"}),
    ],
)
def test_light_images_can_import_all_they_run(image: str, packages: list[str], forbidden: set[str]):
    done = imports(image, packages, forbidden)
    assert done.returncode == 0, done.stderr


def test_the_import_check_can_fail():
    done = imports("ingest", ["covaria_reconstruction"], TORCH)
    assert "torch is not in the ingest image" in done.stderr


def test_a_target_for_each_service_runs_its_worker_as_nobody_special():
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.M)[1:]
    targets = {re.search(r" AS (\w+)", stage.splitlines()[0]).group(1): stage for stage in stages}  # type: ignore[union-attr]
    assert set(STAGES) <= set(targets)
    for stage in STAGES:
        assert f'CMD ["worker", "{stage}"]' in targets[stage]
        assert re.findall(r"^USER (\S+)", targets[stage], flags=re.M)[-1] == "10001:10001"
        file = f"--requirement /build/{stage}.txt"
        assert file in targets[stage] or file in targets["torch"], "installs the requirements of its name"
    assert 'ENTRYPOINT ["tini", "--", "covaria"]' in targets["common"]
    assert 'CMD ["gateway"]' in targets["gateway"] and targets["gateway"].startswith("common ")
    for light in ("ingest", "density"):
        assert targets[light].startswith("common "), "must not be made from an image with torch"


def test_pip_takes_nothing_but_listed_wheels():
    installs = re.findall(r"pip (install|wheel) ((?:[^\n&;\\]|\\\n)*)", DOCKERFILE)
    assert len(installs) >= 9
    for command, words in installs:
        checked = "--no-deps --require-hashes --only-binary :all: --requirement /build/" in words
        own = "--no-deps" in words and (
            "/wheel/covaria-" in words or (command == "wheel" and "--no-build-isolation" in words)
        )
        chosen = '--index-url "${TORCH_INDEX}" torch' in words and "--constraint /build/constraints.txt" in words
        assert checked or own or chosen, f"pip {command} {words}"
    files = set(re.findall(r"--requirement /build/(\w+)\.txt", DOCKERFILE))
    assert files == {path.stem for path in (REPOSITORY / "docker" / "requirements").glob("*.txt")}


def test_the_build_context_is_an_allow_list():
    lines = [
        line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {word for line in re.findall(r"^COPY ([^-].*)$", DOCKERFILE, flags=re.M) for word in line.split()[:-1]}
    assert all(any(word == name or word.startswith(f"{name}/") for name in allowed) for word in copied)
    assert all(any(word == name or word.startswith(f"{name}/") for word in copied) for name in allowed)
    for name in allowed:
        assert (REPOSITORY / name).exists()


def test_hadolint_is_content():
    done = subprocess.run(
        [sys.executable, "-c", "import shutil,subprocess,sys; sys.exit(subprocess.call([shutil.which('hadolint', "
         "path=sys.prefix + '/bin') or 'hadolint', 'docker/Dockerfile']))"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
