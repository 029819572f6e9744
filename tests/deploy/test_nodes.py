"""A job that several pods share: what the chart makes of gpu.nodes, and two workers that meet as its pods would."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import pytest
import yaml
from covaria_broker import BrokerServer, free_port
from covaria_site import OURS, open_site
from deployment import Document, example_values
from helm_python import Chart
from typer.testing import CliRunner

import covaria.cli
from covaria.maps import read_volume
from covaria.running import nodes
from covaria.running.nodes import Meeting

NODES = 3


@pytest.fixture(scope="module")
def shared(chart: Chart) -> list[Document]:
    """The facility's documents with a reconstruction of three pods."""
    values = copy.deepcopy(example_values("facility"))
    values["services"]["reconstruction"]["gpu"] = {"count": 4, "nodes": NODES}
    values["services"]["reconstruction"]["pools"]["live"]["gpu"] = {"count": 1, "nodes": 1}
    texts = chart.render(values, name="covaria", namespace="em")
    return [d for path, text in texts.items() if path.endswith(".yaml") for d in yaml.safe_load_all(text) if d]


def named(documents: list[Document], kind: str, name: str) -> Document:
    (found,) = (d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name)
    return found


def job_of(documents: list[Document]) -> Document:
    return named(documents, "ScaledJob", "covaria-reconstruction")["spec"]["jobTargetRef"]


def environment(documents: list[Document], index: int) -> dict[str, str]:
    """What a pod of the job reads, as Kubernetes makes it of names and annotations."""
    metadata = {
        "metadata.labels['batch.kubernetes.io/job-name']": "covaria-reconstruction-x7k2p",
        "metadata.annotations['batch.kubernetes.io/job-completion-index']": str(index),
    }
    found: dict[str, str] = {}
    for entry in job_of(documents)["template"]["spec"]["containers"][0]["env"]:
        text = entry["value"] if "value" in entry else metadata[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        for name, value in found.items():  # only what stands before
            text = text.replace(f"$({name})", value)
        found[entry["name"]] = text
    return found


@pytest.mark.parametrize("version", ["1.28", "1.31"])
def test_a_pod_for_each_node_in_one_indexed_job(shared: list[Document], version: str) -> None:
    job = job_of(shared)
    assert (job["parallelism"], job["completions"], job["completionMode"]) == (NODES, NODES, "Indexed")
    assert job["backoffLimit"] == 0
    kubernetes_validate.validate(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": copy.deepcopy(job)}, version,
        strict=True,
    )  # fmt: skip
    for kind, name in (("Service", "covaria-reconstruction-nodes"), ("NetworkPolicy", "covaria-reconstruction-nodes")):
        kubernetes_validate.validate(copy.deepcopy(named(shared, kind, name)), version, strict=True)
    (container,) = job["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4", "of each pod"
    assert not {"startupProbe", "livenessProbe"} & set(container), "the others serve no HTTP"
    ready = container["readinessProbe"]["httpGet"]["path"]
    assert ready == "/takenz", "KEDA counts a job as pending unless just one of its pods is ready: the first"


def test_the_pods_know_where_they_meet(shared: list[Document]) -> None:
    meetings = [Meeting.told(environment(shared, index)) for index in range(NODES)]
    service = named(shared, "Service", "covaria-reconstruction-nodes")
    pod = job_of(shared)["template"]
    host = "covaria-reconstruction-x7k2p-0.covaria-reconstruction-nodes"
    assert meetings == [Meeting(host, 29400, index, NODES) for index in range(NODES)]
    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"], "no pod of a job is ever ready"
    labels = pod["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    policy = named(shared, "NetworkPolicy", "covaria-reconstruction-nodes")["spec"]
    (ways_in,), (ways_out,) = policy["ingress"], policy["egress"]
    for selector in (policy["podSelector"], ways_in["from"][0]["podSelector"], ways_out["to"][0]["podSelector"]):
        assert selector["matchLabels"].items() <= labels.items()
        assert selector["matchLabels"]["app.kubernetes.io/component"] == "reconstruction"
    assert "ports" not in ways_in and "ports" not in ways_out, "they are given by the system"


def test_one_pod_a_job_is_as_before(rendered: dict[str, list[Document]]) -> None:
    job = job_of(rendered["facility"])
    assert (job["parallelism"], job["completions"]) == (1, 1) and "completionMode" not in job
    assert "startupProbe" in job["template"]["spec"]["containers"][0]
    assert not any(d["metadata"]["name"].endswith("-nodes") for d in rendered["facility"])
    assert Meeting.told(environment(rendered["facility"], 0)) is None


@pytest.mark.parametrize("host", ["localhost", "no-such-pod.invalid"])
def test_a_pod_whose_first_one_had_nothing_to_do_ends(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "JOINING_S", 2.0)
    place = {"COVARIA_RENDEZVOUS": f"{host}:{free_port()}", "COVARIA_NODE": "1", "COVARIA_NODES": "2"}
    for name, value in (place | {"COVARIA_ROOTS": "/data", "COVARIA_DEVICE": "cpu"}).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(covaria.cli.application(), ["worker", "reconstruction"])
    assert done.exit_code == 0, done.output
    assert f"nobody answered at {host}:" in done.output and "must reach one another" in done.output


@pytest.mark.slow
@pytest.mark.broker
def test_two_workers_share_a_message(shared: list[Document], broker_server: BrokerServer, tmp_path: Path) -> None:
    site = open_site(broker_server, tmp_path)
    site.extra["PYTHONPATH"] = os.pathsep.join(OURS)
    made = ("simulate", "set", "-n", "600", "-D", "24", "--states", "homogeneous")
    asked = ("set/particles.star", "--only-mean", "--no-downsample", "-o")
    host, port = "covaria-reconstruction-x7k2p-0.covaria-reconstruction-nodes", free_port()
    meeting: list[dict[str, Any]] = [
        {name: value.replace(f"{host}:29400", f"localhost:{port}").replace(str(NODES), "2")
         for name, value in environment(shared, index).items()
         if name in ("COVARIA_RENDEZVOUS", "COVARIA_NODE", "COVARIA_NODES")}
        for index in range(2)
    ]  # fmt: skip
    try:
        site.command(*made)
        site.command("run", *asked, "alone")
        site.command("submit", *asked, str(tmp_path / "out"))
        site.worker("ingest", "--max-jobs", "1").wait()
        pods = [site.worker("reconstruction", "--max-jobs", "1", **told) for told in meeting]
        for pod in pods:
            assert pod.wait() == 0, pod.text()
        site.wait_done("reconstruction", "out")
        assert "started, out" in pods[0].text() and "started, out" not in pods[1].text()
        assert "reading images: 300 images" in pods[0].text(), "half of them"
    finally:
        site.close()
    one, two = (read_volume(site.tree(name).mean)[0] for name in ("alone", "out"))
    assert np.linalg.norm(one - two) < 1e-4 * np.linalg.norm(one)
