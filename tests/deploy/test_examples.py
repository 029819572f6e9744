"""Each example runs under Pod Security `restricted`, and docs/deploy.md makes every secret and claim that it names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import helm_python
import kubernetes_validate
import pytest
import yaml
from deployment import (
    CHART,
    EXAMPLES,
    REPOSITORY,
    Document,
    example_values,
    needed_claims,
    needed_secrets,
    pod_security_level,
    pods,
)
from helm_python import Chart

STUB = """#!{python}
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(sys.argv) + "\\n")
print("5" * 48)
"""


def made_secrets(folder: Path) -> dict[str, set[str]]:
    """Secret -> keys that the shell steps of docs/deploy.md make, run with a kubectl that notes what it is told."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (REPOSITORY / "docs" / "deploy.md").read_text(), flags=re.M | re.S)
    stubs = folder / "bin"
    stubs.mkdir()
    for name in ("kubectl", "openssl", "python"):
        (stubs / name).write_text(STUB.format(python=sys.executable))
        (stubs / name).chmod(0o755)
    (folder / "registry-password").write_text("word")
    calls = folder / "calls"
    environment = {**os.environ, "PATH": f"{stubs}:{os.environ['PATH']}", "CALLS": str(calls)}
    script = "\n".join(blocks)
    subprocess.run(["bash", "-euc", script], cwd=folder, env=environment, check=True, capture_output=True, timeout=60)
    found: dict[str, set[str]] = {}
    for line in calls.read_text().splitlines():
        words = json.loads(line)[1:]
        if words[2:4] != ["create", "secret"]:
            continue
        keys = {match[1] for word in words if (match := re.match(r"--from-(?:literal|file)=([^=/]+)", word))}
        kind = {"tls": {"tls.crt", "tls.key"}, "docker-registry": {".dockerconfigjson"}, "generic": keys}
        assert kind[words[4]], line
        found[words[5]] = kind[words[4]]
    return found


def applied() -> list[Document]:
    """Documents of the examples that are no values."""
    names = ("volumes", "rabbitmq-cluster")
    return [d for name in names for d in yaml.safe_load_all((CHART / "examples" / f"{name}.yaml").read_text())]


