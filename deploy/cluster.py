"""The chart on a cluster: install, upgrade between all examples, test, roll back, uninstall. Leaves nothing behind.

    python deploy/cluster.py [--kubeconfig FILE] [--context NAME] [--image-registry REGISTRY --image-tag TAG]

Takes the kubeconfig's current cluster (kind, k3d, envtest, a real one; KUBECONFIG or ~/.kube/config), works in a
namespace of its own under Pod Security `restricted`, and removes it. With nodes that can pull the image
REGISTRY/covaria-ingest:TAG it also starts a broker and a worker, lets the topology pod run, and asks `helm test`.
Exit status 0 without a cluster: the reason is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import helm_python
import yaml
from cluster_fixtures import broker_documents, class_document, fixtures
from manifests import Document, needed_classes, rendered_documents

CHART = Path(__file__).resolve().parents[1] / "charts" / "covaria"
NAMESPACE = "covaria-cluster-check"
RELEASE = "covaria"
EXAMPLES = ("defaults", "trial", "gpu-node", "facility", "openshift")
OURS = f"app.kubernetes.io/instance={RELEASE}"
CUSTOM = {"keda.sh/v1alpha1": "KEDA", "monitoring.coreos.com/v1": "the Prometheus operator"}


class Refused(Exception):
    """The cluster did not do what it should; the message says what."""


def say(words: str) -> None:
    print(f"cluster: {words}", flush=True)


@dataclass(frozen=True)
class Cluster:
    """kubectl and Helm on one context, in one namespace."""

    kubectl: str
    kubeconfig: str | None
    context: str | None

    def run(self, *words: str, stdin: str | None = None) -> str:
        """Output of kubectl. Raises Refused with what it said."""
        options = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        options += [f"--context={self.context}"] if self.context else []
        command = [self.kubectl, *options, "--request-timeout=30s", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300)  # nosec B603
        if done.returncode:
            raise Refused(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, documents: list[Document]) -> None:
        """Server-side, in the namespace."""
        text = yaml.safe_dump_all(documents)
        self.run("-n", NAMESPACE, "apply", "--server-side", "--validate=false", "-f", "-", stdin=text)

    def listed(self, kind: str, *options: str) -> list[Document]:
        """Objects of a kind in the namespace."""
        found = json.loads(self.run("-n", NAMESPACE, "get", kind, "-o", "json", *options))
        items: list[Document] = found["items"]
        return items

    def serves(self, version: str) -> bool:
        """Whether the API has a group."""
        return version in self.run("api-versions").split()

    def helm(self) -> helm_python.Config:
        """Helm's own code on the same cluster."""
        return helm_python.Config(kubeconfig_path=self.kubeconfig, kube_context=self.context, namespace=NAMESPACE)


def example_values(name: str, *, run_topology: bool) -> Document:
    """Values of an example; the topology pod only where something can run it."""
    values = {} if name == "defaults" else yaml.safe_load((CHART / "examples" / f"{name}.yaml").read_text())
    topology = values.setdefault("rabbitmq", {}).setdefault("topology", {})
    topology["enabled"] = run_topology
    return values


def every_step(names: list[str]) -> list[str]:
    """A walk that takes each ordered pair of examples once (an Eulerian circuit), from the first back to it."""
    left = {name: [other for other in names if other != name] for name in names}
    stack, walk = [names[0]], []
    while stack:
        if left[stack[-1]]:
            stack.append(left[stack[-1]].pop())
        else:
            walk.append(stack.pop())
    return walk[::-1]


@contextmanager
def workplace(cluster: Cluster, documents: list[Document]) -> Iterator[None]:
    """The namespace with all that the documents need; gone afterwards, with the classes made for it."""
    if cluster.run("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name").strip():
        raise Refused(
            f"namespace {NAMESPACE} is there already: a run that was cut off? kubectl delete namespace {NAMESPACE}"
        )
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    made: list[tuple[str, str]] = []
    cluster.run("create", "--validate=false", "-f", "-", stdin=yaml.safe_dump(space))
    try:
        cluster.apply(fixtures(documents))
        for kind, name in sorted(needed_classes(documents)):
            if not cluster.run("get", kind, name, "--ignore-not-found", "-o", "name").strip():
                cluster.run("create", "--validate=false", "-f", "-", stdin=yaml.safe_dump(class_document(kind, name)))
                made.append((kind, name))
        yield
    finally:
        for kind, name in made:
            cluster.run("delete", kind, name)
        cluster.run("delete", "namespace", NAMESPACE, "--wait=false")


def check_objects(cluster: Cluster, documents: list[Document], versions: list[str]) -> None:
    """The release's objects are those of its documents, no more and no fewer; a claim that is kept lasts longer."""
    wanted = {
        (d["kind"], d["metadata"]["name"])
        for d in documents
        if not {"helm.sh/hook", "helm.sh/resource-policy"} & set(d["metadata"].get("annotations") or {})
    }
    kinds = "serviceaccounts,services,configmaps,networkpolicies,poddisruptionbudgets,deployments,cronjobs"
    if "keda.sh/v1alpha1" in versions:
        kinds += ",scaledjobs.keda.sh,scaledobjects.keda.sh,triggerauthentications.keda.sh"
    if "monitoring.coreos.com/v1" in versions:
        kinds += ",servicemonitors,podmonitors,prometheusrules"
    there = {(found["kind"], found["metadata"]["name"]) for found in cluster.listed(kinds, "-l", OURS)}
    if there != wanted:
        raise Refused(f"missing {sorted(wanted - there)}, left over {sorted(there - wanted)}")


