"""The chart's page: off by default, read only, no login of the broker."""

from __future__ import annotations

from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from helm_python import Chart

TOKEN = {"enabled": True, "tokenSecret": "page", "from": [{"namespaceSelector": {}}]}
HEADER = {
    "enabled": True, "userHeader": "X-User", "proxies": ["10.42.0.0/16"], "accounts": "people", "basePath": "/covaria",
}  # fmt: skip


def rendered(chart: Chart, view: dict[str, Any]) -> list[dict[str, Any]]:
    texts = chart.render({"view": view}, name="covaria", namespace="em")
    every = [one for path, text in texts.items() if path.endswith(".yaml") for one in yaml.safe_load_all(text)]
    return [one for one in every if one and one["metadata"]["name"] == "covaria-view"]


def test_nothing_by_default(chart: Chart) -> None:
    assert rendered(chart, {}) == []


@pytest.mark.parametrize("view", [TOKEN, HEADER])
def test_it_reads_and_knows_no_broker(chart: Chart, view: dict[str, Any]) -> None:
    documents = rendered(chart, view)
    assert {one["kind"] for one in documents} == {"Deployment", "Service", "NetworkPolicy"}
    for document in documents:
        kubernetes_validate.validate(document, "1.31", strict=True)
    pod = next(one for one in documents if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert all(mount.get("readOnly") for mount in container["volumeMounts"] if mount["name"] != "tmp")
    assert "broker" not in yaml.safe_dump(pod)
    assert container["args"][:2] == ["view", "/data"] and "--root=/data" in container["args"]
    assert ("--token-file=/etc/covaria/view/token" in container["args"]) == (view is TOKEN)
    assert ("--proxy=10.42.0.0/16" in container["args"]) == (view is HEADER)


@pytest.mark.parametrize("view", [{"enabled": True}, {"enabled": True, "userHeader": "X-User"}, {"folder": "data"}])
def test_without_a_door_it_is_refused(chart: Chart, view: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmValuesError):
        chart.validate_schema({"view": view})
