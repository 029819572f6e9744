"""The gateway as a process on a real broker: a job from HTTP to its end, an order over the bus, a deadly message."""

from __future__ import annotations

import re
import signal

import pytest
from covaria_gateway import TOKEN, Client
from covaria_site import Site, wait_until

from covaria.bus.topology import PARKING

pytestmark = pytest.mark.broker


def test_jobs_orders_and_what_the_broker_parks(site: Site) -> None:
    site.extra = {
        "COVARIA_EVENT_LISTENERS": "gateway", "COVARIA_GATEWAY_TOKENS": f"lims:{TOKEN}",
        "COVARIA_HTTP_PORT": "0", "COVARIA_LOG_LEVEL": "INFO",
    }  # fmt: skip
    assert "14 queues" in site.command("broker", "declare").stdout
    gateway = site.start("gateway")
    port = wait_until(lambda: re.search(r"http://127\.0\.0\.1:(\d+)", gateway.text()), what="a port").group(1)
    client = Client(int(port))
    wait_until(lambda: client.ask("GET", "/readyz")[0] == 200, what=gateway.text())

    def submit(name: str) -> str:
        particles = str(site.message(name).work.request.ingest.particles)
        request = {
            "out": str(site.root / name),
            "ingest": {"particles": particles},
            "reconstruction": {"only_mean": True},
        }
        status, job = client.ask("POST", "/jobs", {"request": request, "origin": {"instrument": "m02"}})
        assert status == 202, job
        return str(job["job_id"])

    def state(job_id: str) -> str:
        return str(client.ask("GET", f"/jobs/{job_id}")[1]["state"])

    deadly = submit("deadly")
    bus = site.bus()
    while (delivery := bus.get(site.queue())) is not None:
        bus.hand_back(delivery)
    bus.close()
    assert site.depths()[PARKING] == 1
    wait_until(lambda: state(deadly) == "failed", what=gateway.text())
    assert client.ask("GET", f"/jobs/{deadly}")[1]["reason"] == "delivery_limit"

    done, stopped = submit("done"), submit("stopped")
    site.command("cancel", str(site.root / "stopped"), "--over-bus", stopped)
    wait_until(lambda: (site.root / "stopped" / ".covaria" / "cancel").exists(), what=gateway.text())
    workers = [site.worker(), site.worker("reconstruction")]
    told = [name for name, _ in client.stream(f"/jobs/{done}/events") if name != "progress"]
    assert told == ["job.queued", "job.running", "job.finished"]
    wait_until(lambda: state(stopped) == "cancelled", what=gateway.text())
    metrics = client.ask("GET", "/metrics")[1]
    assert 'covaria_orders_total{action="cancel",outcome="done"} 1.0' in metrics
    assert "covaria_broker_parked_total 1.0" in metrics
    listener = client.stream("/events", **{"last-event-id": "0"})
    assert next(listener)[0] == "job.queued"
    for process in (*workers, gateway):
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert list(listener), "an open stream ends whole"
    assert "Traceback" not in gateway.text()
    assert TOKEN not in gateway.text()