def check_pods(cluster: Cluster, seconds: float = 60) -> None:
    """Every Deployment's pods are made: nothing in the namespace refuses them."""
    end = time.monotonic() + seconds
    while True:
        short = [
            d["metadata"]["name"]
            for d in cluster.listed("deployments", "-l", OURS)
            if d.get("status", {}).get("replicas", 0) < d["spec"]["replicas"]
        ]
        if not short:
            return
        if time.monotonic() > end:
            events = cluster.listed("events", "--field-selector", "type=Warning")
            reasons = sorted({f"{event.get('reason')}: {event.get('message')}" for event in events})
            raise Refused(f"no pods of {', '.join(short)} after {seconds:.0f} s: {'; '.join(reasons) or 'no event'}")
        time.sleep(1)


def check_upgrades(cluster: Cluster, versions: list[str], names: list[str], *, controllers: bool) -> None:
    """Install, each upgrade between two examples, the same twice, a rollback, an uninstall."""
    with helm_python.Chart.load(CHART) as chart, cluster.helm() as helm:
        values = {name: example_values(name, run_topology=False) for name in names}
        documents = {name: rendered_documents(chart, values[name], RELEASE, NAMESPACE) for name in names}
        walk = every_step(names)
        for number, name in enumerate(walk):
            act = helm.upgrade if number else helm.install
            act(chart, RELEASE, values[name], namespace=NAMESPACE, timeout=120)
            check_objects(cluster, documents[name], versions)
            if controllers:
                check_pods(cluster)
        say(f"install and {len(walk) - 1} upgrades: {' > '.join(walk)}")
        before = {d["metadata"]["name"]: d["metadata"]["generation"] for d in cluster.listed("deployments", "-l", OURS)}
        helm.upgrade(chart, RELEASE, values[walk[-1]], namespace=NAMESPACE, timeout=120)
        after = {d["metadata"]["name"]: d["metadata"]["generation"] for d in cluster.listed("deployments", "-l", OURS)}
        if before != after:
            raise Refused(f"an upgrade to the same values changed generations: {before} -> {after}")
        revision = min(2, len(walk))
        helm.rollback(RELEASE, version=revision, timeout=120)
        check_objects(cluster, documents[walk[revision - 1]], versions)
        say(f"rollback to revision {revision}, {walk[revision - 1]}")
        helm.uninstall(RELEASE, timeout=120)
        check_objects(cluster, [], versions)
        say("uninstall: nothing left")


def check_run(cluster: Cluster, registry: str, tag: str) -> None:
    """With a broker and the ingest image: the topology pod, a ready worker, `helm test`."""
    values = example_values("trial", run_topology=True)
    values["image"] = {"registry": registry, "tag": tag}
    values["securityContext"] = {"fsGroup": 10001}
    for name in ("reconstruction", "density", "analysis"):
        values["services"].setdefault(name, {})["enabled"] = False
    cluster.apply(broker_documents())
    cluster.run("-n", NAMESPACE, "rollout", "status", "deployment/rabbitmq", "--timeout=240s")
    with helm_python.Chart.load(CHART) as chart, cluster.helm() as helm:
        helm.install(chart, RELEASE, values, namespace=NAMESPACE, timeout=280, wait="watcher")
        helm.test(RELEASE, timeout=120)
        helm.uninstall(RELEASE, timeout=120)
    say("topology pod, worker and helm test succeeded")


def check(cluster: Cluster, registry: str, tag: str) -> None:
    """All of it. Raises Refused or HelmError with what went wrong."""
    versions = [version for version in CUSTOM if cluster.serves(version)]
    nodes = len(json.loads(cluster.run("get", "nodes", "-o", "json"))["items"])
    with helm_python.Chart.load(CHART) as chart:
        documents = {
            name: rendered_documents(chart, example_values(name, run_topology=True), RELEASE, NAMESPACE)
            for name in EXAMPLES
        }
    able = []
    for name in EXAMPLES:
        lacking = {d["apiVersion"] for d in documents[name]} & (set(CUSTOM) - set(versions))
        if lacking:
            say(f"without {name}: the cluster lacks {' and '.join(sorted(CUSTOM[version] for version in lacking))}")
        else:
            able.append(name)
    with workplace(cluster, [document for name in able for document in documents[name]]):
        check_upgrades(cluster, versions, able, controllers=nodes > 0)
        if not nodes or not registry:
            say(f"without running pods: {'--image-registry is not given' if nodes else 'the cluster has no nodes'}")
        else:
            check_run(cluster, registry, tag)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG"))
    parser.add_argument("--context")
    parser.add_argument("--image-registry", default="")
    parser.add_argument("--image-tag", default="")
    options = parser.parse_args()
    usual = Path.home() / ".kube" / "config"
    kubectl = shutil.which("kubectl")
    if not options.kubeconfig and not usual.exists():
        say(f"skipped: no cluster (KUBECONFIG is not set, {usual} is not there)")
        return 0
    if kubectl is None:
        say("skipped: kubectl is not installed")
        return 0
    try:
        check(Cluster(kubectl, options.kubeconfig, options.context), options.image_registry, options.image_tag)
    except (Refused, helm_python.HelmError) as error:
        say(f"FAILED: {error}")
        return 1
    say("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
