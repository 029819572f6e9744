"""A built image: read only, without root; and as one file for Slurm, by the recipe.

COVARIA_TEST_IMAGE names an image of the analysis service that buildah holds (docker/README.md). Without it the density
image is built here, on a base from debootstrap, and what needs torch is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment import REPOSITORY

from covaria import __version__

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
GIVEN = os.environ.get("COVARIA_TEST_IMAGE", "")
BASE, BUILT = "localhost/covaria-test-base", "localhost/covaria-test-density"
READ_ONLY = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/tmp"
root=$1; shift
exec chroot --userspec=10001:10001 --groups=10001 "$root" "$@"
"""
LOOKS = """
import os, pathlib, sys
assert (os.getuid(), os.getgid()) == (10001, 10001)
for place in ("/", "/opt/covaria", "/etc", os.path.dirname(os.__file__)):
    try:
        pathlib.Path(place, "x").write_text("")
    except OSError as error:
        print(place, error.strerror)
    else:
        sys.exit(place + " can be written")
pathlib.Path("/tmp/x").write_text("")
import covaria_density.stage
"""


def done(*words: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    found = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert not check or found.returncode == 0, (words, found.stdout[-2000:], found.stderr[-4000:])
    return found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its name in buildah's storage."""
    for program in ("buildah", "debootstrap"):
        if not shutil.which(program):
            pytest.skip(f"no {program} here: apt-get install buildah debootstrap")
    if os.getuid():
        pytest.skip("building and mounting an image needs root")
    if GIVEN:
        return GIVEN
    base = tmp_path_factory.mktemp("base") / "root"
    done("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", base)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", base / "etc/ssl/certs")  # what reaches the package registries
    (base / "etc/pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
    container = done("buildah", "from", "scratch").stdout.strip()
    done("buildah", "copy", container, base, "/")
    done("buildah", "commit", "--rm", container, BASE)
    shutil.rmtree(base)
    words = ("--isolation", "chroot", "--network", "host", "--pull=never", "--build-arg", f"BASE_IMAGE={BASE}")
    file = REPOSITORY / "docker" / "Dockerfile"
    done("buildah", "bud", "--layers", *words, "--file", file, "--target", "density", "--tag", BUILT, REPOSITORY)
    return BUILT


@pytest.fixture
def root(image: str) -> Iterator[Path]:
    """Its files."""
    container = done("buildah", "from", "--pull-never", image).stdout.strip()
    yield Path(done("buildah", "mount", container).stdout.strip())
    done("buildah", "umount", container)
    done("buildah", "rm", container)


def test_it_runs_on_a_read_only_root_as_nobody_special(image: str, root: Path) -> None:
    config = json.loads(done("buildah", "inspect", "--type", "image", image).stdout)["OCIv1"]["config"]
    assert config["User"] == "10001:10001" and config["Entrypoint"][-1] == "covaria"
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    for words, said in (
        (["python3", "-c", LOOKS], "Read-only file system"),
        ([*config["Entrypoint"], "--version"], f"covaria {__version__}"),
    ):
        found = done("unshare", "--mount", "sh", "-c", READ_ONLY, "sh", root, *words, env=environment)
        assert said in found.stdout


def test_it_becomes_one_file_that_runs(image: str, tmp_path: Path) -> None:
    if not shutil.which("apptainer"):
        pytest.skip("no Apptainer here: Debian sid has it, apptainer.org says how else")
    if not GIVEN:
        pytest.skip("COVARIA_TEST_IMAGE names no image of the analysis service: docker/README.md")
    done("buildah", "push", image, f"oci-archive:{tmp_path}/covaria.tar")
    recipe, sif = REPOSITORY / "deploy" / "apptainer" / "covaria.def", tmp_path / "covaria.sif"
    given = ("--build-arg", "FROM=oci-archive", "--build-arg", f"IMAGE={tmp_path}/covaria.tar")
    done("apptainer", "build", *given, sif, recipe)
    inside = ("apptainer", "exec", "--bind", tmp_path, sif, "covaria")
    assert done(*inside, "--version").stdout == f"covaria {__version__}\n"
    done(*inside, "simulate", tmp_path / "set", "-n", "200", "-D", "16")
    done(*inside, "run", tmp_path / "set" / "particles.star", "-o", tmp_path / "out", "--only-mean", "--no-downsample")
    told = json.loads((tmp_path / "out" / "job.json").read_text())
    assert told["status"] == "succeeded" and told["environment"]["image"].endswith("covaria.tar")