def test_each_example_is_tested():
    there = {path.stem for path in (CHART / "examples").glob("*.yaml")}
    assert there == {*EXAMPLES, "volumes", "rabbitmq-cluster"} - {"defaults"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_accepted(chart: Chart, name: str):
    chart.validate_schema(example_values(name))


def test_every_secret_is_made_by_the_documented_steps(rendered: dict[str, list[Document]], tmp_path: Path):
    made = made_secrets(tmp_path)
    (cluster,) = (d for d in applied() if d["kind"] == "RabbitmqCluster")
    made[f"{cluster['metadata']['name']}-default-user"] = {"username", "password"}  # by the cluster operator
    assert cluster["spec"]["tls"]["secretName"] in made
    for name in EXAMPLES:
        for secret, keys in needed_secrets(rendered[name]).items():
            assert keys <= made.get(secret, set()), f"{name}: secret {secret} with {keys} is made by no step"


def test_every_claim_is_made_by_an_example(rendered: dict[str, list[Document]]):
    made = {d["metadata"]["name"] for d in applied() if d["kind"] == "PersistentVolumeClaim"}
    for name in EXAMPLES:
        needed = needed_claims(rendered[name])
        assert needed and needed <= made, name


def test_the_volumes_are_valid_and_bind():
    volumes = {d["metadata"]["name"]: d for d in applied() if d["kind"] == "PersistentVolume"}
    for document in applied():
        if document["kind"].startswith("PersistentVolume"):
            kubernetes_validate.validate(document, "1.31", strict=True)
        if document["kind"] == "PersistentVolumeClaim" and "volumeName" in document["spec"]:
            volume = volumes[document["spec"]["volumeName"]]["spec"]
            assert volume["claimRef"]["name"] == document["metadata"]["name"]
            assert volume["accessModes"] == document["spec"]["accessModes"]
            assert volume["capacity"]["storage"] == document["spec"]["resources"]["requests"]["storage"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_must_be_there_first_is_said(rendered: dict[str, list[Document]], name: str):
    if name == "defaults":
        return
    said = "".join(
        line for line in (CHART / "examples" / f"{name}.yaml").read_text().splitlines() if line.startswith("#")
    )
    for _, pod in pods(rendered[name]):
        for key in ("runtimeClassName", "priorityClassName"):
            assert pod["spec"].get(key, "") in said, (name, key)
    kinds = {document["kind"] for document in rendered[name]}
    assert "ScaledJob" not in kinds or "KEDA" in said
    assert "ServiceMonitor" not in kinds or re.search("Prometheus operator|user workload monitoring", said)


def test_every_pod_runs_under_restricted(documents: list[Document]):
    for name, pod in pods(documents):
        assert pod_security_level(pod["spec"]) == "restricted", name


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, "restricted"),
        ({"data": {"volumes": [{"name": "d", "mountPath": "/d", "csi": {"driver": "a.b"}}]}}, "restricted"),
        ({"data": {"volumes": [{"name": "d", "mountPath": "/d", "nfs": {"server": "a", "path": "/"}}]}}, "baseline"),
        ({"data": {"volumes": [{"name": "d", "mountPath": "/d", "hostPath": {"path": "/d"}}]}}, "privileged"),
        ({"services": {"analysis": {"scratch": {"hostPath": {"path": "/nvme"}}}}}, "privileged"),
    ],
)
def test_notes_say_which_level_the_volumes_ask_for(chart: Chart, changes: Document, level: str):
    texts = chart.render(changes, name="covaria", namespace="em")
    needed = {
        pod_security_level(pod["spec"])
        for path, text in texts.items()
        if path.endswith(".yaml")
        for _, pod in pods([document for document in yaml.safe_load_all(text) if document])
    }
    assert level in needed
    said = re.findall(r"pod-security.kubernetes.io/enforce=(\w+)", texts["covaria/templates/NOTES.txt"])
    assert said == ([] if level == "restricted" else [level])


def test_openshift_chooses_the_uid(rendered: dict[str, list[Document]]):
    for _, pod in pods(rendered["openshift"]):
        assert set(pod["spec"]["securityContext"]) == {"runAsNonRoot", "seccompProfile"}
    (policy,) = (
        d for d in rendered["openshift"] if d["kind"] == "NetworkPolicy" and d["metadata"]["name"].endswith("-allow")
    )
    dns = next(rule for rule in policy["spec"]["egress"] if {"port": 5353, "protocol": "UDP"} in rule["ports"])
    assert "to" not in dns, "a selector of pods would not match node-local DNS"


def test_nothing_beneath_charts_is_a_link():
    links = [path for path in (REPOSITORY / "charts").rglob("*") if path.is_symlink()]
    assert links == []
    for own, seen in (("files/rules", "prometheus/rules"), ("files/dashboards", "grafana/dashboards")):
        assert (REPOSITORY / "deploy" / seen).resolve() == (CHART / own).resolve()


@pytest.mark.parametrize("kind", ["rules", "dashboards"])
def test_a_copy_without_its_files_is_refused(tmp_path: Path, kind: str):
    copy = tmp_path / "covaria"
    shutil.copytree(CHART, copy)
    shutil.rmtree(copy / "files" / kind)
    with (
        Chart.load(copy) as chart,
        pytest.raises(helm_python.HelmError, match=rf"the chart has no files/{kind}/\*"),
    ):
        chart.render(example_values("gpu-node"), name="covaria", namespace="em")


def test_a_package_holds_the_files(tmp_path: Path):
    package = helm_python.package(str(CHART), destination=str(tmp_path))
    with Chart.load(package if isinstance(package, str) else next(tmp_path.glob("*.tgz"))) as chart:
        texts = chart.render(example_values("facility"), name="covaria", namespace="em")
    assert "CovariaParkingNotEmpty" in texts["covaria/templates/monitoring.yaml"]
