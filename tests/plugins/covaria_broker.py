"""A real RabbitMQ for the tests, never skipped: the installed rabbitmq-server, else apt puts it there (root or sudo).

One throwaway broker for a test session on free loopback ports, a fresh vhost for a test.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

RABBIT = Path("/usr/lib/rabbitmq/bin")
INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "rabbitmq-server"]


def free_port() -> int:
    """A loopback TCP port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def ensure_installed() -> None:
    """Install Debian's rabbitmq-server where it is missing and we may; else say what to run."""
    if (RABBIT / "rabbitmq-server").exists():
        return
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") and (not sudo or shutil.which("sudo")):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*sudo, "apt-get", "update", "-q"], env=environment, check=False, capture_output=True)
        subprocess.run([*sudo, *INSTALL], env=environment, check=False, capture_output=True)
    if not (RABBIT / "rabbitmq-server").exists():
        raise RuntimeError(f"the tests need a RabbitMQ server; run: sudo {' '.join(INSTALL)}")


@dataclass
class BrokerServer:
    """A RabbitMQ node of our own; `extra_config` is appended to rabbitmq.conf."""

    extra_config: str = ""
    ssl_port: int | None = None
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="covaria-broker-")))
    port: int = field(default_factory=free_port)
    dist_port: int = field(default_factory=free_port)
    epmd_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    vhosts: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.node = f"covaria{secrets.token_hex(4)}@localhost"
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nloopback_users.guest = true\n"
            f"disk_free_limit.absolute = 50MB\nlog.console = false\n{self.extra_config}\n"
        )
        (self.folder / "enabled_plugins").write_text("[].\n")
        # One worker of Erlang's schedulers is enough; the node keeps to loopback.
        self.environment = {
            "PATH": f"{RABBIT}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
        }

    def start(self, timeout_s: float = 120) -> None:
        """Start the node and wait until AMQP answers."""
        with (self.folder / "console").open("ab") as output:
            self.process = subprocess.Popen(
                [str(RABBIT / "rabbitmq-server")],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait(timeout_s)

    def wait(self, timeout_s: float = 120) -> None:
        """Until AMQP answers."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"rabbitmq-server ended at once:\n{(self.folder / 'console').read_text()[-3000:]}")
            if self._answers():
                return
            time.sleep(0.1)
        raise RuntimeError(f"rabbitmq-server does not answer:\n{(self.folder / 'console').read_text()[-3000:]}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
                sock.sendall(b"AMQP\x00\x00\x09\x01")
                return len(sock.recv(8)) > 0
        except OSError:
            return False

    def ctl(self, *arguments: str) -> str:
        """rabbitmqctl; raises with its output when it fails."""
        done = subprocess.run(
            [str(RABBIT / "rabbitmqctl"), "-q", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def stop_app(self) -> None:
        """The broker is away: connections break, nothing listens. The node's files stay."""
        self.ctl("stop_app")

    def start_app(self) -> None:
        """The broker is back."""
        self.ctl("start_app")
        self.wait()

    def new_vhost(self) -> str:
        """A fresh vhost that guest may use; returns its name. Made a dozen at a time: rabbitmqctl is slow."""
        with self.lock:
            if not self.vhosts:
                names = [f"t{secrets.token_hex(4)}" for _ in range(12)]
                self.evaluate(
                    'lists:foreach(fun(Name) -> rabbit_vhost:add(Name, <<"test">>), rabbit_auth_backend_internal:'
                    'set_permissions(<<"guest">>, Name, <<".*">>, <<".*">>, <<".*">>, <<"test">>) end, ['
                    + ", ".join(f'<<"{name}">>' for name in names)
                    + "])."
                )
                self.vhosts = names
            return self.vhosts.pop()

    def evaluate(self, expression: str) -> str:
        """Erlang in the node."""
        return self.ctl("eval", expression)

    def messages(self, vhost: str) -> dict[str, int]:
        """Messages in every queue that has any: ready, or taken and not settled."""
        lines = self.ctl("list_queues", "-p", vhost, "--no-table-headers", "name", "messages").splitlines()
        rows = (line.split("\t") for line in lines if "\t" in line)
        return {name: int(count) for name, count in rows if int(count)}

    def url(self, vhost: str, user: str = "guest", password: str = "guest") -> str:
        """amqp URL of a vhost."""
        return f"amqp://{user}:{password}@127.0.0.1:{self.port}/{vhost.replace('/', '%2F')}"

    def stop(self) -> None:
        """End the node, its port mapper and its files."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(10)
        subprocess.run(["/usr/bin/epmd", "-kill"], env=self.environment, capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def broker_server() -> Iterator[BrokerServer]:
    """One node for the whole session."""
    ensure_installed()
    server = BrokerServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def broker_url(broker_server: BrokerServer) -> str:
    """amqp URL of a fresh vhost (the broker is up)."""
    return broker_server.url(broker_server.new_vhost())
