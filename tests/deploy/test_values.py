"""Every value that the server would refuse, or take and never start, is refused by name before it gets there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from deployment import Document, example_values
from helm_python import Chart

from covaria.operations.watching.rules import read_rules

Values = dict[str, Any]


def volumes(*changes: Values) -> Values:
    """data.volumes, one for each change: claims at /data0, /data1, ... with the change laid over."""
    plain = [
        {"name": f"v{number}", "mountPath": f"/data{number}", "existingClaim": "x"} for number in range(len(changes))
    ]
    return {
        "data": {
            "volumes": [{**before, **change} for before, change in zip(plain, changes, strict=True)],
        }
    }


def source(**kind: Values) -> Values:
    return {"data": {"volumes": [{"name": "v", "mountPath": "/data", **kind}]}}


def ingest(**keys: Any) -> Values:
    return {"services": {"ingest": keys}}


def trigger(**keys: Any) -> Values:
    rule = {"name": "r", "folder": "/data/in", "into": "/data/out/{name}"}
    sizes = {"cpu": "1", "memory": "1Gi"}
    facts = {"rules": [rule], "spool": {"size": "1Gi"}, "resources": {"requests": sizes, "limits": sizes}}
    return {"triggers": {"m01": facts | keys}}


def rule(**keys: Any) -> Values:
    return trigger(rules=[{"name": "r", "folder": "/data/in", "into": "/data/out/{name}"} | keys])


def memory(requests: object, limits: object) -> Values:
    return ingest(resources={"requests": {"memory": requests}, "limits": {"memory": limits}})


BY_SCHEMA: list[tuple[Values, str]] = [
    ({"servicess": {}}, "servicess"),
    ({"services": {"training": {}}}, "training"),
    (ingest(replcas=2), "replcas"),
    (ingest(replicas="2"), "replicas"),
    (ingest(gpu={"nodes": 0}), "nodes"),
    ({"settings": {"log_levle": "INFO"}}, "log_levle"),
    ({"settings": {"log_level": "LOUD"}}, "log_level"),
    ({"rabbitmq": {"password": "secret"}}, "password"),
    ({"image": {"tag": "latest"}}, "tag"),
    ({"image": {"tag": "0.1 "}}, "tag"),
    ({"image": {"registry": "registry.example.org/ em"}}, "registry"),
    ({"image": {"registry": "https://registry.example.org"}}, "registry"),
    ({"image": {"prefix": "Covaria "}}, "prefix"),
    ({"image": {"pullSecrets": ["Login"]}}, "pullSecrets"),
    (ingest(image={"digest": "sha256:abc"}), "digest"),
    (ingest(image={"repository": "registry.example.org/Ingest"}), "repository"),
    ({"securityContext": {"runAsUser": 0}}, "runAsUser"),
    ({"securityContext": {"runAsUser": 2**32}}, "runAsUser"),
    ({"autoscaling": {"enabled": True}}, "existingSecret"),
    ({"fullnameOverride": "Covaria"}, "fullnameOverride"),
    ({"fullnameOverride": "a.b"}, "fullnameOverride"),
    ({"nameOverride": "a_b"}, "nameOverride"),
    ({"serviceAccount": {"name": "My Account"}}, "serviceAccount"),
    ({"rabbitmq": {"existingSecret": "Covaria"}}, "existingSecret"),
    ({"rabbitmq": {"host": "amqp://broker"}}, "host"),
    ({"rabbitmq": {"tls": {"caSecret": "CA"}}}, "caSecret"),
    (ingest(rabbitmqSecret="a b"), "rabbitmqSecret"),
    (ingest(priorityClassName="High Priority"), "priorityClassName"),
    ({"gpu": {"runtimeClassName": "NVIDIA"}}, "runtimeClassName"),
    ({"gpu": {"resourceName": "gpu"}}, "resourceName"),
    (ingest(gpu={"count": 1, "resourceName": "gpu"}), "resourceName"),
    ({"gpu": {"tolerations": [{"key": "a", "efect": "NoSchedule"}]}}, "efect"),
    (ingest(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]), "value"),
    (ingest(tolerations=[{"operator": "Equal", "value": "b"}]), "tolerations"),
    (ingest(nodeSelector={"zone": "not a label"}), "zone"),
    (ingest(nodeSelector={"a/b/c": "d"}), "nodeSelector"),
    (ingest(podLabels={"kueue.x-k8s.io/queue-name": "-gpu"}), "queue-name"),
    (ingest(podLabels={"app.kubernetes.io/name": "mine"}), "podLabels"),
    (ingest(podAnnotations={"a b": "c"}), "podAnnotations"),
    ({"commonLabels": {"cost centre": "em"}}, "commonLabels"),
    ({"monitoring": {"dashboards": {"annotations": {"a/b/c": "d"}}}}, "annotations"),
    ({"monitoring": {"serviceMonitor": {"interval": "0s"}}}, "interval"),
    (ingest(affinity={"nodeAfinity": {}}), "nodeAfinity"),
    (
        ingest(
            affinity={
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 101, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}
                    ]
                }
            }
        ),
        "weight",
    ),
    (ingest(topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "Never"}]), "maxSkew"),
    (ingest(extraEnv=[{"name": "COVARIA_ROOTS", "value": "/"}]), "extraEnv"),
    (ingest(extraEnv=[{"name": "A B", "value": "1"}]), "extraEnv"),
    (ingest(extraEnv=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "spec"}}}]), "extraEnv"),
    (trigger(rules=[]), "rules"),
    (trigger(spool={}), "spool"),
    (trigger(spool={"size": "1Gi", "existingClaim": "x"}), "spool"),
    (rule(folder="in"), "folder"),
    (rule(into="results"), "into"),
    (rule(patern="*.star"), "patern"),
    (rule(**{"class": "urgent"}), "class"),
    (rule(origin={"microscope": "m01"}), "microscope"),
    ({"networkPolicy": {"monitoringNamespaceSelector": {"matchLabel": {}}}}, "matchLabel"),
    ({"networkPolicy": {"brokerTo": [{"namespaceSelektor": {}}]}}, "namespaceSelektor"),
    ({"networkPolicy": {"brokerTo": [{"ipBlock": {"cidr": "10.0.0.1"}}]}}, "cidr"),
    ({"networkPolicy": {"extraEgress": [{"prots": []}]}}, "prots"),
    ({"data": {"volumes": []}}, "volumes"),
    ({"data": {"volumes": [{"name": "a", "mountPath": "/data"}]}}, "volumes"),
    (source(existingClaim="x", nfs={"server": "a", "path": "/b"}), "volumes"),  # type: ignore[arg-type]
    (source(existingClaim="My-Claim"), "existingClaim"),  # type: ignore[arg-type]
    (source(hostPath={"path": "/srv/../etc"}), "path"),
    (source(hostPath={"path": "srv"}), "path"),
    (source(nfs={"server": "nas:/export", "path": "/b"}), "server"),
    (source(csi={"drivr": "x"}), "drivr"),
    (volumes({"subPath": "/absolute"}), "subPath"),
    (volumes({"subPath": "a/../../b"}), "subPath"),
    (volumes({"mountPropagation": "Bidirectional"}), "mountPropagation"),
    ({"reconcile": {"schedule": "every hour"}}, "schedule"),
    ({"clean": {"schedule": "every night"}}, "schedule"),
    ({"clean": {"days": {"results": 7}}}, "results"),
    ({"clean": {"days": {"failed": "7d"}}}, "failed"),
    ({"reconcile": {"schedule": "61 * * * *"}}, "schedule"),
    ({"reconcile": {"schedule": "* * * *"}}, "schedule"),
    (memory("8GB", "9Gi"), "memory"),
    (memory("1.5m", "2Gi"), "memory"),
    (ingest(resources={"limits": {"cpu": "1.0001"}}), "cpu"),
    (ingest(scratchSize="20 Gi"), "scratchSize"),
    (ingest(scratch={"hostPath": {"path": "/a"}, "ephemeral": {"size": "1Gi"}}), "scratch"),
    (ingest(terminationGracePeriodSeconds=5), "terminationGracePeriodSeconds"),
    (ingest(resourceClaims=[{"name": "gpu"}]), "resourceClaims"),
]

MOUNTED_OVER = [
    "/",
    "/etc",
    "/a/../tmp",
    "/data/",
    "/data//x",
    "/data/./x",
    "relative",
    "/tmp",
    "/dev/shm/x",
    "/scratch",
]
MOUNTED_OVER += ["/opt", "/opt/covaria/lib", "/usr/local", "/proc", "/data:x", "/.."]
BY_SCHEMA += [(volumes({"mountPath": path}), "mountPath") for path in MOUNTED_OVER]

BY_TEMPLATE: list[tuple[Values, str]] = [
    (ingest(gpu={"nodes": 2}), "services.ingest.gpu.nodes: only the reconstruction"),
    ({"services": {"reconstruction": {"gpu": {"nodes": 2}}}}, "autoscaling.enabled, and services.reconstruction"),
    (volumes({"name": "a"}, {"name": "a"}), 'data.volumes: name "a" is there twice'),
    (volumes({"mountPath": "/data"}, {"mountPath": "/data"}), 'data.volumes: mountPath "/data" is there twice'),
    (memory("16Gi", "8Gi"), "services.ingest.resources.requests.memory: 16Gi is more than the limit 8Gi"),
    (memory("8Gi", "8G"), "requests.memory: 8Gi is more than the limit 8G"),
    (memory(9000000000, "8Gi"), "requests.memory: .* is more than the limit 8Gi"),
    (memory("1.0001Ki", "8Gi"), "1.0001Ki is no whole number of bytes"),
    (ingest(resources={"requests": {"cpu": "4500m"}}), "requests.cpu: 4500m is more than the limit 4"),
    ({"exporter": {"resources": {"requests": {"memory": "1Gi"}}}}, "exporter.resources.requests.memory"),
    (ingest(scratchSize="1.0001Ki"), "services.ingest.scratchSize: 1.0001Ki is no whole number"),
    (ingest(autoscaling={"minReplicas": 5}), "minReplicas 5 is more than maxReplicas 4"),
    (
        {"extraEnv": [{"name": "A", "value": "1"}], **ingest(extraEnv=[{"name": "A", "value": "2"}])},
        'extraEnv and services.ingest.extraEnv: name "A" is there twice',
    ),
    (ingest(resourceClaims=[{"name": "g", "resourceClaimName": "x"}] * 2), 'name "g" is there twice'),
    ({"serviceAccount": {"create": False}}, "serviceAccount.name is needed"),
    (trigger(rules=[{"name": "r", "folder": "/a", "into": "/b"}] * 2), 'triggers.m01.rules: name "r" is there twice'),
    ({"ledger": "/elsewhere/ledger"}, "ledger: /elsewhere/ledger is beneath no writable"),
    ({"ledger": "/data/l", **volumes({"readOnly": True})}, "ledger: /data/l is beneath no writable"),
    (trigger(spool={"size": "1.0001Ki"}), "triggers.m01.spool.size: 1.0001Ki is no whole number"),
]


def render(chart: Chart, values: Values, name: str = "covaria") -> list[Document]:
    texts = chart.render(values, name=name, namespace="em")
    return [d for p, text in texts.items() if p.endswith(".yaml") for d in yaml.safe_load_all(text) if d]


@pytest.mark.parametrize(("values", "named"), BY_SCHEMA)
def test_the_schema_refuses_by_name(chart: Chart, values: Values, named: str):
    with pytest.raises(helm_python.HelmValuesError, match=named):
        chart.validate_schema(values)
    with pytest.raises(helm_python.HelmError):
        chart.render(values, name="covaria", namespace="em")


@pytest.mark.parametrize(("values", "said"), BY_TEMPLATE)
def test_the_templates_refuse_what_a_schema_cannot_say(chart: Chart, values: Values, said: str):
    chart.validate_schema(values)
    with pytest.raises(helm_python.HelmError, match=said):
        chart.render(values, name="covaria", namespace="em")


EVERY_KEY: Values = {
    "commonLabels": {"facility.example.org/cost-centre": "em"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.org:3128"}],
    "image": {"registry": "registry.example.org:5000/a__b/c", "tag": "1.0_rc.1", "pullSecrets": ["a.b"]},
    "rabbitmq": {"host": "[fd00::1]", "tls": {"clientSecret": "client"}},
    "data": {
        "volumes": [
            {
                "name": "a",
                "mountPath": "/dls/m02 data",
                "nfs": {"server": "10.0.0.1", "path": "/"},
                "subPath": "x/y..z",
            },
            {"name": "b", "mountPath": "/gpfs", "hostPath": {"path": "/gpfs"}, "mountPropagation": "HostToContainer"},
            {
                "name": "c",
                "mountPath": "/opt/data",
                "csi": {"driver": "nfs.csi.k8s.io", "volumeAttributes": {"server": "nas", "share": "/x"}},
                "readOnly": True,
            },
        ]
    },
    "auxiliary": {"nodeSelector": {"pool": "cpu"}, "tolerations": [{"operator": "Exists"}]},
    "services": {
        "ingest": {
            "image": {"repository": "mirror.example.org/em/ingest", "digest": "sha256:" + "0" * 64},
            "podLabels": {"kueue.x-k8s.io/queue-name": "em"},
            "podAnnotations": {"kubectl.kubernetes.io/default-container": "other", "x": "1"},
            "schedulerName": "volcano",
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
            ],
            "extraEnv": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            "scratch": {"hostPath": {"path": "/nvme"}},
        },
        "reconstruction": {
            "gpu": {"count": 0},
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}],
            "scratch": {"ephemeral": {"size": "500Gi", "storageClassName": "local-nvme"}},
        },
    },
    "toolbox": {"enabled": True},
    "reconcile": {"enabled": True, "schedule": "0,30 6-22/2 * JAN-MAR,12 MON-FRI"},
    "clean": {"enabled": True, "schedule": "@daily", "days": {"intermediates": 0, "images": -1, "failed": 0.5}},
    "networkPolicy": {
        "brokerTo": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
        "extraEgress": [{"to": [{"ipBlock": {"cidr": "fd00::/8"}}], "ports": [{"port": 4317, "protocol": "TCP"}]}],
    },
}


@pytest.mark.parametrize("version", ["1.31"])
def test_every_optional_key_makes_valid_objects(chart: Chart, version: str):
    import kubernetes_validate

    documents = {(d["kind"], d["metadata"]["name"]): d for d in render(chart, EVERY_KEY)}
    for document in documents.values():
        kubernetes_validate.validate(document, version, strict=True)
        assert document["metadata"]["labels"]["facility.example.org/cost-centre"] == "em"
    pod = documents["Deployment", "covaria-ingest"]["spec"]["template"]
    assert pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "em"
    assert pod["metadata"]["annotations"] == {"kubectl.kubernetes.io/default-container": "other", "x": "1"}
    assert pod["spec"]["schedulerName"] == "volcano"
    (spread,) = pod["spec"]["topologySpreadConstraints"]
    own = documents["Deployment", "covaria-ingest"]["spec"]["selector"]["matchLabels"]
    assert spread["labelSelector"]["matchLabels"] == own
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "mirror.example.org/em/ingest@sha256:" + "0" * 64
    assert {item["name"] for item in container["env"]} >= {"HTTPS_PROXY", "NODE", "COVARIA_SCRATCH"}
    by_name = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert by_name["scratch"]["hostPath"] == {"path": "/nvme", "type": "Directory"}
    assert by_name["data-c"]["csi"]["driver"] == "nfs.csi.k8s.io" and by_name["data-c"]["csi"]["readOnly"] is True
    reconstruction = documents["Deployment", "covaria-reconstruction"]["spec"]
    assert reconstruction["template"]["spec"]["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
    assert reconstruction["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    toolbox = documents["Deployment", "covaria-toolbox"]["spec"]["template"]["spec"]
    assert toolbox["nodeSelector"] == {"pool": "cpu"} and toolbox["tolerations"] == [{"operator": "Exists"}]
    (cleaning,) = documents["CronJob", "covaria-clean"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert cleaning["args"] == ["clean", "--yes", "--failed=0.5", "--intermediates=0", "--staging=1", "--updates=30"]
    assert any(not mount.get("readOnly") and mount["name"].startswith("data-") for mount in cleaning["volumeMounts"])
    # The topology, exporter, doctor and toolbox pods run the ingest service's own image.
    assert toolbox["containers"][0]["image"] == container["image"]


def test_without_a_device_a_rollout_never_goes_below_what_was_asked(chart: Chart):
    rolling = {
        d["metadata"]["name"]: d["spec"]["strategy"].get("rollingUpdate")
        for d in render(chart, {})
        if d["kind"] == "Deployment"
    }
    assert rolling["covaria-ingest"] == {"maxSurge": 1, "maxUnavailable": 0}
    # A second GPU for the new pod is not asked for: "available" is true while the one pod restarts.
    assert rolling["covaria-reconstruction"] == {"maxSurge": 0, "maxUnavailable": 1}


@pytest.mark.parametrize("name", ["covaria", "em.v1", "1st-instrument", "a" * 39 + ".b", "x" * 53, "0"])
def test_any_release_name_gives_names_that_services_may_have(chart: Chart, name: str):
    for document in render(chart, example_values("facility"), name=name):
        given = document["metadata"]["name"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", given), given
        if document["kind"] == "CronJob":
            assert len(given) <= 52


def test_whole_numbers_are_written_out(chart: Chart):
    millions: Values = {
        "settings": {"job_timeout_s": 2592000, "scan_interval_s": 86400000},
        "securityContext": {"runAsUser": 4000000000, "runAsGroup": 4000000000, "supplementalGroups": [4000000000]},
        "autoscaling": {"enabled": True, "existingSecret": "keda", "pollingInterval": 1000000},
        "exporter": {"resources": {"requests": {"memory": 100000000}, "limits": {"memory": 100000000}}},
        "services": {
            name: {
                "terminationGracePeriodSeconds": 1000000,
                "shmSize": 8589934592,
                "autoscaling": {"kind": kind, "cooldownPeriod": 1000000, "activeDeadlineSeconds": 1728000},
            }
            for name, kind in (("ingest", "ScaledObject"), ("reconstruction", "ScaledJob"))
        },
    }
    texts = chart.render(millions, name="covaria", namespace="em")
    assert 'COVARIA_JOB_TIMEOUT_S\n              value: "2592000"' in texts["covaria/templates/exporter.yaml"]
    for path, text in texts.items():
        assert not re.search(r"\d[eE][+-]?\d", re.sub(r"sha256:\w+", "", text)), path


def test_a_trigger_has_its_rules_and_a_spool_that_survives(chart: Chart, tmp_path: Path):
    found = {(d["kind"], d["metadata"]["name"]): d for d in render(chart, example_values("facility"))}
    name = "covaria-trigger-m01"
    claim = found["PersistentVolumeClaim", name]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    deployment = found["Deployment", name]["spec"]
    assert deployment["strategy"] == {"type": "Recreate"} and deployment["replicas"] == 1
    pod = deployment["template"]["spec"]
    assert pod["securityContext"]["fsGroup"] == 37100, "its group may write in the spool's volume"
    (container,) = pod["containers"]
    environment = {item["name"]: item["value"] for item in container["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["spool"] == environment["COVARIA_SPOOL"]
    (tmp_path / "rules.yaml").write_text(found["ConfigMap", name]["data"]["rules.yaml"])
    (given,) = read_rules(tmp_path / "rules.yaml")
    assert container["args"][1] == f"--rules={mounts['rules']}/rules.yaml"
    assert (given.name, given.job_class, given.origin) == ("refinements", "live", {"instrument": "m01"})
    own = {d["metadata"]["name"]: d for d in render(chart, trigger(spool={"existingClaim": "mine"}))}
    assert own[name]["spec"]["template"]["spec"]["volumes"][1]["persistentVolumeClaim"] == {"claimName": "mine"}
