"""The objects of a Kubernetes API in memory, and the parts of controllers and kubelet that a chart waits for."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str, str, str]  # group and version, resource, namespace, name

CORE = {
    "namespaces": "Namespace",
    "configmaps": "ConfigMap",
    "events": "Event",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "pods": "Pod",
    "secrets": "Secret",
    "serviceaccounts": "ServiceAccount",
    "services": "Service",
    "nodes": "Node",
}
BUILT_IN = {
    "v1": CORE,
    "apps/v1": {"deployments": "Deployment", "replicasets": "ReplicaSet"},
    "batch/v1": {"jobs": "Job", "cronjobs": "CronJob"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
    "node.k8s.io/v1": {"runtimeclasses": "RuntimeClass"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "scheduling.k8s.io/v1": {"priorityclasses": "PriorityClass"},
}
CUSTOM = {
    "keda.sh/v1alpha1": {
        "scaledjobs": "ScaledJob",
        "scaledobjects": "ScaledObject",
        "triggerauthentications": "TriggerAuthentication",
    },
    "monitoring.coreos.com/v1": {
        "servicemonitors": "ServiceMonitor",
        "podmonitors": "PodMonitor",
        "prometheusrules": "PrometheusRule",
    },
}
CLUSTER_WIDE = {"namespaces", "nodes", "priorityclasses", "runtimeclasses"}


@dataclass
class Api:
    """The objects, and every change to them in order: its number is the resource version."""

    kinds: dict[str, dict[str, str]] = field(default_factory=lambda: {**BUILT_IN, **CUSTOM})
    refuse: Callable[[Object], str] = lambda pod: ""
    objects: dict[Key, Object] = field(default_factory=dict)
    changes: list[tuple[str, Key, Object]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, key: Key, body: Object) -> Object:
        """Store an object as a controller would leave it a moment later. Raises PermissionError where it is refused."""
        with self.changed:
            old = self.objects.get(key)
            kind = self.kinds[key[0]][key[1]]
            if kind == "Pod" and old is None and (reason := self.refuse(body)):
                raise PermissionError(f'pods "{key[3]}" is forbidden: {reason}')
            new = copy.deepcopy(body)
            new.update(apiVersion=key[0], kind=kind)
            meta = new.setdefault("metadata", {})
            meta.update(name=key[3], resourceVersion=str(len(self.changes) + 1))
            if key[2]:
                meta["namespace"] = key[2]
            before = old["metadata"] if old else {"uid": str(uuid.uuid4()), "generation": 0}
            same = old is not None and old.get("spec") == new.get("spec")
            meta.update(uid=before["uid"], generation=before["generation"] + (not same))
            meta["creationTimestamp"] = before.get("creationTimestamp", "2026-01-01T00:00:00Z")
            self._play(new, old)
            self.objects[key] = new
            self._note("MODIFIED" if old else "ADDED", key, new)
            if kind == "Namespace" and old is None:
                self.put(("v1", "configmaps", key[3], "kube-root-ca.crt"), {"data": {"ca.crt": ""}})
            return new

    def remove(self, key: Key) -> Object:
        """Delete an object; KeyError where there is none."""
        with self.changed:
            gone = self.objects.pop(key)
            self._note("DELETED", key, gone)
            for other in [other for other in self.objects if key[1] == "namespaces" and other[2] == key[3]]:
                self._note("DELETED", other, self.objects.pop(other))
            return gone

    def named(self, kind: str) -> dict[str, Object]:
        """Name -> object of a kind, in all namespaces."""
        return {key[3]: found for key, found in self.objects.items() if found["kind"] == kind}

    def _note(self, event: str, key: Key, new: Object) -> None:
        self.changes.append((event, key, new))
        self.changed.notify_all()

    def _play(self, new: Object, old: Object | None) -> None:
        """Status, as the controllers and the kubelet set it."""
        generation, spec = new["metadata"]["generation"], new.get("spec", {})
        match new["kind"]:
            case "Pod":
                new["status"] = {
                    "phase": "Succeeded",
                    "conditions": [{"type": "Ready", "status": "False", "reason": "PodCompleted"}],
                }
            case "Deployment":
                spec.setdefault("replicas", old["spec"].get("replicas", 1) if old else 1)
                count = {
                    name: spec["replicas"]
                    for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
                }
                conditions = [
                    {"type": "Available", "status": "True"},
                    {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
                ]
                new["status"] = {"observedGeneration": generation, "conditions": conditions, **count}
            case "Namespace":
                new["status"] = {"phase": "Active"}
