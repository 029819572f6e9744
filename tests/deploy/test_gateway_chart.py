"""The chart's gateway: off by default; one, with its tokens or its provider, its own spool, and its queue declared."""

from __future__ import annotations

from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from helm_python import Chart

TOKENS = {"enabled": True, "tokenSecret": "who", "from": [{"namespaceSelector": {}}]}
PROVIDER = {
    "enabled": True, "oidc": {"issuer": "https://sso.example", "audience": "covaria", "visitsClaim": "visits"},
    "spool": {"existingClaim": "kept"},
}  # fmt: skip


def rendered(chart: Chart, values: dict[str, Any]) -> list[dict[str, Any]]:
    texts = chart.render(values, name="covaria", namespace="em")
    return [one for path, text in texts.items() if path.endswith(".yaml") for one in yaml.safe_load_all(text) if one]


def environment(document: dict[str, Any]) -> dict[str, str]:
    spec = document["spec"] if document["kind"] == "Pod" else document["spec"]["template"]["spec"]
    return {item["name"]: item.get("value", "") for item in spec["containers"][0]["env"]}


def test_nothing_by_default(chart: Chart) -> None:
    documents = rendered(chart, {})
    assert not [one for one in documents if one["metadata"]["name"] == "covaria-gateway"]
    topology = next(one for one in documents if one["metadata"]["name"] == "covaria-topology")
    assert "COVARIA_EVENT_LISTENERS" not in environment(topology)
    assert environment(topology)["COVARIA_SERVICE_UID"] == "10001"


@pytest.mark.parametrize("gateway", [TOKENS, PROVIDER])
def test_one_with_what_it_needs(chart: Chart, gateway: dict[str, Any]) -> None:
    documents = rendered(chart, {"gateway": gateway, "settings": {"event_listeners": "ispyb,webhook", "umask": "0007"}})
    ours = {one["kind"]: one for one in documents if one["metadata"]["name"] == "covaria-gateway"}
    own_claim = {"PersistentVolumeClaim"} if gateway is TOKENS else set()
    assert set(ours) == {"Deployment", "Service", "NetworkPolicy"} | own_claim
    for document in ours.values():
        kubernetes_validate.validate(document, "1.31", strict=True)
    told = environment(ours["Deployment"])
    topology = environment(next(one for one in documents if one["metadata"]["name"] == "covaria-topology"))
    assert told["COVARIA_EVENT_LISTENERS"] == topology["COVARIA_EVENT_LISTENERS"] == "gateway,ispyb,webhook"
    assert (told["COVARIA_SPOOL"], told["COVARIA_UMASK"]) == ("/spool", "0007")
    assert ("COVARIA_GATEWAY_OIDC_ISSUER" in told) == (gateway is PROVIDER)
    pod = ours["Deployment"]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["spool"]["persistentVolumeClaim"]["claimName"] == (
        "covaria-gateway" if gateway is TOKENS else "kept"
    )
    assert ("projected" in volumes["broker-login"]) == (gateway is TOKENS)
    assert not [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "data-data" and one["readOnly"]]
    assert pod["containers"][0]["image"].startswith("registry.example.org/cryoem/covaria-gateway:")


@pytest.mark.parametrize(
    "gateway",
    [{"enabled": True}, {"enabled": True, "oidc": {"issuer": "https://sso.example"}}, {"oidc": {"issuer": "http://x"}}],
)
def test_without_a_door_it_is_refused(chart: Chart, gateway: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmValuesError):
        chart.validate_schema({"gateway": gateway})
