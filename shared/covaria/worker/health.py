"""/livez, /readyz and /metrics, from a thread of the worker's parent process.

/livez asks only whether the I/O loop turns: an outage of the broker must not kill a GPU job that runs meanwhile.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from covaria.running.devices import GPU_NODES

ALIVE_S = 60.0


@dataclass
class Health:
    """What the probes look at; the I/O loop calls `tick`."""

    roots: tuple[Path, ...] = ()
    device: str = "cpu"
    clock: Callable[[], float] = time.monotonic
    broker_open: bool = False
    draining: bool = False
    last_tick: float = field(init=False)

    def __post_init__(self) -> None:
        self.last_tick = self.clock()

    def tick(self) -> None:
        """The I/O loop has turned."""
        self.last_tick = self.clock()

    def live(self) -> list[str]:
        """What is wrong with the process; nothing when it lives."""
        stood = self.clock() - self.last_tick
        return [f"the I/O loop has not turned for {stood:.0f} s"] if stood > ALIVE_S else []

    def ready(self) -> list[str]:
        """Why no job should be expected to be taken; nothing when ready."""
        problems = self.live()
        if self.draining:
            problems.append("draining after SIGTERM")
        if not self.broker_open:
            problems.append("no open channel to the broker")
        problems += [f"root {root} cannot be read" for root in self.roots if not os.access(root, os.R_OK | os.X_OK)]
        if self.device.startswith("cuda") and not any(node.exists() for node in GPU_NODES):
            problems.append(f"COVARIA_DEVICE={self.device}, but no NVIDIA device is seen")
        return problems


class HealthServer:
    """Serves until `close`. `port` is the real one where 0 was asked for."""

    def __init__(self, host: str, port: int, health: Health, registry: CollectorRegistry) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/livez":
                    self._answer(health.live())
                elif self.path == "/readyz":
                    self._answer(health.ready())
                elif self.path == "/metrics":
                    self._send(200, generate_latest(registry), CONTENT_TYPE_LATEST)
                else:
                    self._send(404, b"/livez /readyz /metrics\n", "text/plain")

            def _answer(self, problems: list[str]) -> None:
                self._send(503 if problems else 200, ("\n".join(problems or ["ok"]) + "\n").encode(), "text/plain")

            def _send(self, status: int, body: bytes, content_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
