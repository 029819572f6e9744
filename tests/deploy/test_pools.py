"""Pools in the chart: a workload, queues and a place on the nodes each; the services are told of all of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import helm_python
import pytest
from deployment import Document, needed_classes, pods, rendered_documents
from helm_python import Chart

from covaria.bus.pools import Pool, read_pools
from covaria.bus.topology import build_topology, permissions
from covaria.settings import Settings

KEDA = {"enabled": True, "existingSecret": "covaria-keda"}


Render = Callable[..., list[Document]]


@pytest.fixture
def render(chart: Chart) -> Render:
    """The documents for pools of reconstruction, or for whole `services`."""

    def documents(pools: dict[str, Any] | None = None, **values: Any) -> list[Document]:
        values.setdefault("services", {"reconstruction": {"pools": pools}})
        return rendered_documents(chart, values)

    return documents


def workload(documents: list[Document], name: str, *kinds: str) -> Document:
    (found,) = (d for d in documents if d["kind"] in kinds and d["metadata"]["name"] == f"covaria-{name}")
    return found


def environment(document: Document) -> dict[str, str]:
    ((_, pod),) = pods([document])
    return {item["name"]: item["value"] for item in pod["spec"]["containers"][0]["env"]}


def queues(document: Document) -> list[str]:
    return [trigger["metadata"]["queueName"] for trigger in document["spec"]["triggers"]]


def test_a_pool_is_a_deployment_of_its_own_stage(render: Render):
    documents = render({"large": {"takesFromGB": 20, "replicas": 3}, "h100": {}, "live": {}})
    large = workload(documents, "reconstruction-large", "Deployment")
    assert large["spec"]["replicas"] == 3
    ((_, pod),) = pods([large])
    (container,) = pod["spec"]["containers"]
    assert container["args"] == ["worker", "reconstruction"]
    assert container["image"].partition(":")[0].endswith("covaria-reconstruction")
    assert environment(large)["COVARIA_POOL"] == "large"
    live = workload(documents, "reconstruction-live", "Deployment")
    ((_, pod),) = pods([live])
    assert pod["spec"]["containers"][0]["args"] == ["worker", "reconstruction", "--class=live"]
    assert "COVARIA_POOL" not in environment(live), "it serves the common queues"
    selectors = [str(d["spec"]["selector"]) for d in documents if d["kind"] == "Deployment"]
    assert len(set(selectors)) == len(selectors)


def test_every_container_knows_the_pools_and_reads_them_as_the_settings_do(
    render: Render, monkeypatch: pytest.MonkeyPatch
):
    documents = render({"large": {"takesFromGB": 20}, "h100": {}, "live": {}, "off": {"enabled": False}})
    told = {environment["COVARIA_POOLS"] for environment in map_environments(documents)}
    assert told == {"reconstruction.h100,reconstruction.large:20"}
    monkeypatch.setenv("COVARIA_POOLS", told.pop())
    pools = Settings().pools
    assert set(read_pools(pools)) == {Pool("reconstruction", "h100"), Pool("reconstruction", "large", 20.0)}
    assert all("COVARIA_POOLS" not in found for found in map_environments(render({"live": {}})))


def map_environments(documents: list[Document]) -> list[dict[str, str]]:
    return [
        {item["name"]: item["value"] for item in container["env"]}
        for _, pod in pods(documents)
        for container in pod["spec"]["containers"]
    ]


def test_a_pool_is_scaled_by_queues_that_exist_and_that_its_user_may_read(render: Render):
    pools = {"large": {"takesFromGB": 20}, "live": {"autoscaling": {"kind": "ScaledObject", "cooldownPeriod": 60}}}
    documents = render(pools, autoscaling=KEDA)
    large = workload(documents, "reconstruction-large", "ScaledJob")
    assert queues(large) == ["covaria.reconstruction.live.large", "covaria.reconstruction.bulk.large"]
    assert queues(workload(documents, "reconstruction-live", "ScaledObject")) == ["covaria.reconstruction.live"]
    assert queues(workload(documents, "reconstruction", "ScaledJob"))[0] == "covaria.reconstruction.live"
    declared = {queue.name for queue in build_topology((30.0,), pools=("reconstruction.large:20",)).queues}
    scaled = [d for d in documents if d["kind"] in ("ScaledJob", "ScaledObject")]
    for document in scaled:
        assert set(queues(document)) <= declared
    for queue in queues(large):
        assert re.search(permissions("reconstruction")["worker"]["read"], queue)
        assert not re.search(permissions("analysis")["worker"]["read"], queue)


def test_a_pod_that_has_not_taken_its_message_counts_as_pending(render: Render):
    """KEDA would start another pod for the message of one that is still starting."""
    scaled = workload(render({}, autoscaling=KEDA), "reconstruction", "ScaledJob")
    assert scaled["spec"]["scalingStrategy"]["pendingPodConditions"] == ["Ready"]
    ((_, pod),) = pods([scaled])
    assert pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/takenz"


def test_a_pools_values_go_over_its_services(render: Render):
    services = {
        "reconstruction": {
            "gpu": {"count": 1, "resourceName": "nvidia.com/mig-3g.40gb"},
            "priorityClassName": "em",
            "settings": {"memory_gb": 10},
            "pools": {
                "cpu": {"gpu": {"count": 0}, "settings": {"poll_interval_s": 2}, "autoscaling": {"minReplicas": 0}},
                "nvme": {
                    "scratch": {"ephemeral": {"size": "1Ti", "storageClassName": "local-nvme"}},
                    "queueName": "em-gpu", "priorityClassName": "em-high", "podLabels": {"cost": "a"},
                },
            },
        }
    }  # fmt: skip
    for keda in (False, True):
        documents = render(services=services, autoscaling=KEDA if keda else {})
        kind = "ScaledJob" if keda else "Deployment"
        cpu = workload(documents, "reconstruction-cpu", kind)
        ((_, pod),) = pods([cpu])
        limits = pod["spec"]["containers"][0]["resources"]["limits"]
        assert set(limits) == {"cpu", "memory"}, "a count of 0 is a value too"
        told = environment(cpu)
        assert (told["COVARIA_MEMORY_GB"], told["COVARIA_POLL_INTERVAL_S"]) == ("10", "2")
        nvme = workload(documents, "reconstruction-nvme", kind)
        ((_, pod),) = pods([nvme])
        (scratch,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == "scratch")
        assert scratch["ephemeral"]["volumeClaimTemplate"]["spec"]["storageClassName"] == "local-nvme"
        assert pod["spec"]["priorityClassName"] == "em-high"
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/mig-3g.40gb"] == "1"
        for labels in (nvme["metadata"]["labels"], pod["metadata"]["labels"]):
            assert labels["kueue.x-k8s.io/queue-name"] == "em-gpu"
        base = workload(documents, "reconstruction", kind)
        assert "kueue.x-k8s.io/queue-name" not in base["metadata"]["labels"]
        assert {"em", "em-high"} == {name for kind, name in needed_classes(documents) if kind == "PriorityClass"}


def test_a_stage_may_have_pools_alone(render: Render):
    documents = render(services={"density": {"enabled": False, "pools": {"live": {"enabled": True}}}})
    names = {d["metadata"]["name"] for d in documents if d["kind"] == "Deployment"}
    assert "covaria-density-live" in names
    assert "covaria-density" not in names


@pytest.mark.parametrize(
    ("pools", "said"),
    [
        ({"Large": {}}, "Large"),
        ({"a.b": {}}, "a.b"),
        ({"x" * 21: {}}, "x" * 21),
        ({"large": {"takesFromGb": 2}}, "takesFromGb"),
        ({"large": {"takesFromGB": -1}}, "takesFromGB"),
        ({"large": {"pools": {}}}, "pools"),
        ({"live": {"takesFromGB": 2}}, "services.reconstruction.pools.live.takesFromGB"),
        ({"large": {"autoscaling": {"kind": "ScaledObject"}}}, "needs cooldownPeriod"),
        ({"large": {"autoscaling": {"minReplicas": 9}}}, "pools.large.autoscaling: minReplicas 9"),
        ({"large": {"resources": {"requests": {"cpu": "9", "memory": "1Gi"},
                                  "limits": {"cpu": "1", "memory": "1Gi"}}}}, "pools.large.resources.requests.cpu"),
    ],
)  # fmt: skip
def test_misuse_is_refused_with_its_place(render: Render, pools: dict[str, Any], said: str):
    with pytest.raises(helm_python.HelmError, match=re.escape(said)):
        render(pools)


def test_long_names_are_cut_and_stay_apart(render: Render):
    pools = {"x" * 19 + end: {} for end in "ab"}
    documents = render(pools, fullnameOverride="y" * 40, autoscaling=KEDA)
    names = [d["metadata"]["name"] for d in documents if d["kind"] == "ScaledJob"]
    assert len(set(names)) == len(names) == 3
    assert max(map(len, names)) <= 57
