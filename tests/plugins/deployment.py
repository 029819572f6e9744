"""What the tests of deployment share: examples, the pods of a rendered chart, the expressions of rules and panels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "covaria"
EXAMPLES = ("defaults", "trial", "gpu-node", "facility")

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
