"""Adapters against fakes that keep to what the public code of those systems sends and takes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from covaria_memory_site import DELAYS, FastClock, MemorySite

from covaria.adapters.ispyb import Ispyb
from covaria.adapters.listening import Listener
from covaria.adapters.webhook import Webhook
from covaria.adapters.zocalo import RecipeSteps
from covaria.bus.memory import MemoryBroker, MemoryBus
from covaria.bus.model import Outgoing
from covaria.bus.topology import Binding, Exchange, Queue, Topology, build_topology, listener_queue
from covaria.errors import InvalidInput
from covaria.findings import Findings, State
from covaria.messages.job_event import JobEvent, Result
from covaria.operations.ledger.rows import Row
from covaria.operations.ledger.store import Ledger
from covaria.request.origin import Origin
from covaria.settings import Settings
from covaria.tree import record
from covaria.worker.clock import Clock
from covaria.worker.dispatch import Dispatch

SECRET = "a-secret-of-twenty-four-letters"


def facility() -> MemoryBroker:
    """Their broker: queues on the exchange without a name, dead letters beside."""
    broker = MemoryBroker()
    dead = {"x-dead-letter-exchange": "dead"}
    names = ("covaria", "ispyb_connector")
    queues = (*(Queue(name, dead, "") for name in names), Queue("dlq", {}, ""))
    bindings = (*(Binding("", name, name) for name in names), Binding("dead", "dlq", "#"))
    broker.declare(Topology((Exchange("", "topic", ""), Exchange("dead", "topic", "")), queues, bindings, ()))
    return broker


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemorySite:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    found = MemorySite(tmp_path)
    found.broker.declare(build_topology(DELAYS, ("ispyb", "webhook")))
    return found


def settings(site: MemorySite, **more: Any) -> Settings:
    return Settings(
        roots=(site.root,), retry_delays_s=DELAYS, spool=site.root / "spool",
        out_template="{root}/{visit}/processed/covaria/{stem}", **more,
    )  # fmt: skip


# ---- zocalo
def step(pointer: int = 2, headers: dict[str, Any] | None = None, **document: Any) -> Outgoing:
    """As RecipeWrapper sends to the queue of a step."""
    body = {
        "recipe": {
            "1": {"service": "Refine3D", "queue": "refine", "output": 2},
            "2": {
                "service": "Covaria", "queue": "covaria",
                "parameters": {"zdim": "2,4", "downsample": 128, "program_id": "$ispyb_autoprocprogram_id"},
            },
            "start": [[1, []]],
        },
        "recipe-pointer": pointer, "recipe-path": [1],
        "environment": {"ID": "0b7e-guid", "ispyb_autoprocprogram_id": 991}, "payload": {}, **document,
    }  # fmt: skip
    return Outgoing("", "covaria", json.dumps(body).encode(), "m1", headers or {"workflows-recipe": True})


def taken(site: MemorySite, *messages: Outgoing, **more: Any) -> MemoryBroker:
    theirs = facility()
    bus = MemoryBus(theirs)
    bus.open()
    for message in messages:
        bus.publish(message)
    steps = RecipeSteps(settings(site, **more), MemoryBus(theirs), site.bus(), Clock(sleep=lambda seconds: None))
    while steps.turn():
        pass
    return theirs


def jobs(site: MemorySite) -> dict[str, int]:
    return {name: depth for name, depth in site.depths().items() if ".listen." not in name}


def test_a_step_may_name_a_pool(site: MemorySite) -> None:
    """Of COVARIA_POOLS; another is refused."""
    (site.root / "run_data.star").write_text("data")
    pools = ("ingest.fast",)
    site.broker.declare(build_topology(DELAYS, pools=pools))
    payloads = [
        {"particles": str(site.root / "run_data.star"), "visit": pool, "pool": pool} for pool in ("fast", "slow")
    ]
    theirs = taken(site, *(step(payload=payload) for payload in payloads), pools=pools)
    assert jobs(site) == {"covaria.ingest.bulk.fast": 1}
    assert len(theirs.queues["dlq"].messages) == 1
    (told,) = [document["data"] for key, document in site.told() if key == "message.rejected"]
    assert "no pool is called 'slow'" in told["message"]


def test_a_step_over_quota_goes_to_their_dead_letters_and_is_told_of(site: MemorySite) -> None:
    """The numbers are in the event; nothing is sent; another visit's step is taken."""
    ledger = Ledger(site.root / "ledger")
    at = record.now()
    facts = ("running", "ingest", "bulk", at, at, "", "cm1-2", "", "", 0.0, 0.0, 0, "", "", "{}")
    ledger.put([Row(str(site.root / "other"), "job-other", *facts)])
    ledger.close()
    (site.root / "quotas.yaml").write_text("quotas: [{by: visit, jobs: 1}]")
    (site.root / "run_data.star").write_text("data")
    payloads = [{"particles": str(site.root / "run_data.star"), "visit": visit} for visit in ("cm1-2", "cm9-9")]
    limits = {"ledger": site.root / "ledger", "quotas": site.root / "quotas.yaml"}
    theirs = taken(site, *(step(payload=payload) for payload in payloads), **limits)
    assert len(theirs.queues["dlq"].messages) == 1
    assert not theirs.queues["covaria"].messages
    (told,) = [document["data"] for key, document in site.told() if key == "message.rejected"]
    assert told["reason"] == "quota"
    assert "visit 'cm1-2' has 1 jobs queued or running, of 1 allowed" in told["message"]
    (queued,) = [document["data"] for key, document in site.told() if key == "job.queued"]
    assert queued["origin"]["visit"] == "cm9-9"
    assert jobs(site) == {"covaria.ingest.bulk": 1}


