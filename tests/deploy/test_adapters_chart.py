"""The chart's adapters: off by default; each one process with its secret, spool and way out, and its queue declared."""

from __future__ import annotations

from typing import Any

import helm_python
import kubernetes_validate
import pytest
from deployment import needed_secrets, pods, rendered_documents
from helm_python import Chart

from covaria.settings import PREFIX, Settings

PLACE = {"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}
ADAPTERS: dict[str, dict[str, Any]] = {
    "zocalo": {"enabled": True, "secret": "facility", "queue": "em", "existingSecret": "covaria-gateway"},
    "ispyb": {"enabled": True, "secret": "facility", "port": 5672, **PLACE},
    "webhook": {
        "enabled": True, "secret": "hook", "url": "https://lims.example/covaria", "spool": {"existingClaim": "kept"},
    },
}  # fmt: skip
READS = {"zocalo": "facility_broker_url", "ispyb": "facility_broker_url", "webhook": "webhook_secret"}


def pod_of(documents: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(d for d in documents if (d["kind"], d["metadata"]["name"]) == ("Deployment", name))["spec"]["template"]


def test_nothing_by_default(chart: Chart) -> None:
    assert not [d for d in rendered_documents(chart, {}) if "adapter" in d["metadata"]["name"]]


@pytest.mark.parametrize("name", ADAPTERS)
def test_one_with_what_it_needs(chart: Chart, name: str) -> None:
    documents = rendered_documents(chart, {"adapters": {name: ADAPTERS[name]}})
    ours = {d["kind"]: d for d in documents if d["metadata"]["name"] == f"covaria-adapter-{name}"}
    assert set(ours) == {"Deployment", "NetworkPolicy"} | ({"PersistentVolumeClaim"} if name == "ispyb" else set())
    for document in ours.values():
        kubernetes_validate.validate(document, "1.31", strict=True)
    template = pod_of(documents, f"covaria-adapter-{name}")
    (container,) = template["spec"]["containers"]
    assert container["args"] == ["adapter", name]
    told = {item["name"]: item["value"] for item in container["env"]}
    assert {key.removeprefix(PREFIX).lower() for key in told if key != "COVARIA_SECRETS_DIR"} <= set(
        Settings.model_fields
    )
    assert (told.get("COVARIA_ZOCALO_QUEUE"), told.get("COVARIA_ISPYB_QUEUE"), told.get("COVARIA_WEBHOOK_URL")) == {
        "zocalo": ("em", None, None),
        "ispyb": (None, "ispyb_connector", None),
        "webhook": (None, None, "https://lims.example/covaria"),
    }[name]
    login = next(v for v in template["spec"]["volumes"] if v["name"] == "broker-login")
    paths = {item["path"] for source in login["projected"]["sources"] for item in source["secret"]["items"]}
    assert paths == {"covaria_broker_username", "covaria_broker_password", f"covaria_{READS[name]}"}
    assert set(READS.values()) <= set(Settings.model_fields)
    assert needed_secrets(documents)[ADAPTERS[name]["secret"]] == {"secret" if name == "webhook" else "url"}
    labels, chosen = template["metadata"]["labels"], ours["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert labels["covaria/workload"] == "deployment" and chosen.items() <= labels.items()
    claims = [v["persistentVolumeClaim"]["claimName"] for v in template["spec"]["volumes"] if v["name"] == "spool"]
    assert claims == {"zocalo": [], "ispyb": ["covaria-adapter-ispyb"], "webhook": ["kept"]}[name]
    (way,) = ours["NetworkPolicy"]["spec"]["egress"]
    assert way["ports"] == [{"port": {"zocalo": 5671, "ispyb": 5672, "webhook": 443}[name], "protocol": "TCP"}]
    assert way.get("to") == (PLACE["to"] if name == "ispyb" else None)


def test_the_topology_has_the_queues_of_those_that_run(chart: Chart) -> None:
    for on, listeners in ((("zocalo",), None), (("ispyb",), "ispyb"), (tuple(ADAPTERS), "ispyb,webhook")):
        documents = rendered_documents(chart, {"adapters": {name: ADAPTERS[name] for name in on}})
        topology = next(d for d in documents if d["metadata"]["name"] == "covaria-topology")
        told = {item["name"]: item["value"] for item in topology["spec"]["containers"][0]["env"]}
        assert told.get("COVARIA_EVENT_LISTENERS") == listeners


@pytest.mark.parametrize(
    "adapters",
    [
        {"zocalo": {"enabled": True}},
        {"webhook": {"enabled": True, "secret": "hook"}},
        {"webhook": {"url": "http://lims.example"}},
        {"slack": {"enabled": True}},
    ],
)
def test_what_is_missing_is_refused(chart: Chart, adapters: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmValuesError):
        chart.validate_schema({"adapters": adapters})


def test_the_ledgers_database_is_reached_by_every_pod(chart: Chart) -> None:
    values = {"ledger": "/data/.ledger", "ledgerDatabase": {"secret": "books", "port": 6432}}
    documents = rendered_documents(chart, values)
    assert needed_secrets(documents)["books"] == {"url"}
    for name, pod in pods(documents):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        if "broker-login" in volumes:
            paths = {i["path"] for s in volumes["broker-login"]["projected"]["sources"] for i in s["secret"]["items"]}
            assert {"covaria_broker_password", "covaria_ledger_url"} <= paths, name
    policy = next(d for d in documents if d["metadata"]["name"] == "covaria-allow")
    assert [{"port": 6432, "protocol": "TCP"}] in [rule["ports"] for rule in policy["spec"]["egress"]]
    with pytest.raises(helm_python.HelmError, match="the folder of notices"):
        chart.render({"ledgerDatabase": {"secret": "books"}}, name="covaria", namespace="em")
