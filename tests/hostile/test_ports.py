"""redteam 8: idle, slow and talkative connections to the port of probes and metrics."""

from __future__ import annotations

import os
import resource
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from covaria.errors import InvalidInput
from covaria.worker import health as health_module
from covaria.worker.health import MOST_CONNECTIONS, Health, HealthServer
from covaria.worker.metrics import Metrics

IDLE = 300


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HealthServer]:
    monkeypatch.setattr(health_module, "PATIENCE_S", 60.0)  # whoever is dropped here is dropped for the crowd
    found = HealthServer("127.0.0.1", 0, Health(), Metrics().registry)
    yield found
    found.close()


def connect(server: HealthServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def ask(server: HealthServer, path: str = "/livez") -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=60) as answer:
        return bytes(answer.read())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "said", [b"", b"GET /metrics HT", b"GET /livez HTTP/1.1\r\nX: "], ids=["idle", "slow", "header"]
)
def test_answers_under_a_crowd(server: HealthServer, said: bytes) -> None:
    threads = threading.active_count()
    crowd = []
    for number in range(IDLE):
        crowd.append(connect(server))
        crowd[-1].sendall(said)
        if number % 50 == 0:
            assert ask(server) == b"ok\n"
    assert ask(server) == b"ok\n"
    assert b"covaria_build_info" in ask(server, "/metrics")
    assert threading.active_count() == threads, "no thread for a connection"
    ours = descriptors() - len(crowd)
    assert ours < MOST_CONNECTIONS + 64, f"{ours} descriptors on our side"
    for each in crowd:
        each.close()


def test_a_job_can_still_open_files_under_a_crowd(server: HealthServer) -> None:
    """The crowd takes a fixed part of the descriptors, whatever it tries."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    crowd = [connect(server) for _ in range(IDLE)]
    ask(server)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 20, hard))
    try:
        files = [open(os.devnull) for _ in range(10)]  # noqa: SIM115, PTH123
        for each in files:
            each.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in crowd:
            each.close()


def test_who_says_nothing_is_let_go(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "PATIENCE_S", 0.2)
    idle = connect(server)
    assert idle.recv(100) == b"", "closed without a word"
    idle.close()


def test_who_does_not_read_is_let_go(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "PATIENCE_S", 0.2)
    deaf = connect(server)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    for _ in range(5):
        assert ask(server) == b"ok\n"
    deaf.close()


@pytest.mark.parametrize(
    "said",
    [
        b"\x00" * 20_000,
        b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\n\r\n",
        b"GET /metrics?x=" + b"y" * 4000 + b" HTTP/9.9\r\n\r\n",
    ],
)
def test_nonsense_is_answered_or_dropped(server: HealthServer, said: bytes) -> None:
    talker = connect(server)
    talker.sendall(said)
    talker.settimeout(60)
    try:
        answer = talker.recv(15)
    except ConnectionResetError:
        answer = b""
    assert answer[9:12] in (b"", b"200", b"404", b"405")
    assert ask(server) == b"ok\n"
    talker.close()


def test_binds_as_told() -> None:
    server = HealthServer("127.0.0.1", 0, Health(), Metrics().registry)
    assert server._socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(InvalidInput, match="cannot listen on"):
        HealthServer("127.0.0.1", server.port, Health(), Metrics().registry)
    with pytest.raises(InvalidInput, match=r"no\.such.host.invalid"):
        HealthServer("no.such.host.invalid", 0, Health(), Metrics().registry)
    server.close()
