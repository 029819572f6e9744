"""Backoff, crash points, health, metrics, and what a parent imports."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from covaria.bus.backoff import Backoff
from covaria.bus.topology import build_topology, delay_name
from covaria.operations.ledger.rows import STUCK
from covaria.worker.faults import Faults
from covaria.worker.health import Health, HealthServer
from covaria.worker.metrics import OUTCOMES, Metrics
from covaria.worker.service_metrics import metric_table


def test_backoff_grows_to_its_cap_with_jitter() -> None:
    high = Backoff(1.0, 8.0, uniform=lambda low, bound: bound)
    assert [high.next_wait_s() for _ in range(6)] == [1, 2, 4, 8, 8, 8]
    high.reset()
    assert high.next_wait_s() == 1
    waits = {Backoff().next_wait_s() for _ in range(50)}
    assert len(waits) > 40
    assert all(0.25 <= wait <= 0.5 for wait in waits)


def test_backoff_of_a_long_outage_does_not_overflow() -> None:
    backoff = Backoff()
    for _ in range(5000):
        assert backoff.next_wait_s() <= 30


@pytest.mark.parametrize(
    ("seconds", "name"), [(30, "30s"), (300, "5m"), (1800, "30m"), (90, "90s"), (1.5, "1500ms"), (0.25, "250ms")]
)
def test_delay_names(seconds: float, name: str) -> None:
    assert delay_name(seconds) == name


def test_topology_as_designed() -> None:
    topology = build_topology((30.0, 300.0, 1800.0))
    assert [exchange.name for exchange in topology.exchanges] == [
        "covaria.jobs", "covaria.retry.30s", "covaria.retry.5m", "covaria.retry.30m", "covaria.dead", "covaria.control",
        "covaria.events",
    ]  # fmt: skip
    assert dict(topology.queue("covaria.reconstruction.live").arguments) == {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "covaria.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": 10,
    }
    assert topology.queue("covaria.retry.5m").arguments["x-message-ttl"] == 300_000
    assert "x-message-ttl" not in topology.queue("covaria.parking").arguments


def test_unknown_crash_point() -> None:
    with pytest.raises(ValueError, match="no crash point"):
        Faults("somewhere")


def test_livez_asks_only_whether_the_loop_turns(tmp_path: Path) -> None:
    now = [0.0]
    health = Health((tmp_path,), clock=lambda: now[0])
    server = HealthServer("127.0.0.1", 0, health, Metrics().registry)

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    assert get("/livez")[0] == 200
    assert "no open channel" in get("/readyz")[1]
    health.broker_open = True
    assert get("/readyz") == (200, "ok\n")
    health.draining = True
    assert get("/readyz")[0] == 503
    health.draining = False
    health.roots = (tmp_path / "unmounted",)
    assert "unmounted cannot be read" in get("/readyz")[1]
    health.roots = ()
    now[0] = 61
    assert get("/livez") == (503, "the I/O loop has not turned for 61 s\n")
    assert get("/else")[0] == 404
    assert "covaria_build_info" in get("/metrics")[1]
    server.close()


def test_metrics_of_the_design_exist() -> None:
    names = {row[0] for row in metric_table()}
    design = (
        "jobs_received_total jobs_finished_total job_failures_total job_duration_seconds stage_step_duration_seconds "
        "job_queue_wait_seconds job_in_progress job_progress_ratio job_last_progress_timestamp_seconds "
        "deliveries_lost_total lease_takeovers_total messages_published_total broker_connected io_loop_lag_seconds "
        "validation_failures_total images_processed_total images_per_second input_bytes_total gpu_memory_used_bytes "
        "shared_fs_free_bytes build_info worker_last_poll_timestamp_seconds "
        "reconstructions_total mean_resolution_angstrom"
    )
    assert {f"covaria_{name}" for name in design.split()} <= names
    labels = {label for row in metric_table() for label in row[2].split(", ") if label}
    assert labels <= {
        "stage",
        "class",
        "outcome",
        "reason",
        "result",
        "step",
        "gpu",
        "root",
        "version",
        "state",
        "tier",
        "confirmed",
        "rule",
        "pool",
        "adapter",
        "listener",
        "route",
        "status",
        "action",
        "instrument",
        *STUCK,
    }
    assert "succeeded" in OUTCOMES


def test_parent_imports_nothing_heavy() -> None:
    code = (
        "import sys, covaria.worker.service, covaria.operations.exporter, covaria.operations.doctor;"
        "import covaria.cli.services;"
        "print([name for name in ('torch', 'scipy', 'numba', 'matplotlib', 'sklearn', 'umap', 'pandas') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