def test_a_recipes_step_becomes_a_job(site: MemorySite) -> None:
    particles = site.root / "cm1-2" / "run_data.star"
    particles.parent.mkdir()
    particles.write_text("data")
    payload = {"particles": str(particles), "visit": "cm1-2", "microscope": "m02"}
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    theirs = taken(site, step(payload=payload, headers={"workflows-recipe": "True", "traceparent": trace}))
    assert not theirs.queues["covaria"].messages and not theirs.queues["dlq"].messages
    (told,) = [document for key, document in site.told() if key == "job.queued"]
    assert told["traceparent"] == trace
    assert told["data"]["out"] == str(site.root / "cm1-2" / "processed" / "covaria" / "run_data")
    assert told["data"]["origin"]["metadata"] == {"recipe_ID": "0b7e-guid", "program_id": "991"}
    assert (told["data"]["origin"]["visit"], told["data"]["origin"]["instrument"]) == ("cm1-2", "m02")
    work = json.loads(site.broker.queues["covaria.ingest.bulk"].messages[0].body)["data"]
    assert (work["request"]["reconstruction"]["zdim"], work["request"]["ingest"]["downsample"]) == ([2, 4], 128)
    site.work("ingest")
    assert site.trail("ingest", "cm1-2/processed/covaria/run_data") == ["published"]


def test_simple_messages_are_taken_too(site: MemorySite) -> None:
    (site.root / "p.star").write_text("data")
    parameters = {"particles": str(site.root / "p.star"), "visit": "v", "job_class": "live"}
    body = json.dumps({"parameters": parameters, "content": "dummy"}).encode()
    taken(site, Outgoing("", "covaria", body, "m", {}))
    assert jobs(site) == {"covaria.ingest.live": 1}


def test_steps_that_cannot_be_jobs_go_to_their_dead_letters_and_are_told(site: MemorySite) -> None:
    (site.root / "p.star").write_text("data")
    good = {"particles": str(site.root / "p.star"), "visit": "v"}
    bad = [
        step(payload={}), step(payload={**good, "zdim": "many"}), step(payload={**good, "rm": "-rf"}), step(pointer=9),
        step(payload={**good, "out": "/etc/x"}), step(payload={**good, "visit": "../.."}), step(recipe=[1]),
        step(payload={**good, "tag": ["x"]}), Outgoing("", "covaria", b"\xff", "m", {"workflows-recipe": True}),
        Outgoing("", "covaria", b'{"a":' * 9000, "m", {}), Outgoing("", "covaria", b"[]", "m", {}),
    ]  # fmt: skip
    theirs = taken(site, *bad)
    assert len(theirs.queues["dlq"].messages) == len(bad)
    told = [document["data"] for key, document in site.told() if key == "message.rejected"]
    assert len(told) == len(bad) and all(one["message"] and one["queue"] == "covaria" for one in told)
    assert jobs(site) == {}


# ---- ISPyB
@dataclass
class FakeIspyb:
    """The connector: commands by name, parameters from command, message and recipe, `$name` from the environment."""

    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def take(self, body: bytes, headers: Any) -> None:
        assert headers["workflows-recipe"] in (True, "True")
        wrapped = json.loads(body)
        recipe_step = wrapped["recipe"][str(wrapped["recipe-pointer"])]
        environment, message = wrapped["environment"], wrapped["payload"]
        assert message["ispyb_command"] == "multipart_message" and recipe_step["queue"] == "ispyb_connector"
        for command in message["ispyb_command_list"]:
            values = {**recipe_step["parameters"], **command}
            values = {
                name: environment[value[1:]] if isinstance(value, str) and value.startswith("$") else value
                for name, value in values.items()
            }
            self.rows.append((command["ispyb_command"], values))
            if "store_result" in command:
                environment[command["store_result"]] = 5000 + len(self.rows)


def ended(state: str, **more: Any) -> JobEvent:
    origin = Origin(metadata={"program_id": "991", "dcid": "77"})
    return JobEvent(job_id="j1", state=state, out="/data/out", origin=origin, **more)  # type: ignore[arg-type]


