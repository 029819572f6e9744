"""A gateway that answers on a loopback port, over an in-process broker or a real one; and who asks it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from covaria.bus.model import Bus
from covaria.gateway.callers import Door
from covaria.gateway.service import Gateway
from covaria.settings import Settings

TOKEN = "lims-token-of-twenty-four-letters"


class Client:
    """Asks over HTTP. `asked` is (status, document)."""

    def __init__(self, port: int, token: str = TOKEN) -> None:
        self.port, self.token = port, token

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        status, _, content = self.raw(method, path, None if body is None else json.dumps(body).encode(), **headers)
        return status, json.loads(content) if content[:1] in (b"{", b"[") else content.decode()

    def raw(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"authorization": f"Bearer {self.token}"} if self.token else {}
        sent |= {"content-type": "application/json"} if body is not None else {}
        try:
            connection.request(method, path, body, sent | headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def stream(self, path: str, **headers: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(event, data) of server-sent events, until the server ends the stream."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers={"authorization": f"Bearer {self.token}", **headers})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            name = ""
            for line in answer:
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    name = text.removeprefix("event: ")
                elif text.startswith("data: "):
                    yield name, json.loads(text.removeprefix("data: "))
        finally:
            connection.close()


@contextmanager
def serving(
    settings: Settings, bus: Bus | None = None, doors: tuple[Door, ...] = ()
) -> Iterator[tuple[Gateway, Client]]:
    """A gateway at work, and one who may ask it."""
    gateway = Gateway(settings, doors, bus)
    server = gateway.server()
    thread = threading.Thread(target=gateway.serve, args=(server,), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield gateway, Client(port)
    finally:
        server.should_exit = True
        thread.join(30)
