"""A real Prometheus scrapes real workers at work and answers every rule and panel. Minutes: `make soak` runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from covaria_broker import BrokerServer, ensure_installed, free_port
from deployment import REPOSITORY, dashboard_expressions, rule_expressions

from covaria.request.stages import STAGES

pytestmark = [pytest.mark.slow, pytest.mark.broker]

COVARIA = str(Path(sys.executable).with_name("covaria"))


@dataclass
class Stack:
    """Broker, four workers, exporter and Prometheus, as processes on loopback."""

    folder: Path
    broker: BrokerServer
    prometheus: int = field(default_factory=free_port)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "COVARIA_BROKER_URL": self.broker.url("/"),
            "COVARIA_ROOTS": str(self.folder / "data"),
            "COVARIA_SCAN_INTERVAL_S": "3",
            "COVARIA_SPOOL": str(self.folder / "spool"),
            "COVARIA_HTTP_HOST": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
        }

    def covaria(self, *words: str) -> str:
        done = subprocess.run(
            [COVARIA, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"covaria {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, name: str, command: list[str], **environment: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running.append(
                subprocess.Popen(command, env={**self.environment, **environment}, stdout=log, stderr=subprocess.STDOUT)
            )

    def ask(self, path: str, **query: Any) -> Any:
        url = f"http://127.0.0.1:{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def stop(self) -> None:
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    ensure_installed()
    broker_port = free_port()
    broker = BrokerServer(extra_config=f"prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {broker_port}\n")
    (broker.folder / "enabled_plugins").write_text("[rabbitmq_prometheus].\n")
    found = Stack(tmp_path_factory.mktemp("live"), broker)
    (found.folder / "data").mkdir()
    try:
        broker.start()
        found.covaria("broker", "declare")
        ports = {name: free_port() for name in (*STAGES, "exporter", "trigger")}
        commands = {"exporter": ["exporter"], "trigger": ["watch", "--rules", str(_rules(found.folder)), "--serve"]}
        for name, port in ports.items():
            words = commands.get(name, ["worker", name])
            found.start(name, [COVARIA, *words], COVARIA_HTTP_PORT=str(port))
        configuration = yaml.safe_load((REPOSITORY / "deploy" / "prometheus" / "prometheus.yaml").read_text())
        configuration["global"] = {"scrape_interval": "2s", "evaluation_interval": "5s"}
        configuration["rule_files"] = [str(REPOSITORY / "deploy" / "prometheus" / "rules" / "*.yaml")]
        for job in configuration["scrape_configs"]:
            targets = [broker_port] if job["job_name"].startswith("rabbitmq") else ports.values()
            job.pop("dns_sd_configs", None)
            job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in targets]}]
        (found.folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        found.start(
            "prometheus",
            [
                "prometheus",
                f"--config.file={found.folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={found.folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{found.prometheus}",
            ],
        )
        yield found
    finally:
        found.stop()
        broker.stop()


def _rules(folder: Path) -> Path:
    """A trigger's rules, and a file that it passes over."""
    (folder / "arriving").mkdir()
    (folder / "arriving" / "coords.star").write_text("data_\n")
    rule = {"name": "m01", "folder": str(folder / "arriving"), "into": str(folder / "data" / "{name}")}
    (folder / "rules.yaml").write_text(yaml.safe_dump({"rules": [rule]}))
    return folder / "rules.yaml"


def wait_for(stack: Stack, what: str, expression: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if stack.ask("query", query=expression)["result"]:
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(2)
    logs = "\n".join(path.read_text()[-1500:] for path in stack.folder.glob("*.log"))
    raise AssertionError(f"no {what} after {timeout_s:.0f} s\n{logs}")


@pytest.mark.timeout(2400)
def test_every_rule_and_panel_answers(stack: Stack):
    data = stack.folder / "data"
    wait_for(stack, "worker with a broker", "sum(covaria_broker_connected) == 6", 180)
    stack.covaria("simulate", str(data / "set"), "--n-images", "200", "--box", "16", "--snr", "2")
    small = ["--no-downsample", "--zdim", "1,2", "--n-clusters", "3", "--skip-umap"]
    # Two jobs: a step's duration is a new series with the first, and has a rate with the second.
    for seed in ("1", "2"):
        words = [
            str(data / "set" / "particles.star"),
            "-o",
            str(data / f"out{seed}"),
            "--seed",
            seed,
            "--class",
            "live",
        ]
        stack.covaria("submit", *words, *small)
    (data / "bad.star").write_text("data_\n\n_nothing 1\n")
    stack.covaria("submit", str(data / "bad.star"), "-o", str(data / "bad"))
    _publish_nonsense(stack)
    wait_for(stack, "parked messages", 'ALERTS{alertname="CovariaParkingNotEmpty", alertstate="firing"}', 300)
    wait_for(stack, "two succeeded jobs", 'sum(covaria_jobs{state="succeeded"}) == 2', 1800)
    time.sleep(30)  # two scrapes of everything, and the rules after them
    down = [target["labels"] for target in stack.ask("targets")["activeTargets"] if target["health"] != "up"]
    assert down == []
    end = time.time()
    alerts = {name for name in rule_expressions() if ":" not in name}
    silent = []
    for where, expression in (rule_expressions() | dashboard_expressions()).items():
        answer = stack.ask("query_range", query=expression, start=end - 1800, end=end, step=5)["result"]
        if not answer and where not in alerts:
            silent.append(where)
    assert silent == [], "these said nothing while workers worked"
    firing = {alert["labels"]["alertname"] for alert in stack.ask("alerts")["alerts"] if alert["state"] == "firing"}
    assert firing == {"CovariaParkingNotEmpty"}, "healthy but for what was parked on purpose"


def _publish_nonsense(stack: Stack) -> None:
    """A message that is no request: refused before any work."""
    from covaria.bus.model import Outgoing
    from covaria.bus.rabbit import RabbitBus
    from covaria.settings import Settings

    bus = RabbitBus(Settings(broker_url=stack.environment["COVARIA_BROKER_URL"]))  # type: ignore[arg-type]
    bus.open()
    bus.publish(Outgoing("covaria.jobs", "ingest.bulk", b'{"not": "ours"}', "nonsense"))
    bus.close()
