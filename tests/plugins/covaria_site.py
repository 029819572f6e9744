"""Real workers on a real broker: a folder of data, a vhost with our topology, workers with quick fake stages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from covaria_broker import BrokerServer

from covaria.bus.rabbit import RabbitBus
from covaria.bus.topology import PARKING, build_topology, job_queue
from covaria.messages.envelope import Message, new_message
from covaria.messages.work import Work
from covaria.request.model import IngestOptions, Request
from covaria.settings import Settings
from covaria.tree import Tree
from covaria.worker.dispatch import Dispatch

FAKE_STAGES = Path(__file__).parent / "fake_stages"
RETRY_DELAYS = "0.5,0.7,1"
PATIENCE_S = 150.0
"""Only a hang is longer than this, on however busy a machine: what is waited for is always a fact."""
OURS = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
"""Where the code under test lies, where that is not the installed one."""
COMMAND = [sys.executable, "-c", "from covaria.cli import main; main()"]


def wait_until(condition: Callable[[], Any], timeout_s: float = PATIENCE_S, what: str = "condition") -> Any:
    """The condition's first true value."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"still waiting after {timeout_s} s: {what}")


@dataclass
class WorkerProcess:
    """A `covaria` command running beside the test."""

    process: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9 of the parent alone, as the kernel would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker still runs:\n{self.text()[-4000:]}") from None


