"""A Kubernetes API in memory, so that Helm's and kubectl's own code can install, upgrade and remove the chart.

It keeps objects, answers lists and watches, and plays the parts that a chart waits for: a pod that runs to its end
succeeds, a Deployment becomes available, a namespace has its ConfigMap. It checks no schema: kubernetes-validate does.
A pod may be refused, as an admission controller would: `refuse(pod)` returns the reason.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from kube_objects import CLUSTER_WIDE, CUSTOM, Api, Key, Object
from kube_wire import PROTOBUF, merge, secret_of

__all__ = ["CUSTOM", "Api", "Cluster", "start"]


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
