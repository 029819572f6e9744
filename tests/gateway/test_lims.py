"""A LIMS sends a hundred jobs, ten of them wrong, over AMQP and HTTP, and closes every record from events alone."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from covaria_gateway import TOKEN, Client, serving
from covaria_memory_site import DELAYS, MemorySite, Play
from covaria_site import wait_until

from covaria.bus.memory import MemoryBus
from covaria.bus.model import Outgoing
from covaria.bus.topology import GATEWAY, JOBS, build_topology
from covaria.errors import InvalidInput
from covaria.messages.envelope import Message, message_id, new_message, seal
from covaria.messages.work import Work
from covaria.request.model import Request
from covaria.request.origin import Origin
from covaria.settings import Settings
from covaria.worker.dispatch import Dispatch
from covaria.worker.failures import Breakdown

GOOD = 45
"""Over each of the two ways; five more of each are wrong."""


@dataclass
class Lims:
    """Keeps a record of each job that it sends, by its own id; of bytes, by their sum. It sees no file, no queue."""

    records: dict[str, str] = field(default_factory=dict)
    results: dict[str, list[str]] = field(default_factory=dict)

    def sends(self, key: str) -> str:
        self.records[key] = "open"
        return key

    def hears(self, event: str, document: dict[str, Any]) -> None:
        data = document["data"]
        if event == "message.rejected":
            self.close(data["sha256"], f"refused: {data['reason']}")
            return
        key, state = data["origin"]["correlation_id"], event.removeprefix("job.")
        if state == "failed":
            self.close(key, f"failed: {data['reason']}")
        elif state in ("finished", "cancelled"):
            self.close(key, state)
            self.results[key] = [result["path"] for result in data.get("results", [])]

    def close(self, key: str, word: str) -> None:
        assert key in self.records, f"an event about what was never sent: {key}"
        self.records[key] = word

    @property
    def left(self) -> list[str]:
        return [key for key, word in self.records.items() if word == "open"]


def submission(site: MemorySite, key: str) -> dict[str, Any]:
    particles = site.root / f"{key}.star"
    particles.write_text("data")
    request = {
        "out": str(site.root / key),
        "ingest": {"particles": str(particles)},
        "reconstruction": {"only_mean": True},
    }
    return {"request": request, "origin": {"visit": "cm1-2", "correlation_id": key}}


def message(site: MemorySite, key: str) -> Message:
    asked = submission(site, key)
    work = Work(
        request=Request.model_validate(asked["request"]), route=("ingest", "reconstruction"),
        origin=Origin(visit="cm1-2", correlation_id=key),
    )  # fmt: skip
    return new_message(f"job-{key}", work)


def send_wrong(site: MemorySite, lims: Lims) -> None:
    """A path outside, another version, an unknown option's value, bytes, and a message that every worker dies of."""
    bus = site.bus()

    def publish(key: str, body: bytes, job_class: str = "bulk") -> None:
        bus.publish(Outgoing(JOBS, f"ingest.{job_class}", body, key, {}))

    def sealed(key: str, old: bytes, new: bytes) -> bytes:
        sent = message(site, lims.sends(key))
        body = seal(sent, message_id(sent, 1, 0))
        assert old in body
        return body.replace(old, new)

    publish("outside", sealed("outside", b'"out":"' + str(site.root).encode(), b'"out":"/etc'))
    publish("version", sealed("version", b"requested.v1", b"requested.v9"))
    publish("schema", sealed("schema", b'"only_mean":true', b'"only_mean":7'))
    garbage = b'{"particles": "/data/p.star"}'
    lims.sends(hashlib.sha256(garbage).hexdigest())
    publish("garbage", garbage)
    publish("deadly", sealed("deadly", b"", b""), "live")
    while (delivery := bus.get("covaria.ingest.live")) is not None:
        bus.hand_back(delivery)


def test_every_record_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    site, lims = MemorySite(tmp_path / "data"), Lims()
    site.root.mkdir()
    site.broker.declare(build_topology(DELAYS, (GATEWAY,)))
    settings = Settings(
        roots=(site.root,), retry_delays_s=DELAYS, spool=tmp_path / "spool", http_host="127.0.0.1", http_port=0,
        gateway_tokens=f"lims:{TOKEN}", poll_interval_s=0.05,
    )  # type: ignore[arg-type] # fmt: skip
    with serving(settings, MemoryBus(site.broker)) as (gateway, client):
        wait_until(lambda: client.ask("GET", "/readyz")[0] == 200, what="a gateway that is ready")
        send_wrong(site, lims)
        dispatch = Dispatch(site.bus(), site.topology)
        for number in range(GOOD):
            assert client.ask("POST", "/jobs", submission(site, lims.sends(f"http-{number}")))[0] == 202
            dispatch.begin(message(site, lims.sends(f"amqp-{number}")))
        site.work("ingest", "reconstruction")
        site.plays["ingest"] = Play(fails=Breakdown.of(InvalidInput("holds no particles")))
        for number in range(5):
            assert client.ask("POST", "/jobs", submission(site, lims.sends(f"wrong-{number}")))[0] == 202
        site.work("ingest")
        assert len(lims.records) == 100
        listen(lims, client)
        counts = gateway.book.counts()
    assert lims.left == []
    finished = [key for key, word in lims.records.items() if word == "finished"]
    assert len(finished) == 2 * GOOD and all("job.json" in lims.results[key] for key in finished)
    assert sorted(word for word in lims.records.values() if word != "finished") == sorted([
        "failed: path", "failed: version", "failed: schema", "failed: delivery_limit", "refused: envelope",
        *5 * ["failed: invalid_input"],
    ])  # fmt: skip
    assert (counts["finished"], counts["failed"], counts["queued"], counts["running"]) == (90, 9, 0, 0)


def listen(lims: Lims, client: Client) -> None:
    """Until nothing is open: a reader that is cut off comes back and goes on where it was."""
    seen = 0
    while lims.left:
        stream = client.stream("/events", **{"last-event-id": str(seen)})
        for event, document in stream:
            seen += 1
            lims.hears(event, document)
            if seen % 50 == 0 or not lims.left:
                break
        stream.close()


def test_the_lims_can_be_wrong() -> None:
    lims = Lims()
    with pytest.raises(AssertionError, match="never sent"):
        lims.hears("job.finished", json.loads('{"data": {"origin": {"correlation_id": "x"}}}'))