def test_events_become_commands(site: MemorySite) -> None:
    theirs, fake = facility(), FakeIspyb()
    dispatch = Dispatch(site.bus(), site.topology)
    states = (State(name="center000", particles=60, share=0.6, resolution_angstrom=4.0),)
    found = Findings(particles=120, used=100, resolution_angstrom=3.2, states=states)
    paths = ("output/volumes/mean_filt.mrc", "analysis_2/kmeans/center000.mrc", "job.json")
    results = tuple(Result(path=path, kind="maps") for path in paths)
    dispatch.tell_of_job(ended("running"))
    dispatch.tell_of_job(ended("finished", results=results, headline="x" * 200, findings=found))
    dispatch.tell_of_job(ended("failed", reason="invalid_input", message="holds no particles"))
    dispatch.tell_of_job(JobEvent(job_id="j2", state="failed", out="/o"))
    listener = Listener(settings(site), "ispyb", site.bus(), Ispyb(settings(site), MemoryBus(theirs)).deliver)
    while listener.turn():
        pass
    bus = MemoryBus(theirs)
    bus.open()
    while (delivery := bus.get("ispyb_connector")) is not None:
        fake.take(delivery.body, delivery.headers)
    names = [name for name, _ in fake.rows]
    assert names == [
        "update_processing_status", "insert_particle_classification_group", "insert_particle_classification",
        "insert_particle_classification", "update_processing_status", "update_processing_status",
    ]  # fmt: skip
    assert all(values["program_id"] == "991" and values["dcid"] == "77" for _, values in fake.rows)
    statuses = [(values.get("status"), values["status_message"]) for name, values in fake.rows if name == names[0]]
    assert statuses[0] == (None, "running")
    assert statuses[1][0] == "success" and len(statuses[1][1]) == 80
    assert statuses[2] == ("failure", "holds no particles")
    mean, state = fake.rows[2][1], fake.rows[3][1]
    assert mean["class_image_full_path"] == "/data/out/output/volumes/mean_filt.mrc"
    assert (mean["estimated_resolution"], mean["particles_per_class"]) == (3.2, 100)
    assert (state["class_distribution"], state["class_number"]) == (0.6, 2)
    assert mean["particle_classification_group_id"] == state["particle_classification_group_id"] == 5002


# ---- webhook
@dataclass
class Lims:
    """Takes posts; `answers` come first, then 204."""

    answers: list[int] = field(default_factory=list)
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def lims() -> Iterator[tuple[Lims, str]]:
    found = Lims()

    class Door(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = found.answers.pop(0) if found.answers else 204
            if status == 204:
                found.posts.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found, f"http://127.0.0.1:{server.server_address[1]}/hook"
    server.shutdown()
    server.server_close()


def posting(site: MemorySite, address: str, clock: FastClock) -> Listener:
    asked = settings(site, webhook_url=address, webhook_secret=SECRET)
    ticking = Clock(clock.monotonic, clock.sleep)
    return Listener(asked, "webhook", site.bus(), Webhook.of(asked).deliver, ticking)


def test_events_are_posted_signed_in_order_and_again(site: MemorySite, lims: tuple[Lims, str]) -> None:
    found, address = lims
    found.answers = [503, 429, 500]
    dispatch = Dispatch(site.bus(), site.topology)
    for state in ("queued", "running", "finished"):
        dispatch.tell_of_job(ended(state))
    clock = FastClock()
    listener = posting(site, address, clock)
    undelivered = listener.metrics.undelivered.labels("webhook")._value.get
    listener.turn()
    assert 0 < undelivered() < 60 and not found.posts, "it is away: the event that it has not taken grows old"
    for _ in range(20):
        listener.turn()
        clock.sleep(400)
    assert undelivered() == 0
    assert [headers["x-covaria-event"] for headers, _ in found.posts] == ["job.queued", "job.running", "job.finished"]
    for headers, body in found.posts:
        content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(SECRET.encode(), content, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert json.loads(body)["subject"] == "j1"
    assert len({headers["webhook-id"] for headers, _ in found.posts}) == 3
    assert site.broker.queues[listener_queue("webhook")].messages == type(site.broker.queues["heard"].messages)()


def test_what_it_refuses_for_good_is_put_aside(site: MemorySite, lims: tuple[Lims, str]) -> None:
    found, address = lims
    found.answers = [400, 302]
    dispatch = Dispatch(site.bus(), site.topology)
    for state in ("queued", "running", "finished"):
        dispatch.tell_of_job(ended(state))
    listener = posting(site, address, FastClock())
    while listener.turn():
        pass
    assert [headers["x-covaria-event"] for headers, _ in found.posts] == ["job.finished"]
    kept = sorted(path.name for path in (site.root / "spool" / "webhook" / "refused").iterdir())
    assert kept == ["j1_job_queued.json", "j1_job_running.json"]


def test_settings_that_cannot_be_right(site: MemorySite) -> None:
    for address, secret in (("http://lims.example/x", SECRET), ("", SECRET), ("https://lims.example", "short")):
        with pytest.raises(InvalidInput):
            Webhook.of(settings(site, webhook_url=address, webhook_secret=secret))
