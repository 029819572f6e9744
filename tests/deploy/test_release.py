"""deploy/release with a docker, helm and cosign that note what they are told; the workflows' own rules."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment import CHART, REPOSITORY, pods
from helm_python import Chart

from covaria.request.stages import STAGES

STUB = """#!{python}
import hashlib, json, os, pathlib, sys
words = sys.argv[1:]
name = pathlib.Path(sys.argv[0]).name
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([name, *words]) + "\\n")
if name == "git":
    print("f" * 40)
elif words[:2] == ["buildx", "build"]:
    at = dict(zip(words, words[1:]))
    digest = "sha256:" + hashlib.sha256(at["--target"].encode()).hexdigest()
    pathlib.Path(at["--metadata-file"]).write_text(json.dumps({{"containerimage.digest": digest}}))
elif words[:3] == ["buildx", "imagetools", "inspect"]:
    sbom = os.environ.get("SBOM", '{{"linux/amd64": {{"SPDX": {{"spdxVersion": "SPDX-2.3"}}}}}}')
    print(sbom if ".SBOM" in words[-1] else "sha256:" + "b" * 64)
elif name == "helm" and words[0] == "package":
    import helm_python
    at = dict(zip(words, words[1:]))
    version = {{"version": at["--version"], "app_version": at["--app-version"]}}
    helm_python.package(words[1], destination=at["--destination"], **version)
elif name == "helm":
    print("Pushed: x\\nDigest: sha256:" + "c" * 64)
"""


def release(folder: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    stubs = folder / "bin"
    stubs.mkdir()
    for name in ("docker", "helm", "cosign", "git"):
        (stubs / name).write_text(STUB.format(python=sys.executable))
        (stubs / name).chmod(0o755)
    calls = folder / "calls"
    own = {**os.environ, "PATH": f"{stubs}:{os.environ['PATH']}", "CALLS": str(calls), **environment}
    command = [REPOSITORY / "deploy" / "release", "1.2.3", "registry.example.org/em", folder / "dist"]
    done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=120)
    return done, [json.loads(line) for line in calls.read_text().splitlines()]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    folder = tmp_path_factory.mktemp("release")
    done, calls = release(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist", calls


def test_each_image_is_built_for_two_machines_from_a_digest(released: tuple[Path, list[list[str]]]):
    builds = [call for call in released[1] if call[:3] == ["docker", "buildx", "build"]]
    targets = [call[call.index("--target") + 1] for call in builds]
    assert targets == ["ingest", "density", "reconstruction", "analysis", "gateway"]
    for call in builds:
        assert {"--sbom=true", "--provenance=mode=max", "--push", "linux/amd64,linux/arm64"} <= set(call)
        (base,) = (word for word in call if word.startswith("BASE_IMAGE="))
        assert re.fullmatch(r"BASE_IMAGE=docker.io/library/python:[\w.-]+@sha256:b{64}", base)


def test_what_is_pushed_is_signed_by_digest(released: tuple[Path, list[list[str]]]):
    signed = [call[-1] for call in released[1] if call[0] == "cosign"]
    assert len(signed) == len(STAGES) + 2
    assert all(
        re.fullmatch(r"registry\.example\.org/em/(charts/covaria|covaria-\w+)@sha256:[0-9a-f]{64}", s) for s in signed
    )


def images(chart: Chart, values: dict[str, Any]) -> set[str]:
    gateway = {**values.get("gateway", {}), "enabled": True, "tokenSecret": "who"}
    texts = chart.render({**values, "gateway": gateway}, name="covaria", namespace="em")
    documents = [d for p, t in texts.items() if p.endswith(".yaml") for d in yaml.safe_load_all(t) if d]
    return {container["image"] for _, pod in pods(documents) for container in pod["spec"]["containers"]}


def test_digests_are_values_and_the_published_chart_holds_them(released: tuple[Path, list[list[str]]], chart: Chart):
    folder, calls = released
    signed = {call[-1] for call in calls if call[0] == "cosign" and "/charts/" not in call[-1]}
    assert images(chart, yaml.safe_load((folder / "digests.yaml").read_text())) == signed
    digests = dict(line.split("=@") for line in (folder / "digests.env").read_text().splitlines())
    named = {name.split("_")[1].lower(): digest for name, digest in digests.items()}
    assert {f"registry.example.org/em/covaria-{service}@{digest}" for service, digest in named.items()} == signed
    assert {f"COVARIA_{service.upper()}_DIGEST" for service in (*STAGES, "gateway")} == digests.keys()
    with Chart.load(folder / "covaria-1.2.3.tgz") as published:
        assert images(published, {}) == signed
    with tarfile.open(folder / "covaria-1.2.3.tgz") as package:
        assert {"covaria/files/rules/covaria.yaml", "covaria/values.schema.json"} <= set(package.getnames())
    assert "digest:" not in (CHART / "values.yaml").read_text(), "the source names no release"
    for service in STAGES:
        assert json.loads((folder / f"sbom-{service}.json").read_text())["linux/amd64"]["SPDX"]
        packages = json.loads((folder / f"sbom-{service}.cdx.json").read_text())
        assert packages["metadata"]["component"] | {"version": "1.2.3"} == packages["metadata"]["component"]
        assert packages["components"]


def test_an_image_without_an_sbom_stops_the_release(tmp_path: Path):
    done, calls = release(tmp_path, SBOM="null")
    assert done.returncode != 0 and "has no SBOM" in done.stderr
    assert not any(call[0] == "helm" for call in calls)


WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yaml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_take_actions_by_commit_and_few_rights(path: Path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 240
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
            # What an outsider may name (a branch, a title) reaches no shell but through a variable.
            assert "${{" not in step.get("run", "")


def test_ci_runs_what_contributors_run():
    (job,) = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yaml").read_text())["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)


def test_scripts_that_workflows_and_make_name_exist():
    named = set()
    for path in [*WORKFLOWS, REPOSITORY / "Makefile"]:
        named |= set(
            re.findall(r"(?:^|[\s@])((?:deploy|docker|\.ci)/[\w.]+(?:\.py)?)(?=\s|$)", path.read_text(), flags=re.M)
        )
    assert {"deploy/release", "deploy/cluster.py", "docker/lock.py", ".ci/run"} <= named
    for name in named:
        assert (REPOSITORY / name).exists(), name


def test_release_says_how_it_is_used():
    done = subprocess.run([REPOSITORY / "deploy" / "release"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "deploy/release VERSION REGISTRY OUTPUT" in done.stderr
