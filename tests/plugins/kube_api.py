"""A Kubernetes API in memory, so that Helm's and kubectl's own code can install, upgrade and remove the chart.

It keeps objects, answers lists and watches, and plays the parts that a chart waits for: a pod that runs to its end
succeeds, a Deployment becomes available, a namespace has its ConfigMap. It checks no schema: kubernetes-validate does.
A pod may be refused, as an admission controller would: `refuse(pod)` returns the reason.
"""

from __future__ import annotations

import base64
import copy
import json
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

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
PROTOBUF = b"k8s\0"


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


class Handler(BaseHTTPRequestHandler):
    """HTTP's side: paths to keys, verbs to changes."""

    protocol_version = "HTTP/1.1"
    api: Api

    def log_message(self, *words: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.rstrip("/")
        version = path.removeprefix("/apis/").removeprefix("/api/")
        key = self._key()
        if path == "/version":
            self._answer({"major": "1", "minor": "31", "gitVersion": "v1.31.0"})
        elif path == "/api":
            self._answer({"kind": "APIVersions", "versions": ["v1"]})
        elif path == "/apis":
            self._answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": self._groups()})
        elif path.startswith("/openapi/v3"):
            self._answer(self._openapi(path.removeprefix("/openapi/v3").strip("/")))
        elif version in self.api.kinds:
            self._answer(self._resources(version))
        elif path.endswith("/log"):
            self._answer("a pod's log")
        elif key is None:
            self._fail(404, "NotFound", f"no path {path}")
        elif key[3]:
            self._answer(self.api.objects[key]) if key in self.api.objects else self._missing(key)
        elif self._query("watch") in ("1", "true"):
            self._watch(key)
        else:
            self._list(key)

    def do_POST(self) -> None:
        body, key = self._body(), self._key()
        assert key is not None, self.path
        key = (*key[:3], body["metadata"]["name"])
        if key in self.api.objects:
            self._fail(409, "AlreadyExists", f'{key[1]} "{key[3]}" already exists')
        else:
            self._put(key, body, 201)

    def do_PUT(self) -> None:
        body, key = self._body(), self._key()
        assert key is not None, self.path
        self._put(key, body) if key in self.api.objects else self._missing(key)

    def do_PATCH(self) -> None:
        body, key = self._body(), self._key()
        assert key is not None, self.path
        old = self.api.objects.get(key)
        if "apply" in self.headers["Content-Type"]:
            self._put(key, body, 200 if old else 201)
        elif old is None:
            self._missing(key)
        else:
            self._put(key, merge(old, body))

    def do_DELETE(self) -> None:
        self._body()
        key = self._key()
        assert key is not None, self.path
        if key in self.api.objects:
            self.api.remove(key)
            self._answer({"kind": "Status", "apiVersion": "v1", "status": "Success"})
        else:
            self._missing(key)

    def _list(self, key: Key) -> None:
        with self.api.changed:
            items = [found for other, found in self.api.objects.items() if self._selected(key, other, found)]
            version = str(len(self.api.changes))
        kind = f"{self.api.kinds[key[0]][key[1]]}List"
        self._answer({"kind": kind, "apiVersion": key[0], "metadata": {"resourceVersion": version}, "items": items})

    def _put(self, key: Key, body: Object, status: int = 200) -> None:
        try:
            self._answer(self.api.put(key, body), status)
        except PermissionError as error:
            self._fail(403, "Forbidden", str(error))

    def _watch(self, key: Key) -> None:
        """Changes after a resource version, until the client has enough."""
        seen = int(self._query("resourceVersion") or 0)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            if self._query("sendInitialEvents") == "true":
                with self.api.changed:
                    seen, there = len(self.api.changes), dict(self.api.objects)
                for other, found in there.items():
                    if self._selected(key, other, found):
                        self._event("ADDED", found)
                end = {"resourceVersion": str(seen), "annotations": {"k8s.io/initial-events-end": "true"}}
                self._event("BOOKMARK", {"apiVersion": key[0], "kind": self.api.kinds[key[0]][key[1]], "metadata": end})
            while True:
                with self.api.changed:
                    if len(self.api.changes) == seen:
                        self.api.changed.wait(timeout=5)
                    new, seen = self.api.changes[seen:], len(self.api.changes)
                for event, other, found in new:
                    if self._selected(key, other, found):
                        self._event(event, found)
        except OSError:
            self.close_connection = True

    def _event(self, event: str, found: Object) -> None:
        line = json.dumps({"type": event, "object": found}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()

    def _selected(self, key: Key, other: Key, found: Object) -> bool:
        if other[:2] != key[:2] or (key[2] and other[2] != key[2]):
            return False
        labels = found["metadata"].get("labels") or {}
        for term in filter(None, (self._query("labelSelector") or "").split(",")):
            name, _, value = term.replace("==", "=").partition("=")
            if labels.get(name) != value:
                return False
        name = re.search(r"metadata\.name=([^,]+)", self._query("fieldSelector") or "")
        return name is None or other[3] == name[1]

    def _key(self) -> Key | None:
        path = urlsplit(self.path).path
        where = r"/(?:api|apis)/((?:[^/]+/)?v\w+)(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?(?:/status)?"
        match = re.fullmatch(where, path)
        if match is None or match[3] not in self.api.kinds.get(match[1], {}):
            return None
        return match[1], match[3], match[2] or "", match[4] or ""

    def _groups(self) -> list[Object]:
        found = []
        for version in self.api.kinds:
            group, slash, number = version.partition("/")
            if slash:
                entry = {"groupVersion": version, "version": number}
                found.append({"name": group, "versions": [entry], "preferredVersion": entry})
        return found

    def _resources(self, version: str) -> Object:
        verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
        resources = [
            {
                "name": name,
                "singularName": kind.lower(),
                "kind": kind,
                "verbs": verbs,
                "namespaced": name not in CLUSTER_WIDE,
            }
            for name, kind in self.api.kinds[version].items()
        ]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}

    def _openapi(self, path: str) -> Object:
        """Just enough for a client to see that the server validates fields itself."""
        prefixed = {(f"apis/{version}" if "/" in version else f"api/{version}"): version for version in self.api.kinds}
        if not path:
            return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}"} for name in prefixed}}
        version = prefixed[path]
        group, _, number = version.rpartition("/")
        paths = {}
        for resource, kind in self.api.kinds[version].items():
            where = "" if resource in CLUSTER_WIDE else "/namespaces/{namespace}"
            paths[f"/{path}{where}/{resource}/{{name}}"] = {
                "patch": {
                    "parameters": [{"name": name, "in": "query"} for name in ("fieldValidation", "dryRun")],
                    "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind},
                    "responses": {},
                }
            }
        return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.31.0"}, "paths": paths}

    def _query(self, name: str) -> str | None:
        return parse_qs(urlsplit(self.path).query).get(name, [None])[0]

    def _body(self) -> Object:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not data.startswith(PROTOBUF):
            return yaml.safe_load(data) or {}
        return secret_of(data) if "/secrets" in self.path and self.command != "DELETE" else {}

    def _missing(self, key: Key) -> None:
        self._fail(404, "NotFound", f'{key[1]} "{key[3]}" not found')

    def _fail(self, code: int, reason: str, message: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
        self._answer({**status, "reason": reason, "message": message}, code)

    def _answer(self, body: object, code: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def fields(data: bytes) -> list[tuple[int, Any]]:
    """(number, value) of a protobuf message: bytes, or an integer."""
    found, at = [], 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = data[at], at + 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = number()
        value: Any = number()
        if tag & 7 == 2:
            value, at = data[at : at + value], at + value
        found.append((tag >> 3, value))
    return found


def secret_of(data: bytes) -> Object:
    """A Secret as client-go's typed clients send it; Helm keeps its releases in such."""
    (raw,) = (value for number, value in fields(data.removeprefix(PROTOBUF)) if number == 2)
    secret: Object = {"metadata": {"labels": {}}, "data": {}}
    for number, value in fields(raw):
        if number == 1:
            for part, content in fields(value):
                if part == 1:
                    secret["metadata"]["name"] = content.decode()
                elif part == 11:
                    pair = dict(fields(content))
                    secret["metadata"]["labels"][pair[1].decode()] = pair[2].decode()
        elif number == 2:
            pair = dict(fields(value))
            secret["data"][pair[1].decode()] = base64.b64encode(pair[2]).decode()
        elif number == 3:
            secret["type"] = value.decode()
    return secret


def merge(old: Any, patch: Any) -> Any:
    """RFC 7386's merge."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


@dataclass
class Cluster:
    """A running server, and the kubeconfig that reaches it."""

    api: Api
    kubeconfig: Path
    server: ThreadingHTTPServer

    def close(self) -> None:
        """Stop answering; watches end with their clients."""
        self.server.shutdown()
        self.server.server_close()


def start(folder: Path, **options: Any) -> Cluster:
    """Serve an empty cluster on a free port of loopback."""
    api = Api(**options)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"api": api}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": address}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "em"}}],
                "current-context": "x",
            }
        )
    )
    return Cluster(api, kubeconfig, server)
