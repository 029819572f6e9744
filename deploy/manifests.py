"""What rendered documents of the chart ask of a cluster: pods, secrets, claims, classes."""

from __future__ import annotations

from typing import Any

import yaml
from helm_python import Chart

Document = dict[str, Any]

HARMLESS_VOLUMES = frozenset(
    ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")
)
"""Kinds of volumes that Pod Security level `restricted` allows."""


def rendered_documents(chart: Chart, values: Document, name: str = "covaria", namespace: str = "em") -> list[Document]:
    """Every document that Helm would send for these values, hooks included."""
    texts = chart.render(values, name=name, namespace=namespace)
    return [d for path, text in texts.items() if path.endswith(".yaml") for d in yaml.safe_load_all(text) if d]


def pod_template(document: Document) -> Document | None:
    """The pod (metadata and spec) that a document starts, if it starts one."""
    spec, found = document.get("spec", {}), None
    match document["kind"]:
        case "Pod":
            found = document
        case "Deployment" | "Job":
            found = spec["template"]
        case "CronJob":
            found = spec["jobTemplate"]["spec"]["template"]
        case "ScaledJob":
            found = spec["jobTargetRef"]["template"]
    return found


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
    container = spec["containers"][0]["securityContext"]
    on_host = any(spec.get(f"host{name}") for name in ("Network", "PID", "IPC"))
    if "hostPath" in kinds or container["privileged"] or on_host:
        return "privileged"
    restricted = (
        kinds <= HARMLESS_VOLUMES
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
            for source in [volume, *volume.get("projected", {}).get("sources", [])]:
                if secret := source.get("secret"):
                    keys = {item["key"] for item in secret["items"]}
                    found.setdefault(secret.get("secretName") or secret["name"], set()).update(keys)
        for secret in pod["spec"].get("imagePullSecrets", []):
            found.setdefault(secret["name"], set()).add(".dockerconfigjson")
    for document in documents:
        if document["kind"] == "TriggerAuthentication":
            for item in document["spec"]["secretTargetRef"]:
                found.setdefault(item["name"], set()).add(item["key"])
    return found


def needed_claims(documents: list[Document]) -> set[str]:
    """Every persistent volume claim that a rendered pod mounts, and that the chart does not make."""
    made = {document["metadata"]["name"] for document in documents if document["kind"] == "PersistentVolumeClaim"}
    mounted = {
        volume["persistentVolumeClaim"]["claimName"]
        for _, pod in pods(documents)
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    return mounted - made


def needed_classes(documents: list[Document]) -> set[tuple[str, str]]:
    """(PriorityClass or RuntimeClass, name) that rendered pods name."""
    keys = {"PriorityClass": "priorityClassName", "RuntimeClass": "runtimeClassName"}
    return {
        (kind, pod["spec"][key]) for _, pod in pods(documents) for kind, key in keys.items() if pod["spec"].get(key)
    }
