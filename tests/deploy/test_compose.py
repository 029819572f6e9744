"""compose.yaml: hardened services, known settings, one user of the broker each, definitions that fit the topology."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from deployment import REPOSITORY

from covaria.bus.topology import build_topology
from covaria.gateway.callers import Tokens
from covaria.request.stages import STAGES
from covaria.settings import PREFIX, Settings

DEPLOY = REPOSITORY / "deploy"
ADAPTERS = {"zocalo": "facility_broker_url", "ispyb": "facility_broker_url", "webhook": "webhook_secret"}
OURS = (*STAGES, "exporter", "trigger", "cli", "admin", "gateway", *ADAPTERS)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def definitions() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rabbitmq_definitions", DEPLOY / "rabbitmq" / "definitions.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_our_services_are_hardened_and_limited(compose: dict[str, Any]):
    for name in (*OURS, "clean"):
        service = compose["services"][name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"].startswith("${COVARIA_UID"), name
        assert any(mount.startswith("/tmp:") for mount in service["tmpfs"]), name
    for name, service in compose["services"].items():
        assert {"memory", "cpus"} <= set(service["deploy"]["resources"]["limits"]), name
        assert not service.get("privileged"), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} listens to the world"


def test_every_environment_variable_is_a_setting(compose: dict[str, Any]):
    for name in (*OURS, "clean"):
        for variable in compose["services"][name]["environment"]:
            assert variable.removeprefix(PREFIX).lower() in Settings.model_fields, (name, variable)


def test_each_worker_knows_the_image_that_it_is(compose: dict[str, Any]):
    for stage in STAGES:
        service = compose["services"][stage]
        assert service["environment"]["COVARIA_IMAGE"] == service["image"]
        digest = f"${{COVARIA_{stage.upper()}_DIGEST:-}}"
        assert service["image"].endswith(f"covaria-{stage}:${{COVARIA_VERSION:-0.1.0}}{digest}")


def test_each_service_is_its_own_user_of_the_broker(compose: dict[str, Any], definitions: ModuleType):
    users = {}
    for name in OURS:
        service = compose["services"][name]
        users[name] = service["environment"]["COVARIA_BROKER_USERNAME"]
        secret, *more = service["secrets"]
        own = {"gateway": "gateway_tokens", **ADAPTERS}.get(name)
        assert more == ([{"source": own, "target": f"covaria_{own}"}] if own else []), name
        assert secret == {"source": f"{users[name]}_password", "target": "covaria_broker_password"}
    assert users == {stage: f"worker_{stage}" for stage in STAGES} | {
        "exporter": "monitor",
        "trigger": "submit",
        "cli": "submit",
        "admin": "setup",
        "gateway": "gateway",
        **dict.fromkeys(ADAPTERS, "gateway"),
    }
    assert set(users.values()) == set(definitions.users_and_rights())
    given = {secret.removesuffix("_password") for secret in compose["services"]["definitions"]["secrets"]}
    assert given == set(definitions.users_and_rights())


def test_stopping_waits_longer_than_a_stage_may(compose: dict[str, Any]):
    for stage in STAGES:
        wait = int(compose["services"][stage]["stop_grace_period"].removesuffix("s"))
        assert wait > Settings.model_fields["grace_s"].default


def test_adapters_wait_for_their_profile(compose: dict[str, Any]):
    for name in ADAPTERS:
        service = compose["services"][name]
        assert (service["profiles"], service["command"]) == ([name], ["adapter", name])
    listeners = compose["services"]["webhook"]["environment"]["COVARIA_EVENT_LISTENERS"]
    assert listeners == compose["services"]["definitions"]["environment"]["COVARIA_EVENT_LISTENERS"]


def test_variables_have_an_example(compose: dict[str, Any]):
    used = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text()))
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / ".env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert used == set(example)
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", (DEPLOY / "compose.yaml").read_text()))
    assert {name: example[name] for name in defaults} == defaults


def test_gpu_override_fits(compose: dict[str, Any]):
    override = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())
    assert set(override["services"]) == {"reconstruction", "analysis"} <= set(compose["services"])
    for service in override["services"].values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_mounted_files_exist(compose: dict[str, Any]):
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), (name, source)


def test_the_broker_waits_a_day_for_an_acknowledgement():
    text = (DEPLOY / "rabbitmq" / "rabbitmq.conf").read_text()
    assert re.search(r"^consumer_timeout = 86400000$", text, flags=re.M)


def test_prepare_makes_secrets_once(tmp_path: Path):
    folder = tmp_path / "deploy"
    folder.mkdir()
    for name in ("prepare", ".env.example"):
        (folder / name).write_bytes((DEPLOY / name).read_bytes())
    (folder / "prepare").chmod(0o755)
    subprocess.run([folder / "prepare"], check=True, capture_output=True, timeout=30)
    made = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
    assert len(made) == 11 and len(set(made.values())) == 11
    Tokens(made["gateway_tokens"])
    assert all(len(text) >= 20 and text.strip().removeprefix("lims:").isalnum() for text in made.values())
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    assert f"COVARIA_UID={os.getuid() or 10001}" in (folder / ".env").read_text()
    subprocess.run([folder / "prepare"], check=True, capture_output=True, timeout=30)
    assert made == {path.name: path.read_text() for path in (folder / "secrets").iterdir()}


@pytest.fixture
def secrets(tmp_path: Path, definitions: ModuleType) -> Path:
    for user in definitions.users_and_rights():
        (tmp_path / f"{user}_password").write_text(f"word-of-{user}\n")
    return tmp_path


def test_definitions_hold_topology_and_least_rights(definitions: ModuleType, secrets: Path):
    document = definitions.make_definitions(secrets)
    topology = build_topology(Settings().retry_delays_s)
    assert [queue["name"] for queue in document["queues"]] == [queue.name for queue in topology.queues]
    rights = {entry["user"]: entry for entry in document["permissions"]}
    for stage in STAGES:
        worker = rights[f"worker_{stage}"]
        assert worker["configure"] == "^$"
        for queue in topology.queues:
            own = queue.name.startswith(f"covaria.{stage}.")
            assert bool(re.search(worker["read"], queue.name)) is own, (stage, queue.name)
    assert rights["submit"]["read"] == "^$" and rights["monitor"]["write"] == "^$"
    assert "guest" not in rights
    for user in document["users"]:
        assert user["tags"] == []
        raw = base64.b64decode(user["password_hash"])
        word = f"word-of-{user['name']}".encode()
        assert raw[4:] == hashlib.sha256(raw[:4] + word).digest()
    assert "word-of" not in json.dumps(document)


def test_an_empty_password_is_refused(definitions: ModuleType, secrets: Path):
    (secrets / "submit_password").write_text("\n")
    with pytest.raises(ValueError, match="submit_password is empty"):
        definitions.make_definitions(secrets)


@pytest.mark.broker
def test_a_real_broker_takes_the_definitions_and_the_passwords(definitions: ModuleType, secrets: Path, broker_server):
    from covaria.bus.rabbit import RabbitBus

    document = definitions.make_definitions(secrets)
    path = secrets / "definitions.json"
    path.write_text(json.dumps(document))
    broker_server.ctl("import_definitions", str(path))
    broker_server.ctl("authenticate_user", "submit", "word-of-submit")
    url = broker_server.url("covaria", "worker_ingest", "word-of-worker_ingest")
    bus = RabbitBus(Settings(broker_url=url))  # type: ignore[arg-type]
    bus.open()
    assert bus.depth("covaria.ingest.live") == 0
    bus.close()
