"""Two hundred malformed, truncated, foreign, oversized and hostile messages: all parked, worker alive, memory flat."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from covaria_site import Site, wait_until
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from covaria.bus.topology import JOBS, PARKING
from covaria.messages.envelope import MAX_BYTES, seal

pytestmark = pytest.mark.broker

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
HOSTILE_PATHS = (
    "/etc/passwd", "/proc/self/mem", "../../../etc/shadow", "/dev/zero", "", "relative", "/data/\x00", "~/x", "file:///etc/passwd",
    "/" + "a" * 5000, "$(reboot)", "/tmp/../etc/x",
)  # fmt: skip


def sound(site: Site) -> dict[str, Any]:
    """A message that would be taken."""
    return json.loads(seal(site.message("victim"), "victim/ingest/1/0"))


def hostile(good: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Bytes that must never be worked on, in many ways."""
    body = json.dumps(good).encode()

    def with_path(path: str) -> bytes:
        request = good["data"]["request"] | {"out": path}
        return json.dumps(good | {"data": good["data"] | {"request": request}}).encode()

    return st.one_of(
        st.binary(max_size=200),
        st.integers(0, len(body) - 2).map(lambda cut: body[:cut]),
        json_values.map(lambda value: json.dumps(value).encode()),
        st.tuples(st.integers(2, 10**6), st.sampled_from(["ingest", "density"])).map(
            lambda pair: json.dumps(good | {"type": f"covaria.{pair[1]}.requested.v{pair[0]}"}).encode()
        ),
        st.integers(MAX_BYTES, 4 * MAX_BYTES).map(lambda size: body + b" " * size),
        st.sampled_from(HOSTILE_PATHS).map(with_path),
        st.sampled_from(["data", "type", "subject", "specversion", "id", "source"]).map(
            lambda name: json.dumps({key: value for key, value in good.items() if key != name}).encode()
        ),
        json_values.map(lambda value: json.dumps(good | {"data": {"request": value, "route": ["ingest"]}}).encode()),
        st.integers(1, 20000).map(lambda depth: b"[" * depth),
    )


def resident_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found.group(1)) / 1024


def test_two_hundred_hostile_messages(site: Site) -> None:
    bodies: list[bytes] = []

    @seed(20)
    @settings(max_examples=400, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(hostile(sound(site)))
    def collect(body: bytes) -> None:
        bodies.append(body)

    collect()
    bodies = list(dict.fromkeys(bodies))[:200]
    assert len(bodies) == 200
    worker = site.worker()
    site.submit(site.message("before"))
    site.wait_done(name="before")
    before_mb = resident_mb(worker.process.pid)
    bus = site.bus()
    channel = bus._channel
    assert channel is not None
    for number, body in enumerate(bodies):
        channel.basic_publish(JOBS, "ingest.bulk", body, mandatory=True)
        if number == 100:
            site.submit(site.message("between"))
    bus.close()
    wait_until(lambda: site.depths() == {PARKING: 200}, 90, "200 parked")
    site.wait_done(name="between")
    site.submit(site.message("after"))
    site.wait_done(name="after")
    assert worker.process.poll() is None, "the worker died"
    growth_mb = resident_mb(worker.process.pid) - before_mb
    assert growth_mb < 10, f"the worker grew by {growth_mb:.1f} MB"
    for parked in site.parked():
        reason = parked.get("covaria-reason") or parked.get("x-first-death-reason")
        assert reason in ("version", "schema", "path", "rejected"), reason
        if reason != "rejected":
            assert parked["covaria-last-error"]
    assert not site.tree("victim").out.exists()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
