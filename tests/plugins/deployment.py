"""What the tests of deployment share: examples, the pods of a rendered chart, the expressions of rules and panels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "covaria"
EXAMPLES = ("defaults", "trial", "gpu-node", "facility", "openshift")

Document = dict[str, Any]


def example_values(name: str) -> Document:
    """Values of an example site; none for the defaults."""
    return {} if name == "defaults" else yaml.safe_load((CHART / "examples" / f"{name}.yaml").read_text())


def pod_template(document: Document) -> Document | None:
    """The pod (metadata and spec) that a document starts, if it starts one."""
    match document["kind"]:
        case "Pod":
            return document
        case "Deployment" | "Job":
            return document["spec"]["template"]
        case "CronJob":
            return document["spec"]["jobTemplate"]["spec"]["template"]
        case "ScaledJob":
            return document["spec"]["jobTargetRef"]["template"]
    return None


def pods(documents: list[Document]) -> list[tuple[str, Document]]:
    """(kind/name, pod) of every document that starts pods."""
    return [
        (f"{document['kind']}/{document['metadata']['name']}", pod)
        for document in documents
        if (pod := pod_template(document)) is not None
    ]


def pod_security_level(spec: Document) -> str:
    """The least Pod Security level (Kubernetes' own words) that admits a pod: restricted, baseline or privileged."""
    kinds = {next(key for key in volume if key != "name") for volume in spec["volumes"]}
    harmless = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    container = spec["containers"][0]["securityContext"]
    if (
        "hostPath" in kinds
        or container["privileged"]
        or any(spec.get(f"host{name}") for name in ("Network", "PID", "IPC"))
    ):
        return "privileged"
    restricted = (
        kinds <= harmless
        and spec["securityContext"]["runAsNonRoot"] is True
        and spec["securityContext"]["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost")
        and container["allowPrivilegeEscalation"] is False
        and "ALL" in container["capabilities"]["drop"]
    )
    return "restricted" if restricted else "baseline"


def needed_secrets(documents: list[Document]) -> dict[str, set[str]]:
    """Every secret that rendered documents read -> the keys they read."""
    found: dict[str, set[str]] = {}
    for _, pod in pods(documents):
        for volume in pod["spec"]["volumes"]:
            if "secret" in volume:
                keys = {item["key"] for item in volume["secret"]["items"]}
                found.setdefault(volume["secret"]["secretName"], set()).update(keys)
        for secret in pod["spec"].get("imagePullSecrets", []):
            found.setdefault(secret["name"], set()).add(".dockerconfigjson")
    for document in documents:
        if document["kind"] == "TriggerAuthentication":
            for item in document["spec"]["secretTargetRef"]:
                found.setdefault(item["name"], set()).add(item["key"])
    return found


def needed_claims(documents: list[Document]) -> set[str]:
    """Every persistent volume claim that a rendered pod mounts."""
    return {
        volume["persistentVolumeClaim"]["claimName"]
        for _, pod in pods(documents)
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }


def rule_expressions() -> dict[str, str]:
    """Alert or record -> expression."""
    found = {}
    for path in sorted((REPOSITORY / "deploy" / "prometheus" / "rules").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                found[rule.get("alert") or rule["record"]] = rule["expr"]
    return found


def dashboards() -> dict[str, Document]:
    """File name -> dashboard."""
    folder = REPOSITORY / "deploy" / "grafana" / "dashboards"
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def dashboard_expressions() -> dict[str, str]:
    """Dashboard: panel -> expression."""
    return {
        f"{name}: {panel['title']}: {target['refId']}": target["expr"]
        for name, dashboard in dashboards().items()
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }


def metric_names(expression: str) -> set[str]:
    """Names of Covaria's, RabbitMQ's and recorded series in a PromQL expression."""
    bare = re.sub(r"\{[^}]*\}", "", expression)
    return set(re.findall(r"\b(?:covaria|rabbitmq)[_:][a-z0-9_:]+", bare))
