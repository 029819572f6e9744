"""What the tests of deployment share: examples, the expressions of rules and panels, and deploy/manifests.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from manifests import (
    Document,
    needed_claims,
    needed_classes,
    needed_secrets,
    pod_security_level,
    pod_template,
    pods,
    rendered_documents,
)

__all__ = [
    "Document",
    "needed_claims",
    "needed_classes",
    "needed_secrets",
    "pod_security_level",
    "pod_template",
    "pods",
    "rendered_documents",
]

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "covaria"
EXAMPLES = ("defaults", "trial", "gpu-node", "facility", "openshift")


def example_values(name: str) -> Document:
    """Values of an example site; none for the defaults."""
    return {} if name == "defaults" else yaml.safe_load((CHART / "examples" / f"{name}.yaml").read_text())


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
    """Dashboard: panel -> expression, with every namespace and installation chosen."""
    return {
        f"{name}: {panel['title']}: {target['refId']}": re.sub(r"\$(namespace|installation)", ".*", target["expr"])
        for name, dashboard in dashboards().items()
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }


def metric_names(expression: str) -> set[str]:
    """Names of Covaria's, RabbitMQ's and recorded series in a PromQL expression."""
    bare = re.sub(r"\{[^}]*\}", "", expression)
    return set(re.findall(r"\b(?:covaria|rabbitmq)[_:][a-z0-9_:]+", bare))
