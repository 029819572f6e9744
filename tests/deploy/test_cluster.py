"""Helm's own install, upgrade, test and uninstall against an API in memory: hooks, look-ups, what is left and said."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import pairwise, permutations
from pathlib import Path

import cluster
import cluster_fixtures
import helm_python
import kube_api
import pytest
from deployment import (
    CHART,
    EXAMPLES,
    Document,
    example_values,
    needed_claims,
    needed_classes,
    needed_secrets,
    pod_security_level,
)
from helm_python import Chart, Config

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[kube_api.Cluster]:
    found = kube_api.start(tmp_path)
    found.api.put(("v1", "namespaces", "", "em"), {})
    yield found
    found.close()


@pytest.fixture
def helm(kube: kube_api.Cluster) -> Iterator[Config]:
    with Config(kubeconfig_path=kube.kubeconfig, namespace="em") as config:
        yield config


def give(kube: kube_api.Cluster, documents: list[Document]) -> None:
    """The secrets and claims that documents need."""
    for made in cluster_fixtures.fixtures(documents):
        kinds = {"Secret": "secrets", "PersistentVolumeClaim": "persistentvolumeclaims"}
        kube.api.put(("v1", kinds[made["kind"]], "em", made["metadata"]["name"]), made)


def give_classes(kube: kube_api.Cluster, documents: list[Document]) -> None:
    """The classes that documents name."""
    kinds = {"PriorityClass": "priorityclasses", "RuntimeClass": "runtimeclasses"}
    for kind, name in needed_classes(documents):
        made = cluster_fixtures.class_document(kind, name)
        kube.api.put((made["apiVersion"], kinds[kind], "", name), made)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_missing_is_named_before_anything_is_made(
    kube: kube_api.Cluster, helm: Config, chart: Chart, rendered: dict[str, list[Document]], name: str
):
    before = set(kube.api.objects)
    with pytest.raises(helm_python.HelmError) as refused:
        helm.install(chart, "covaria", example_values(name), namespace="em", timeout=60)
    said = str(refused.value)
    secrets = {match[1]: set(match[2].split(", ")) for match in re.finditer(r"- secret (\S+) \(keys (.*)\)", said)}
    assert secrets == needed_secrets(rendered[name])
    assert set(re.findall(r"- persistent volume claim (\S+)", said)) == needed_claims(rendered[name])
    assert "docs/deploy.md" in said and set(kube.api.objects) == before


def test_a_key_that_is_missing_is_named(kube: kube_api.Cluster, helm: Config, chart: Chart, rendered):
    give(kube, rendered["trial"])
    kube.api.put(("v1", "secrets", "em", "rabbitmq-login"), {"data": {"user": "eA=="}})
    with pytest.raises(helm_python.HelmError) as refused:
        helm.install(chart, "covaria", example_values("trial"), namespace="em", timeout=60)
    said = str(refused.value)
    assert "key password in secret rabbitmq-login" in said and "key username in secret rabbitmq-login" in said


def test_classes_that_are_missing_are_named_to_who_may_read_them(
    kube: kube_api.Cluster, helm: Config, chart: Chart, rendered: dict[str, list[Document]]
):
    give(kube, rendered["facility"])
    with pytest.raises(helm_python.HelmError) as refused:
        helm.install(chart, "covaria", example_values("facility"), namespace="em", timeout=60)
    said = set(re.findall(r"- (\w+Class) (\S+) \((\S+)\)", str(refused.value)))
    assert said == {
        ("PriorityClass", "em-processing", "services.reconstruction.priorityClassName"),
        ("PriorityClass", "em-live", "services.reconstruction.pools.live.priorityClassName"),
        ("RuntimeClass", "nvidia", "gpu.runtimeClassName"),
    }
    assert {(kind, name) for kind, name, _ in said} == needed_classes(rendered["facility"])


def test_the_notes_name_services_without_a_device(kube: kube_api.Cluster, helm: Config, chart: Chart, rendered):
    give(kube, rendered["facility"])
    give_classes(kube, rendered["facility"])
    labels = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    node = {"metadata": {"labels": labels}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}}
    kube.api.put(("v1", "nodes", "", "gpu"), node)
    notes = helm.install(chart, "covaria", example_values("facility"), namespace="em", timeout=60)["notes"]
    assert "No node offers 1 nvidia.com/mig-1g.10gb: analysis waits" in notes
    assert "reconstruction waits" not in notes
    kube.api.put(("v1", "nodes", "", "gpu"), {**node, "metadata": {"labels": {}}})
    notes = helm.upgrade(chart, "covaria", example_values("facility"), namespace="em", timeout=60)["notes"]
    assert (
        "No node offers 1 nvidia.com/gpu, nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3: reconstruction waits" in notes
    )


def test_without_preflight_nothing_is_looked_for(kube: kube_api.Cluster, helm: Config, chart: Chart):
    values = {"preflight": {"enabled": False}}
    assert helm.install(chart, "covaria", values, namespace="em", timeout=60)["status"] == "deployed"


def test_install_test_and_uninstall_leave_the_spool_alone(kube: kube_api.Cluster, helm: Config, chart: Chart, rendered):
    give(kube, rendered["facility"])
    give_classes(kube, rendered["facility"])
    before = set(kube.api.objects)
    helm.install(chart, "covaria", example_values("facility"), namespace="em", timeout=60)
    # The hook ran, first, and is gone.
    hook = [event for event, key, _ in kube.api.changes if key[3] == "covaria-topology"]
    assert hook[0] == "ADDED" and hook[-1] == "DELETED"
    order = [key[3] for event, key, _ in kube.api.changes if event == "ADDED"]
    assert order.index("covaria-topology") < order.index("covaria-ingest")
    assert "a pod's log" in helm.test("covaria", timeout=60, logs=True)["logs"]
    assert "covaria-doctor" not in kube.api.named("Pod")
    helm.uninstall("covaria", timeout=60)
    spool = ("v1", "persistentvolumeclaims", "em", "covaria-trigger-m01")
    assert {key for key in kube.api.objects if "sh.helm.release" not in key[3]} == before | {spool}


NFS = {"data": {"volumes": [{"name": "d", "mountPath": "/d", "nfs": {"server": "nas", "path": "/d"}}]}}


@pytest.mark.parametrize(
    ("reason", "values"),
    [
        ('violates PodSecurity "restricted:latest": restricted volume types (volume "data-d" uses type "nfs")', NFS),
        ("exceeded quota: em, requested: pods=1, used: pods=10, limited: pods=10", {}),
    ],
)
def test_what_the_cluster_refuses_comes_back_at_once(
    kube: kube_api.Cluster, helm: Config, chart: Chart, rendered, reason: str, values: Document
):
    give(kube, rendered["defaults"])
    kube.api.refuse = lambda pod: "" if values and pod_security_level(pod["spec"]) == "restricted" else reason
    began = time.monotonic()
    with pytest.raises(helm_python.HelmError) as refused:
        helm.install(chart, "covaria", values, namespace="em", timeout=300)
    assert reason in str(refused.value)
    assert time.monotonic() - began < 60
    assert not kube.api.named("Deployment")


def test_a_walk_takes_each_step_between_two_examples_once():
    walk = cluster.every_step(list(EXAMPLES))
    assert walk[0] == walk[-1] == "defaults"
    assert sorted(pairwise(walk)) == sorted(permutations(EXAMPLES, 2))
    assert cluster.EXAMPLES == EXAMPLES


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["cluster.py", *words])
    return cluster.main(), capsys.readouterr().out


def test_without_a_cluster_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    code, said = run(monkeypatch, capsys)
    assert code == 0 and "skipped: no cluster (KUBECONFIG is not set" in said


@needs_kubectl
def test_the_check_passes_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, capsys, kube: kube_api.Cluster):
    before = set(kube.api.objects)
    monkeypatch.setattr(cluster, "EXAMPLES", ("trial", "facility"))
    kube.api.put(("v1", "nodes", "", "one"), {})
    options = ["--kubeconfig", str(kube.kubeconfig), "--image-registry", "localhost", "--image-tag", "x"]
    code, said = run(monkeypatch, capsys, *options)
    assert code == 0, said
    assert "2 upgrades: trial > facility > trial" in said and "rollback to revision 2, facility" in said
    assert "topology pod, worker and helm test succeeded" in said
    assert set(kube.api.objects) == before | {("v1", "nodes", "", "one")}


@needs_kubectl
def test_what_a_cluster_lacks_is_left_out_by_name(monkeypatch: pytest.MonkeyPatch, capsys, kube: kube_api.Cluster):
    monkeypatch.setattr(cluster, "EXAMPLES", ("trial", "facility"))
    for version in kube_api.CUSTOM:
        del kube.api.kinds[version]
    code, said = run(monkeypatch, capsys, "--kubeconfig", str(kube.kubeconfig))
    assert code == 0, said
    assert "without facility: the cluster lacks KEDA and the Prometheus operator" in said
    assert "without running pods: the cluster has no nodes" in said


@needs_kubectl
def test_a_namespace_of_another_run_is_not_touched(monkeypatch: pytest.MonkeyPatch, capsys, kube: kube_api.Cluster):
    kube.api.put(("v1", "namespaces", "", cluster.NAMESPACE), {})
    before = set(kube.api.objects)
    code, said = run(monkeypatch, capsys, "--kubeconfig", str(kube.kubeconfig))
    assert code == 1 and f"namespace {cluster.NAMESPACE} is there already" in said
    assert set(kube.api.objects) == before


@needs_kubectl
def test_a_fault_is_told_and_cleaned_up(monkeypatch: pytest.MonkeyPatch, capsys, kube: kube_api.Cluster):
    monkeypatch.setattr(cluster, "EXAMPLES", ("trial",))
    remove = kube.api.remove
    monkeypatch.setattr(kube.api, "remove", lambda key: {} if key[1] == "services" else remove(key))
    code, said = run(monkeypatch, capsys, "--kubeconfig", str(kube.kubeconfig))
    assert code == 1 and "left over [('Service', 'covaria-metrics')]" in said
    assert cluster.NAMESPACE not in kube.api.named("Namespace")


@needs_kubectl
def test_pods_that_are_not_made_are_told_with_the_reason(kube: kube_api.Cluster, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster, "NAMESPACE", "em")
    labels = {"app.kubernetes.io/instance": "covaria"}
    stuck = kube.api.put(
        ("apps/v1", "deployments", "em", "covaria-ingest"), {"metadata": {"labels": labels}, "spec": {}}
    )
    stuck["status"]["replicas"] = 0
    event = {
        "type": "Warning",
        "reason": "FailedCreate",
        "message": "no PriorityClass with name em-processing was found",
    }
    kube.api.put(("v1", "events", "em", "e1"), event)
    reached = cluster.Cluster(str(shutil.which("kubectl")), str(kube.kubeconfig), None)
    with pytest.raises(cluster.Refused, match=r"no pods of covaria-ingest .*FailedCreate: no PriorityClass"):
        cluster.check_pods(reached, seconds=0)


def test_the_chart_folder_is_the_one_that_is_checked():
    assert cluster.CHART == CHART
