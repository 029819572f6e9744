"""The chart renders for every example, and every document is what Kubernetes, KEDA and prometheus-operator accept."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import helm_python
import jsonschema
import kubernetes_validate
import pytest
from deployment import CHART, EXAMPLES, Document, pods
from helm_python import Chart

from covaria.request.stages import STAGES
from covaria.settings import PREFIX, SECRETS_DIR, Settings

SCHEMAS = Path(__file__).parent / "schemas"
CUSTOM = ("keda.sh/", "monitoring.coreos.com/")


def kinds(documents: list[Document]) -> set[str]:
    return {document["kind"] for document in documents}


def test_lints_without_a_complaint():
    found = helm_python.lint(str(CHART))
    assert [message for message in found["messages"] if message["error"] != "icon is recommended"] == []


@pytest.mark.parametrize("version", ["1.28", "1.31"])
def test_every_document_is_valid_kubernetes(documents: list[Document], version: str):
    checked = 0
    for document in documents:
        if not document["apiVersion"].startswith(CUSTOM):
            kubernetes_validate.validate(copy.deepcopy(document), version, strict=True)
            checked += 1
    assert checked >= 9


def test_the_strict_validation_sees_a_misspelt_field(rendered: dict[str, list[Document]]):
    document = copy.deepcopy(next(d for d in rendered["defaults"] if d["kind"] == "Deployment"))
    document["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.31", strict=True)


def test_custom_resources_match_their_models(rendered: dict[str, list[Document]]):
    seen = set()
    for name in EXAMPLES:
        for document in rendered[name]:
            if document["apiVersion"].startswith(CUSTOM):
                schema = json.loads((SCHEMAS / f"{document['kind']}.json").read_text())
                jsonschema.validate(document, schema)
                seen.add(document["kind"])
    assert seen == {path.stem for path in SCHEMAS.glob("*.json")}


def test_the_models_see_a_misspelt_field(rendered: dict[str, list[Document]]):
    document = copy.deepcopy(next(d for d in rendered["facility"] if d["kind"] == "ScaledJob"))
    document["spec"]["scalingStrategy"]["stratgy"] = "accurate"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json.loads((SCHEMAS / "ScaledJob.json").read_text()))


@pytest.mark.parametrize("version", ["1.28", "1.31"])
def test_a_scaled_job_holds_a_valid_job(rendered: dict[str, list[Document]], version: str):
    scaled, large = (d for d in rendered["facility"] if d["kind"] == "ScaledJob")
    assert large["metadata"]["name"].endswith("-large")
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": scaled["spec"]["jobTargetRef"]}
    kubernetes_validate.validate(copy.deepcopy(job), version, strict=True)
    assert job["spec"]["backoffLimit"] == 0
    assert scaled["spec"]["rollout"] == {"strategy": "gradual"}
    assert scaled["spec"]["scalingStrategy"]["strategy"] == "accurate"
    queues = [trigger["metadata"]["queueName"] for trigger in scaled["spec"]["triggers"]]
    assert queues == ["covaria.reconstruction.live", "covaria.reconstruction.bulk"]
    assert {trigger["metadata"]["protocol"] for trigger in scaled["spec"]["triggers"]} == {"amqp"}


def test_every_container_is_hardened(documents: list[Document]):
    found = pods(documents)
    assert len(found) >= 7
    for name, pod in found:
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"].get("runAsUser", 1) >= 1, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        for container in spec["containers"] + spec.get("initContainers", []):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][kind]), (name, kind)
            assert ":" in container["image"] and not container["image"].endswith(":latest"), name
            assert container.get("command", ["tini"])[0] == "tini", f"{name}: the image's entry point has the init"


def test_what_keeps_running_has_probes(documents: list[Document]):
    for document in documents:
        if document["kind"] not in ("Deployment", "ScaledJob"):
            continue
        if document["metadata"]["labels"]["app.kubernetes.io/component"] == "toolbox":
            continue
        ((_, pod),) = pods([document])
        (container,) = pod["spec"]["containers"]
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["httpGet"] == {"path": "/livez", "port": "http"}
        if document["kind"] == "Deployment":
            assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
        assert {"name": "http", "containerPort": 8080, "protocol": "TCP"} in container["ports"]


def test_mounts_have_volumes_and_tmp_is_writable(documents: list[Document]):
    for name, pod in pods(documents):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            assert {mount["name"] for mount in mounts.values()} <= set(volumes), name
            assert "emptyDir" in volumes[mounts["/tmp"]["name"]], name


def test_every_environment_variable_is_a_setting_with_a_valid_value(
    documents: list[Document], monkeypatch: pytest.MonkeyPatch
):
    for name, pod in pods(documents):
        for container in pod["spec"]["containers"]:
            assert "envFrom" not in container
            environment = {item["name"]: item["value"] for item in container["env"]}
            assert len(environment) == len(container["env"]), f"{name}: a variable twice"
            for variable in environment:
                known = variable == SECRETS_DIR or variable.removeprefix(PREFIX).lower() in Settings.model_fields
                assert known, f"{name}: {variable} is no setting"
            with monkeypatch.context() as patch:
                for variable, value in environment.items():
                    patch.setenv(variable, value)
                settings = Settings()
            for mount in settings.roots:
                assert any(item["mountPath"] == str(mount) for item in container["volumeMounts"]), (name, mount)


def test_passwords_are_files(documents: list[Document]):
    for name, pod in pods(documents):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        login = volumes["broker-login"]["secret"]
        paths = {item["path"] for item in login["items"]}
        assert paths == {"covaria_broker_username", "covaria_broker_password"}, name
        assert login["defaultMode"] == 0o444, name
        for item in pod["spec"]["containers"][0]["env"]:
            assert "PASSWORD" not in item["name"], name
            assert not re.search(r"://[^/]*@", item["value"]), f"{name}: a login in {item['name']}"


def test_a_worker_knows_the_image_that_it_is(documents: list[Document]):
    workers = 0
    for _, pod in pods(documents):
        (container,) = pod["spec"]["containers"]
        if container.get("args", [""])[0] == "worker":
            workers += 1
            assert {item["name"]: item["value"] for item in container["env"]}["COVARIA_IMAGE"] == container["image"]
    assert workers


def test_a_stage_gets_less_grace_than_its_pod(documents: list[Document]):
    stages = set()
    for _, pod in pods(documents):
        (container,) = pod["spec"]["containers"]
        if container.get("args", [""])[0] != "worker":
            continue
        stages.add(container["args"][1])
        environment = {item["name"]: item["value"] for item in container["env"]}
        assert 0 < float(environment["COVARIA_GRACE_S"]) <= pod["spec"]["terminationGracePeriodSeconds"] - 10
    assert stages == set(STAGES)


def test_labels_select_the_pods_they_should(documents: list[Document]):
    labelled = [pod["metadata"]["labels"] for _, pod in pods(documents)]
    jobs = sum(document["kind"] == "ScaledJob" for document in documents)
    for document in documents:
        match document["kind"]:
            case "Deployment":
                selector, own = document["spec"]["selector"]["matchLabels"], document["spec"]["template"]["metadata"]
                assert selector.items() <= own["labels"].items()
                selected = [labels for labels in labelled if selector.items() <= labels.items()]
                assert len(selected) == 1, f"{document['metadata']['name']} selects another's pods"
            case "NetworkPolicy":
                selector = document["spec"]["podSelector"]["matchLabels"]
                assert all(selector.items() <= labels.items() for labels in labelled)
                assert document["spec"]["policyTypes"] == ["Ingress", "Egress"]
            case "PodMonitor":
                selector = document["spec"]["selector"]["matchLabels"]
                assert sum(selector.items() <= labels.items() for labels in labelled) == jobs
            case "Service":
                selector = document["spec"]["selector"]
                serving = sum(d["kind"] == "Deployment" and "toolbox" not in d["metadata"]["name"] for d in documents)
                assert sum(selector.items() <= labels.items() for labels in labelled) == serving


def test_gpus_are_asked_for_once_and_tolerated(rendered: dict[str, list[Document]]):
    asked = {}
    for name, pod in pods(rendered["facility"]):
        devices = {k: v for k, v in pod["spec"]["containers"][0]["resources"]["limits"].items() if "/" in k}
        if devices:
            asked[name] = devices
            assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["spec"]["tolerations"]
            assert pod["spec"]["runtimeClassName"] == "nvidia"
    assert asked == {
        "ScaledJob/covaria-reconstruction": {"nvidia.com/gpu": "1"},
        "ScaledJob/covaria-reconstruction-large": {"nvidia.com/gpu": "1"},
        "Deployment/covaria-reconstruction-live": {"nvidia.com/gpu": "1"},
        "Deployment/covaria-analysis": {"nvidia.com/mig-1g.10gb": "1"},
    }
    for name, pod in pods(rendered["trial"]):
        if "reconstruction" in name:
            assert "tolerations" not in pod["spec"]


def test_each_site_gets_what_its_example_promises(rendered: dict[str, list[Document]]):
    assert kinds(rendered["defaults"]).isdisjoint({"ScaledJob", "ScaledObject", "ServiceMonitor", "PrometheusRule"})
    assert kinds(rendered["trial"]) == kinds(rendered["defaults"])
    assert {"ServiceMonitor", "PrometheusRule", "ConfigMap", "PodDisruptionBudget"} <= kinds(rendered["gpu-node"])
    assert {"ScaledJob", "ScaledObject", "TriggerAuthentication", "PodMonitor", "CronJob"} <= kinds(
        rendered["facility"]
    )
    scaled = [d for d in rendered["facility"] if d["kind"] == "ScaledObject"]
    assert {t["metadata"]["protocol"] for d in scaled for t in d["spec"]["triggers"]} == {"http"}
    # A fixed number of replicas would fight with KEDA.
    for target in {d["spec"]["scaleTargetRef"]["name"] for d in scaled}:
        (deployment,) = (
            d for d in rendered["facility"] if d["kind"] == "Deployment" and d["metadata"]["name"] == target
        )
        assert "replicas" not in deployment["spec"]


def test_rules_and_dashboards_travel_with_the_chart(rendered: dict[str, list[Document]]):
    (rule,) = (d for d in rendered["gpu-node"] if d["kind"] == "PrometheusRule")
    alerts = [r for group in rule["spec"]["groups"] for r in group["rules"] if "alert" in r]
    assert len(alerts) >= 11
    assert all("{{ $" in r["annotations"]["summary"] or "{{" not in r["annotations"]["summary"] for r in alerts)
    (config,) = (d for d in rendered["gpu-node"] if d["kind"] == "ConfigMap")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {json.loads(text)["uid"] for text in config["data"].values()} == {
        "covaria-pipeline",
        "covaria-workers",
        "covaria-broker",
        "covaria-edges",
    }
    (rule,) = (d for d in rendered["facility"] if d["kind"] == "PrometheusRule")
    links = [
        r["annotations"]["runbook_url"] for group in rule["spec"]["groups"] for r in group["rules"] if "alert" in r
    ]
    assert all(link.startswith("https://wiki.facility.example.org/covaria/runbooks.md#") for link in links)


def test_the_schema_offers_only_real_settings(chart: Chart):
    offered = json.loads((CHART / "values.schema.json").read_text())["$defs"]["settings"]["properties"]
    assert set(offered) <= set(Settings.model_fields)
    ours = {"broker_url", "roots", "http_port", "grace_s", "scratch", "broker_ca_file"}
    assert not ours & set(offered), "set by the chart itself"


def test_notes_name_the_next_commands(chart: Chart):
    notes = chart.render({}, name="covaria", namespace="em")["covaria/templates/NOTES.txt"]
    for command in (
        "get events --field-selector type=Warning",
        "helm test covaria",
        "covaria submit /data/",
        "covaria status",
    ):
        assert command in notes
