"""What deploy/cluster.py puts beside the chart for the time of its check: secrets, claims, classes, a broker."""

from __future__ import annotations

import base64

from manifests import Document, needed_claims, needed_secrets

BROKER_IMAGE = "docker.io/library/rabbitmq:4.2"


def fixtures(documents: list[Document]) -> list[Document]:
    """The secrets and claims that documents need, with nothing in them."""
    word = base64.b64encode(b"word").decode()
    login = base64.b64encode(b'{"auths": {}}').decode()
    made: list[Document] = []
    for name, keys in needed_secrets(documents).items():
        pull = ".dockerconfigjson" in keys
        kind = "kubernetes.io/dockerconfigjson" if pull else "Opaque"
        data = {key: login if pull else word for key in sorted(keys)}
        made.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": data})
    for name in sorted(needed_claims(documents)):
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        made.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec})
    return made


def class_document(kind: str, name: str) -> Document:
    """A PriorityClass or RuntimeClass for the time of the check."""
    if kind == "PriorityClass":
        return {"apiVersion": "scheduling.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "value": 0}
    return {"apiVersion": "node.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "handler": "runc"}


def broker_documents() -> list[Document]:
    """RabbitMQ for the time of the check, under Pod Security `restricted`, with the login of the trial example."""
    labels = {"app": "rabbitmq"}
    environment = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": "rabbitmq-login", "key": key}}}
        for name, key in (("RABBITMQ_DEFAULT_USER", "username"), ("RABBITMQ_DEFAULT_PASS", "password"))
    ]
    container = {
        "name": "rabbitmq",
        "image": BROKER_IMAGE,
        "env": [*environment, {"name": "RABBITMQ_DEFAULT_VHOST", "value": "covaria"}],
        "ports": [{"containerPort": 5672}],
        "readinessProbe": {"tcpSocket": {"port": 5672}, "periodSeconds": 2},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 999, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {"metadata": {"labels": labels}, "spec": {"securityContext": security, "containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    service = {"selector": labels, "ports": [{"port": 5672}]}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "rabbitmq"}, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "rabbitmq"}, "spec": service},
    ]
