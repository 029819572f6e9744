"""The trigger as a service: probes, metrics, several rules, a rule that breaks, a broker that comes and goes."""

from __future__ import annotations

import json
import signal
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sets import write_star

from covaria.bus.memory import MemoryBroker, MemoryBus
from covaria.bus.topology import build_topology, job_queue
from covaria.operations.trigger import Trigger
from covaria.operations.watching.rules import Rule
from covaria.settings import Settings

DELAYS = (30.0, 300.0, 1800.0)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def trigger(root: Path, *names: str, broker: MemoryBroker | None = None) -> Trigger:
    rules = []
    for name in names:
        (root / name).mkdir(exist_ok=True)
        facts = {"name": name, "folder": root / name, "into": f"{root}/out/{name}-{{name}}", "settle_s": 0.0}
        rules.append(Rule.model_validate(facts))
    if broker is None:
        broker = MemoryBroker()
        broker.declare(build_topology(DELAYS))
    settings = Settings(roots=(root,), spool=root / "spool", http_host="127.0.0.1", http_port=0, retry_delays_s=DELAYS)
    return Trigger(settings, rules, MemoryBus(broker), every_s=0.1)


def value(looking: Trigger, name: str, **labels: str) -> float | None:
    return looking.metrics.registry.get_sample_value(f"covaria_{name}", labels)


def test_rules_side_by_side(tmp_path: Path) -> None:
    looking = trigger(tmp_path, "m01", "m02")
    write_star(tmp_path / "m01" / "particles.star")
    write_star(tmp_path / "m02" / "particles.star")
    (tmp_path / "m02" / "stack.mrcs").unlink()
    looking.look()
    assert value(looking, "trigger_versions_total", rule="m01") == 1
    assert value(looking, "trigger_sets", rule="m01", state="taken") == 1
    assert value(looking, "trigger_sets", rule="m02", state="waiting") == 1
    assert looking.bus.depth(job_queue("ingest", "live")) == 1
    assert value(looking, "trigger_outbox_messages") == 0


def test_a_rules_pool_goes_with_its_jobs(tmp_path: Path) -> None:
    """To a stage that has it."""
    pools, broker = ("ingest.fast", "reconstruction.h100"), MemoryBroker()
    broker.declare(build_topology(DELAYS, pools=pools))
    looking = trigger(tmp_path, "m01", broker=broker)
    looking.settings = looking.settings.model_copy(update={"pools": pools})
    for pool, queue in (("fast", job_queue("ingest", "live", "fast")), ("h100", job_queue("ingest", "live"))):
        looking.watchers[0].rule = looking.watchers[0].rule.model_copy(update={"pool": pool})
        write_star(tmp_path / "m01" / pool / "particles.star")
        looking.look()
        delivery = looking.bus.get(queue)
        assert delivery is not None
        assert json.loads(delivery.body)["data"]["pool"] == pool


def test_a_rule_that_breaks_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = trigger(tmp_path, "m01", "m02")
    write_star(tmp_path / "m02" / "particles.star")

    def broken() -> list[Any]:
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr(looking.watchers[0], "look", broken)
    looking.look()
    assert value(looking, "trigger_failed_looks_total", rule="m01") == 1
    assert value(looking, "trigger_versions_total", rule="m02") == 1


def test_a_spool_that_the_broker_does_not_take_is_told(tmp_path: Path) -> None:
    broker = MemoryBroker()
    broker.declare(build_topology(DELAYS))
    broker.limit(job_queue("ingest", "live"), 0)
    looking = trigger(tmp_path, "m01", broker=broker)
    write_star(tmp_path / "m01" / "particles.star")
    looking.look()
    assert value(looking, "trigger_outbox_messages") == 1
    broker.limit(job_queue("ingest", "live"), None)
    again = trigger(tmp_path, "m01", broker=broker)
    again.look()
    assert value(again, "trigger_outbox_messages") == 0
    assert again.bus.depth(job_queue("ingest", "live")) == 1, "sent once, after a restart"


def test_it_answers_while_it_runs_and_ends_when_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    looking = trigger(tmp_path, "m01")
    write_star(tmp_path / "m01" / "particles.star")
    answers: dict[str, str] = {}

    def ask() -> None:
        port = next(int(line.rsplit(" ", 1)[1]) for line in caplog.messages if "http port" in line)
        for page in ("livez", "readyz", "metrics"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=20) as answer:
                answers[page] = answer.read().decode()

    looked = threading.Event()
    look = looking.look

    def look_and_tell() -> None:
        look()
        looked.set()

    looking.look = look_and_tell  # type: ignore[method-assign]

    def outside() -> None:
        assert looked.wait(60)
        try:
            ask()
        finally:
            looking.stopped.set()

    asking = threading.Thread(target=outside)
    asking.start()
    with caplog.at_level("INFO"):
        looking.run(once=False, serve=True)
    asking.join()
    assert answers["livez"] == "ok\n" and answers["readyz"] == "ok\n"
    assert 'covaria_trigger_versions_total{rule="m01"} 1.0' in answers["metrics"]
