"""Settings: from the environment and secret files, and no password in anything that is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from covaria.errors import InvalidInput
from covaria.settings import Settings, load_settings, redact_url
from covaria.worker.logs import JsonFormatter


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("COVARIA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COVARIA_SECRETS_DIR", str(tmp_path))


def test_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVARIA_ROOTS", "/data:/more:")
    monkeypatch.setenv("COVARIA_RETRY_DELAYS_S", "1, 1.5,2")
    settings = load_settings()
    assert settings.roots == (Path("/data"), Path("/more"))
    assert settings.retry_delays_s == (1.0, 1.5, 2.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROOTS", "relative"),
        ("RETRY_DELAYS_S", "3,2"),
        ("RETRY_DELAYS_S", ","),
        ("HTTP_PORT", "99999"),
        ("BROKER_URL", "http://broker"),
        ("BROKER_HEARTBEAT_S", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("POLL_INTERVAL_S", "nan"),
    ],
)
def test_wrong_values_name_their_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"COVARIA_{name}", value)
    with pytest.raises(InvalidInput, match=f"COVARIA_{name}"):
        load_settings()


def test_a_lease_must_be_renewed_before_it_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVARIA_LEASE_DEAD_S", "15")
    with pytest.raises(InvalidInput, match="three times"):
        load_settings()


def test_environment_wins_over_secret_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "covaria_broker_url").write_text("amqps://file:f@host/")
    (tmp_path / "covaria_broker_password").write_text("s e/c@ret\n")
    assert load_settings().amqp_url() == "amqps://file:s%20e%2Fc%40ret@host/"
    monkeypatch.setenv("COVARIA_BROKER_URL", "amqps://env:e@host/")
    monkeypatch.setenv("COVARIA_BROKER_USERNAME", "other")
    assert load_settings().amqp_url() == "amqps://other:s%20e%2Fc%40ret@host/"


def test_nothing_printed_holds_a_password() -> None:
    settings = Settings(broker_url="amqps://user:hunter2@host:5671/v", broker_password="hunter3")  # type: ignore[arg-type]
    for shown in (str(settings.redacted()), repr(settings), str(settings), settings.model_dump_json()):
        assert "hunter" not in shown
    assert settings.redacted()["broker_url"] == "amqps://user:***@host:5671/v"
    assert redact_url("amqp://host/") == "amqp://host/"


def test_ipv6_address() -> None:
    assert Settings(broker_url="amqp://u:p@[::1]:5672/").amqp_url() == "amqp://u:p@[::1]:5672/"  # type: ignore[arg-type]


def test_log_lines_are_json() -> None:
    import json
    import logging

    record = logging.makeLogRecord(
        {"name": "covaria", "msg": "a %s", "args": ("line\nbreak",), "levelname": "INFO", "job_id": "j"}
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["job_id"] == "j"
