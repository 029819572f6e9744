"""RabbitMQ alone: rights, TLS, connections cut from outside, definitions.json."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pika.data
import pytest
from covaria_broker import BrokerServer, free_port

from covaria.bus.connect import connection_parameters
from covaria.bus.model import BrokerAway, DeliveryLost, Outgoing, Refused
from covaria.bus.rabbit import RabbitBus
from covaria.bus.topology import DEAD, JOBS, PARKING, build_topology, definitions, job_queue, permissions
from covaria.errors import InvalidInput
from covaria.settings import Settings

pytestmark = pytest.mark.broker
TOPOLOGY = build_topology((30.0, 300.0, 1800.0))
MESSAGE = Outgoing(JOBS, "ingest.bulk", b"{}", "id")


def open_bus(url: str, **settings: object) -> RabbitBus:
    bus = RabbitBus(Settings(broker_url=url, **settings))  # type: ignore[arg-type]
    bus.open()
    return bus


def test_connection_cut_from_outside(broker_server: BrokerServer) -> None:
    vhost = broker_server.new_vhost()
    bus = open_bus(broker_server.url(vhost))
    bus.declare(TOPOLOGY)
    bus.publish(MESSAGE)
    delivery = bus.get(job_queue("ingest", "bulk"))
    assert delivery is not None
    broker_server.ctl("close_all_connections", "-p", vhost, "test")
    with pytest.raises(BrokerAway):
        for _ in range(50):
            bus.tick(0.1)
    assert not bus.is_open
    bus.open()
    with pytest.raises(DeliveryLost):
        bus.ack(delivery)
    again = bus.get(job_queue("ingest", "bulk"))
    assert again is not None
    bus.close()


def test_wrong_password_is_told(broker_server: BrokerServer) -> None:
    with pytest.raises(BrokerAway, match="ACCESS_REFUSED"):
        open_bus(broker_server.url("/", "guest", "wrong"))


def test_nobody_listens() -> None:
    with pytest.raises(BrokerAway, match=r"no connection to RabbitMQ at 127\.0\.0\.1"):
        open_bus(f"amqp://guest:guest@127.0.0.1:{free_port()}/")


def test_definitions_import_equals_declare(broker_server: BrokerServer, tmp_path: Path) -> None:
    imported, declared = broker_server.new_vhost(), broker_server.new_vhost()
    path = tmp_path / "definitions.json"
    path.write_text(json.dumps(definitions(TOPOLOGY, imported)))
    broker_server.ctl("import_definitions", str(path))
    bus = open_bus(broker_server.url(declared))
    bus.declare(TOPOLOGY)
    bus.close()

    def in_order(line: str) -> str:
        """The listing keeps the order in which the arguments were given."""
        head, _, arguments = line.partition("[")
        return head + " ".join(sorted(re.findall(r"\{[^}]*\}", arguments)))

    def seen(vhost: str) -> list[list[str]]:
        listings = (
            broker_server.ctl("list_queues", "-p", vhost, "name", "durable", "arguments"),
            broker_server.ctl("list_exchanges", "-p", vhost, "name", "type", "durable"),
            broker_server.ctl("list_bindings", "-p", vhost, "source_name", "destination_name", "routing_key"),
        )
        return [sorted(in_order(line) for line in listing.splitlines()) for listing in listings]

    assert seen(imported) == seen(declared)
    again = open_bus(broker_server.url(imported))
    again.declare(TOPOLOGY)
    again.close()


@pytest.fixture(scope="module")
def roles(broker_server: BrokerServer) -> tuple[BrokerServer, str]:
    """A declared vhost and a user for each role, with the rights that docs/messages.md names."""
    vhost = broker_server.new_vhost()
    bus = open_bus(broker_server.url(vhost))
    bus.declare(TOPOLOGY)
    bus.close()
    for role, rights in permissions("ingest").items():
        user = f"{vhost}-{role}"  # users are the whole node's, which other tests of this process have too
        broker_server.ctl("add_user", user, f"{role}-secret")
        broker_server.ctl("set_permissions", "-p", vhost, user, rights["configure"], rights["write"], rights["read"])
    return broker_server, vhost


def as_role(roles: tuple[BrokerServer, str], role: str) -> RabbitBus:
    server, vhost = roles
    return open_bus(server.url(vhost, f"{vhost}-{role}", f"{role}-secret"))


def test_worker_rights(roles: tuple[BrokerServer, str]) -> None:
    bus = as_role(roles, "worker")
    bus.check(TOPOLOGY.part("ingest", ("live", "bulk")))
    bus.publish(MESSAGE)
    delivery = bus.get(job_queue("ingest", "bulk"))
    assert delivery is not None
    bus.publish(Outgoing("covaria.retry.30s", "ingest.bulk", b"{}", "id"))
    bus.publish(Outgoing("covaria.dead", "ingest.bulk", b"{}", "id"))
    bus.ack(delivery)
    for queue in (job_queue("density", "bulk"), PARKING):
        with pytest.raises(Refused, match="access"):
            bus.get(queue)
    with pytest.raises(Refused, match="access"):
        bus.declare(build_topology((7.0,)))
    bus.close()


def test_submitter_rights(roles: tuple[BrokerServer, str]) -> None:
    bus = as_role(roles, "submit")
    bus.publish(MESSAGE)
    with pytest.raises(Refused, match="access"):
        bus.get(job_queue("ingest", "bulk"))
    with pytest.raises(Refused, match="access"):
        bus.publish(Outgoing("covaria.dead", "ingest.bulk", b"{}", "id"))
    with pytest.raises(Refused, match="access"):
        bus.publish(Outgoing("", job_queue("ingest", "bulk"), b"{}", "id"))
    bus.close()


def test_setup_rights(roles: tuple[BrokerServer, str]) -> None:
    bus = as_role(roles, "setup")
    bus.declare(TOPOLOGY)
    bus.close()


def test_monitor_rights(roles: tuple[BrokerServer, str]) -> None:
    bus = as_role(roles, "monitor")
    assert bus.depth(PARKING) >= 0
    with pytest.raises(Refused, match="access"):
        bus.publish(MESSAGE)
    bus.close()


# ---- TLS


def test_plaintext_beyond_loopback_is_refused() -> None:
    with pytest.raises(InvalidInput, match="in the clear"):
        connection_parameters(Settings(broker_url="amqp://u:p@broker.example/"))  # type: ignore[arg-type]
    allowed = Settings(broker_url="amqp://u:p@broker.example/", broker_allow_plaintext=True)  # type: ignore[arg-type]
    assert connection_parameters(allowed).host == "broker.example"


def make_certificates(folder: Path) -> None:
    """A throwaway authority and a certificate for the name localhost."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl(
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=throwaway",
        "-addext",
        "keyUsage=critical,keyCertSign",
    )
    openssl(
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
        "-subj",
        "/CN=localhost",
    )
    (folder / "extensions").write_text("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "extensions", "-out", "server.pem")  # fmt: skip


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BrokerServer, int, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    make_certificates(folder)
    port = free_port()
    server = BrokerServer(
        extra_config=f"listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {folder}/ca.pem\n"
        f"ssl_options.certfile = {folder}/server.pem\nssl_options.keyfile = {folder}/server.key\n"
        "ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false"
    )
    server.start()
    time.sleep(0.5)
    yield server, port, folder
    server.stop()


def test_tls_with_the_right_name(tls_server: tuple[BrokerServer, int, Path]) -> None:
    _, port, folder = tls_server
    bus = open_bus(f"amqps://guest:guest@localhost:{port}/", broker_ca_file=folder / "ca.pem")
    bus.declare(TOPOLOGY)
    bus.publish(MESSAGE)
    bus.close()


def test_tls_with_a_wrong_name_is_refused(tls_server: tuple[BrokerServer, int, Path]) -> None:
    _, port, folder = tls_server
    with pytest.raises(BrokerAway, match="certificate verify failed"):
        open_bus(f"amqps://guest:guest@127.0.0.1:{port}/", broker_ca_file=folder / "ca.pem")


def test_tls_with_a_foreign_authority_is_refused(tls_server: tuple[BrokerServer, int, Path]) -> None:
    _, port, _ = tls_server
    with pytest.raises(BrokerAway, match="certificate verify failed"):
        open_bus(f"amqps://guest:guest@localhost:{port}/")


def nested_tables(depth: int = 3000) -> bytes:
    """A table in a table in a table ..., as AMQP's bytes."""
    inner = b""
    for _ in range(depth):
        inner = b"\x01t" + b"F" + struct.pack(">I", len(inner)) + inner
    return inner


@pytest.mark.parametrize(
    ("table", "message_id"),
    [
        (b"\x04when" + b"T" + b"\xff" * 8, b"id"),
        (nested_tables(), b"id"),
        (b"", b"\xff\xfe no UTF-8"),
        (b"\x02\xff\xfe" + b"S" + struct.pack(">I", 2) + b"\xff\xfe", b"id"),
    ],
    ids=["a time in the far future", "nested tables", "message id", "names and values"],
)
def test_headers_that_pika_cannot_read(
    broker_server: BrokerServer, monkeypatch: pytest.MonkeyPatch, table: bytes, message_id: bytes
) -> None:
    """Sent by a stranger: the message is read all the same, parked under its own id, and so is the one behind it."""
    url = broker_server.url(broker_server.new_vhost())
    bus = open_bus(url)
    bus.declare(TOPOLOGY)
    sender = open_bus(url)

    def raw_table(pieces: list[bytes], value: object) -> int:
        pieces.append(struct.pack(">I", len(table)) + table)
        return 4 + len(table)

    def raw_short_string(pieces: list[bytes], value: str) -> int:
        raw = message_id if value == "theirs" else value.encode()
        pieces.append(struct.pack("B", len(raw)) + raw)
        return 1 + len(raw)

    with monkeypatch.context() as patched:
        patched.setattr(pika.data, "encode_table", raw_table)
        patched.setattr(pika.data, "encode_short_string", raw_short_string)
        sender.publish(Outgoing(JOBS, "ingest.bulk", b"{}", "theirs", {"x": 1}))
    sender.publish(MESSAGE)
    first, second = bus.get(job_queue("ingest", "bulk")), bus.get(job_queue("ingest", "bulk"))
    assert first is not None
    assert second is not None
    assert second.message_id == "id"
    bus.publish(Outgoing(DEAD, first.key, first.body, first.message_id, {"covaria-reason": "schema"}))
    bus.ack(first)
    assert bus.depth(PARKING) == 1
    for each in (bus, sender):
        each.close()