@dataclass
class Site:
    """One facility: a broker's vhost, a shared folder, workers."""

    server: BrokerServer
    vhost: str
    root: Path
    workers: list[WorkerProcess] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)
    eye: RabbitBus | None = None
    """A connection that only looks."""

    @property
    def url(self) -> str:
        return self.server.url(self.vhost)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("COVARIA_")},
            "PYTHONPATH": os.pathsep.join([str(FAKE_STAGES), *OURS]),
            "COVARIA_BROKER_URL": self.url,
            "COVARIA_ROOTS": str(self.root),
            "COVARIA_HTTP_HOST": "127.0.0.1",
            "COVARIA_HTTP_PORT": "0",
            "COVARIA_RETRY_DELAYS_S": RETRY_DELAYS,
            "COVARIA_POLL_INTERVAL_S": "0.1",
            "COVARIA_LEASE_RENEW_S": "0.2",
            "COVARIA_LEASE_DEAD_S": "4",
            "COVARIA_GRACE_S": "30",
            "COVARIA_DEVICE": "cpu",
            "COVARIA_MEMORY_GB": "1",
            "COVARIA_LOG_FORMAT": "text",
            "COVARIA_SERVICE_UID": str(os.geteuid()),
            "COVARIA_SPOOL": str(self.root / "spool"),
            "OMP_NUM_THREADS": "1",
            **self.extra,
        }

    @property
    def settings(self) -> Settings:
        return Settings(
            broker_url=self.url,  # type: ignore[arg-type]
            roots=(self.root,),
            retry_delays_s=tuple(float(part) for part in RETRY_DELAYS.split(",")),
        )

    def bus(self) -> RabbitBus:
        """An open connection of the test's own."""
        bus = RabbitBus(self.settings)
        bus.open()
        return bus

    def declare(self) -> None:
        bus = self.bus()
        bus.declare(build_topology(self.settings.retry_delays_s))
        bus.close()

    def command(
        self, *arguments: str, check: bool = True, timeout_s: float = PATIENCE_S, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one covaria command to its end."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment | extra,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=self.root,
        )
        if check and done.returncode:
            raise AssertionError(f"covaria {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def start(self, *arguments: str, **extra: str) -> WorkerProcess:
        """Start one covaria command that stays."""
        log = self.root / f"log.{len(self.workers)}"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*COMMAND, *arguments],
                env=self.environment | extra,
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.root,
            )
        worker = WorkerProcess(process, log)
        self.workers.append(worker)
        return worker

    def worker(self, stage: str = "ingest", *arguments: str, **extra: str) -> WorkerProcess:
        """Start a worker."""
        return self.start("worker", stage, *arguments, **extra)

    def message(
        self, name: str = "job", route: tuple[str, ...] = ("ingest",), job_class: str = "bulk", **plan: Any
    ) -> Message:
        """A job whose output folder is `name`; `plan` tells the fake stages how to behave."""
        particles = self.root / f"{name}.star"
        particles.write_text(json.dumps(plan))
        request = Request(out=self.root / name, ingest=IngestOptions(particles=particles))
        return new_message(f"job-{name}", Work(request=request, route=route, job_class=job_class))  # type: ignore[arg-type]

    def submit(self, message: Message) -> None:
        """Queue a message."""
        bus = self.bus()
        Dispatch(bus, build_topology(self.settings.retry_delays_s)).submit(message)
        bus.close()

    def touch(self, name: str) -> None:
        """What a fake stage waits for."""
        (self.root / name).touch()

    def tree(self, name: str = "job") -> Tree:
        return Tree(self.root / name)

    def trail(self, stage: str = "ingest", name: str = "job") -> list[str]:
        """What the fake stage did, in order."""
        path = self.tree(name).state / f"trail.{stage}"
        return path.read_text().splitlines() if path.exists() else []

    def state(self, stage: str = "ingest", name: str = "job") -> str:
        path = self.tree(name).stage_state(stage)
        return json.loads(path.read_text())["status"] if path.exists() else ""

    def delivery(self, stage: str = "ingest", name: str = "job") -> dict[str, Any]:
        path = self.tree(name).stage_dir(stage) / "delivery.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        return {key: value for key, value in found.items() if key != "seal"}

    def depths(self) -> dict[str, int]:
        """Messages ready in our queues; those that a worker holds are not among them."""
        if self.eye is None or not self.eye.is_open:
            self.eye = self.bus()
        names = [queue.name for queue in build_topology(self.settings.retry_delays_s).queues]
        found = {name: self.eye.depth(name) for name in names}
        return {name: depth for name, depth in found.items() if depth}

    def all_messages(self) -> dict[str, int]:
        """Messages in our queues, those that a worker holds included (asks the node: slow)."""
        found = self.server.messages(self.vhost)
        return {name: count for name, count in found.items() if name.startswith("covaria.")}

    def parked(self) -> list[dict[str, Any]]:
        """Headers and body of every parked message (they stay)."""
        bus = self.bus()
        found = []
        while (delivery := bus.get(PARKING)) is not None:
            found.append({**delivery.headers, "body": delivery.body, "key": delivery.key})
        bus.close()
        return found

    def wait_done(self, stage: str = "ingest", name: str = "job", timeout_s: float = PATIENCE_S) -> None:
        """Until the stage has succeeded; shows the workers' logs if not."""
        try:
            wait_until(lambda: self.state(stage, name) == "succeeded", timeout_s, f"{name}: {stage} succeeded")
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + "\n".join(worker.text()[-3000:] for worker in self.workers)) from None

    def wait_empty(self, timeout_s: float = PATIENCE_S) -> None:
        """Until no message is anywhere, none in a worker's hands."""
        try:
            wait_until(lambda: not self.depths() and not self.all_messages(), timeout_s, "empty queues")
        except AssertionError as error:
            logs = "\n".join(worker.text()[-3000:] for worker in self.workers)
            raise AssertionError(f"{error}: {self.all_messages()}\n{logs}") from None

    def queue(self, stage: str = "ingest", job_class: str = "bulk") -> str:
        return job_queue(stage, job_class)

    def close(self) -> None:
        if self.eye is not None:
            self.eye.close()
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait(20)


def open_site(server: BrokerServer, root: Path) -> Site:
    """A facility with its topology declared; close it."""
    root.mkdir(parents=True, exist_ok=True)
    found = Site(server, server.new_vhost(), root)
    found.declare()
    return found


@pytest.fixture
def site(broker_server: BrokerServer, tmp_path: Path) -> Iterator[Site]:
    """A facility with its topology declared."""
    found = open_site(broker_server, tmp_path)
    try:
        yield found
    finally:
        found.close()
