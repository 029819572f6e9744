"""Jobs over HTTP: sent, seen, followed, cancelled, sent again, hurried; who may ask, and what is refused."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from covaria_gateway import TOKEN, Client, serving
from covaria_memory_site import DELAYS, MemorySite, Play
from covaria_site import wait_until

from covaria.bus.memory import MemoryBus
from covaria.bus.model import BrokerAway, Outgoing
from covaria.bus.topology import GATEWAY, JOBS, PARKING, build_topology
from covaria.errors import InvalidInput
from covaria.gateway.book import Book
from covaria.gateway.callers import Caller, Tokens
from covaria.gateway.service import Gateway
from covaria.messages.control import Order
from covaria.messages.envelope import Message
from covaria.messages.job_event import JobEvent
from covaria.operations.quotas import OverQuota
from covaria.request.origin import Origin
from covaria.settings import Settings
from covaria.worker.dispatch import Dispatch
from covaria.worker.failures import Breakdown
from covaria.worker.service_metrics import MOST_NAMES, Names

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class OfOneVisit:
    """A door for whoever may see cm1-2 alone."""

    def caller(self, token: str) -> Caller | None:
        return Caller("ada", frozenset({"cm1-2"})) if token == "ada" * 10 else None


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemorySite:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    found = MemorySite(tmp_path / "data")
    found.broker.declare(build_topology(DELAYS, (GATEWAY,)))
    return found


@pytest.fixture
def served(site: MemorySite, tmp_path: Path) -> Iterator[tuple[Gateway, Client]]:
    site.root.mkdir()
    settings = Settings(
        roots=(site.root,), retry_delays_s=DELAYS, spool=tmp_path / "spool", http_host="127.0.0.1", http_port=0,
        gateway_tokens=f"lims:{TOKEN}", out_template="{root}/{visit}/processed/{stem}", poll_interval_s=0.05,
    )  # type: ignore[arg-type] # fmt: skip
    with serving(settings, MemoryBus(site.broker), (OfOneVisit(),)) as found:
        wait_until(lambda: found[1].ask("GET", "/readyz")[0] == 200, what="a gateway that is ready")
        yield found


def submission(site: MemorySite, name: str = "job", **more: Any) -> dict[str, Any]:
    particles = site.root / f"{name}.star"
    if not particles.exists():  # another time of change would be another job
        particles.write_text("data")
    request = {"out": str(site.root / name), "ingest": {"particles": str(particles)}, **more.pop("request", {})}
    return {"request": request, "origin": {"visit": "cm1-2", "instrument": "m02", "correlation_id": name}, **more}


def heard(client: Client, job_id: str, state: str) -> Callable[[], bool]:
    return lambda: client.ask("GET", f"/jobs/{job_id}")[1]["state"] == state


def test_a_job_from_its_sending_to_its_result(site: MemorySite, served: tuple[Gateway, Client]) -> None:
    _, client = served
    asked = submission(site, request={"reconstruction": {"only_mean": True}})
    status, job = client.ask("POST", "/jobs", asked, traceparent=TRACE)
    assert (status, job["state"], job["origin"]["instrument"]) == (202, "queued", "m02")
    assert client.ask("POST", "/jobs", asked)[0] == 200, "the same job again is no new one"
    assert site.depths() == {"covaria.ingest.bulk": 1}
    shown = client.ask("GET", f"/jobs/{job['job_id']}")[1]
    assert [stage["status"] for stage in shown["stages"]] == ["queued", "queued"], "the folder is the services' own"
    site.work("ingest", "reconstruction")
    wait_until(heard(client, job["job_id"], "finished"), what="the job's end")
    followed = list(client.stream(f"/jobs/{job['job_id']}/events"))
    told = [name for name, _ in followed if name != "progress"]
    assert told == ["job.queued", "job.running", "job.finished"]
    assert all(data["traceparent"] == TRACE for name, data in followed if name != "progress")
    assert [name for name, _ in followed if name == "progress"]
    assert "job.json" in [one["path"] for one in followed[-1][1].get("data", followed[-2][1].get("data"))["results"]]
    listed = client.ask("GET", "/jobs?state=finished&instrument=m02")[1]["jobs"]
    assert [one["job_id"] for one in listed] == [job["job_id"]]
    metrics = client.ask("GET", "/metrics")[1]
    assert 'covaria_job_events_total{instrument="m02",state="finished"} 1.0' in metrics
    assert 'covaria_http_requests_total{route="/jobs",status="202"} 1.0' in metrics
    assert 'covaria_job_total_seconds_count{instrument="m02"} 1.0' in metrics


def test_cancel_retry_priority(site: MemorySite, served: tuple[Gateway, Client]) -> None:
    _, client = served
    job_id = client.ask("POST", "/jobs", submission(site))[1]["job_id"]
    assert client.ask("POST", f"/jobs/{job_id}/priority", {"job_class": "live"})[0] == 202
    assert site.depths() == {"covaria.ingest.bulk": 1, "covaria.ingest.live": 1}
    assert client.ask("DELETE", f"/jobs/{job_id}")[0] == 202
    site.work()
    wait_until(heard(client, job_id, "cancelled"), what="the cancellation")
    status, told = client.ask("DELETE", f"/jobs/{job_id}")
    assert (status, told["message"]) == (409, f"job {job_id} has cancelled already")
    status, told = client.ask("POST", "/jobs", submission(site))
    assert status == 409 and f"/jobs/{job_id}/retry" in told["hint"]
    assert client.ask("POST", f"/jobs/{job_id}/retry")[0] == 202
    assert heard(client, job_id, "queued")()
    assert "covaria.ingest.live" in site.depths(), "hurried it stays"


def test_a_job_without_a_folder_goes_where_the_template_says(site: MemorySite, served: tuple[Gateway, Client]) -> None:
    _, client = served
    asked = submission(site)
    del asked["request"]["out"]
    assert client.ask("POST", "/jobs", asked)[1]["out"] == str(site.root / "cm1-2" / "processed" / "job")
    del asked["origin"]["visit"]
    assert client.ask("POST", "/jobs", asked)[0] == 422


def wrong(site: MemorySite) -> dict[str, tuple[dict[str, Any], int]]:
    """Name -> what is sent, and how it is answered."""
    good, foreign = submission(site, "good"), site.root / "foreign"
    foreign.mkdir(exist_ok=True)
    (foreign / "thesis.tex").touch()

    def but(**request: Any) -> dict[str, Any]:
        return {**good, "request": {**good["request"], **request}}

    return {
        "outside": (but(out="/etc/x"), 403),
        "link": (but(ingest={"particles": "/etc/passwd"}), 403),
        "missing": (but(ingest={"particles": str(site.root / "no.star")}), 422),
        "foreign": (but(out=str(foreign)), 409),
        "unknown": (but(rm="-rf"), 422),
        "bounds": (but(reconstruction={"zdim": [0]}), 422),
        "class": ({**good, "job_class": "urgent"}, 422),
        "origin": ({**good, "origin": {"visit": "a\nb"}}, 422),
        "id": ({**good, "job_id": "../x"}, 422),
        "none": ({}, 422),
    }


def test_what_is_refused_is_said_and_nothing_is_sent(site: MemorySite, served: tuple[Gateway, Client]) -> None:
    _, client = served
    for name, (body, expected) in wrong(site).items():
        status, told = client.ask("POST", "/jobs", body)
        assert (name, status) == (name, expected), told
        assert told["message"] and "hint" in told, name
    assert site.depths() == {}
    assert sorted(path.name for path in site.root.iterdir()) == ["foreign", "good.star"]
    large = b'{"request": "' + b"x" * 70_000 + b'"}'
    assert client.raw("POST", "/jobs", large)[0] == 413
    assert client.raw("POST", "/jobs", b"{")[0] == 422
    assert client.ask("GET", "/jobs/none")[0] == 404
    assert client.ask("DELETE", "/nowhere")[0] == 404


def test_a_pool_that_no_stage_has_is_refused_by_name(site: MemorySite, served: tuple[Gateway, Client]) -> None:
    _, client = served
    status, told = client.ask("POST", "/jobs", {**submission(site), "pool": "h200"})
    assert status == 422
    assert "no pool is called 'h200'" in json.dumps(told)
    assert client.ask("POST", "/jobs", {**submission(site), "pool": "UP"})[0] == 422
    assert site.depths() == {}


def test_over_quota_is_429_with_the_numbers(
    site: MemorySite, served: tuple[Gateway, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = served
    asked: list[str] = []

    def full(message: Message, settings: Settings) -> None:
        asked.append(message.work.origin.visit)
        raise OverQuota("visit 'cm1-2' has 3 jobs queued or running, of 3 allowed", hint="wait")

    monkeypatch.setattr("covaria.gateway.desk.admit", full)
    status, told = client.ask("POST", "/jobs", submission(site))
    assert status == 429 and "3 allowed" in json.dumps(told) and asked == ["cm1-2"]
    assert site.depths() == {}


def test_a_body_that_does_not_say_its_size_is_bounded(served: tuple[Gateway, Client]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served[1].port, timeout=30)
    parts = iter([b'"' + b"x" * 40_000, b"x" * 40_000 + b'"'])
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    connection.request("POST", "/jobs", parts, headers, encode_chunked=True)
    try:
        assert connection.getresponse().status == 413
    finally:
        connection.close()


def test_who_may_ask(site: MemorySite, served: tuple[Gateway, Client]) -> None:
    _, client = served
    for token in ("", "x", TOKEN[:-1], TOKEN + "x", "é" * 30):
        stranger = Client(client.port, token.encode().decode("latin-1") if token else "")
        for method, path in (("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/events"), ("DELETE", "/jobs/x")):
            status, headers, body = stranger.raw(method, path, b"{}" if method == "POST" else None)
            assert (status, headers["www-authenticate"]) == (401, "Bearer"), (token, path, body)
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
        assert Client(client.port, "").ask("GET", path)[0] == 200
    for path in ("/docs", "/redoc"):
        assert client.ask("GET", path)[0] == 404
    ada = Client(client.port, "ada" * 10)
    other = submission(site, "other")
    other["origin"]["visit"] = "mx9-9"
    job_id = client.ask("POST", "/jobs", other)[1]["job_id"]
    assert ada.ask("POST", "/jobs", other)[0] == 403
    assert ada.ask("GET", f"/jobs/{job_id}")[0] == ada.ask("DELETE", f"/jobs/{job_id}")[0] == 404
    assert ada.ask("GET", f"/jobs/{job_id}/events")[0] == 404
    mine = ada.ask("POST", "/jobs", submission(site, "mine"))[1]["job_id"]
    assert [job["job_id"] for job in ada.ask("GET", "/jobs")[1]["jobs"]] == [mine]
    assert len(client.ask("GET", "/jobs")[1]["jobs"]) == 2


def test_events_from_where_the_reader_was(site: MemorySite, served: tuple[Gateway, Client]) -> None:
    gateway, client = served
    jobs = [client.ask("POST", "/jobs", submission(site, name))[1]["job_id"] for name in ("a", "b")]
    site.work()
    wait_until(lambda: gateway.book.last() >= 4, what="four events")
    stream = client.stream("/events?after=0")
    first = [next(stream) for _ in range(gateway.book.last())]
    assert {data["subject"] for _, data in first} == set(jobs)
    seen = 2
    again = client.stream("/events", **{"last-event-id": str(seen)})
    assert [next(again) for _ in range(len(first) - seen)] == first[seen:]
    stream.close()
    again.close()


def test_what_the_broker_parks_is_told(site: MemorySite, served: tuple[Gateway, Client]) -> None:
    """A message that took every worker down with it, and bytes that did."""
    _, client = served
    job_id = client.ask("POST", "/jobs", submission(site))[1]["job_id"]
    bus = site.bus()
    bus.publish(Outgoing(JOBS, "ingest.live", b"\x00\xff", "bytes", {}))
    for queue in ("covaria.ingest.bulk", "covaria.ingest.live"):
        for _ in range(12):
            delivery = bus.get(queue)
            if delivery is not None:
                bus.hand_back(delivery)
    assert site.depths()[PARKING] == 2
    wait_until(heard(client, job_id, "failed"), what="an end")
    assert "took this message" in client.ask("GET", f"/jobs/{job_id}")[1]["message"]
    wait_until(lambda: "covaria_rejections_heard_total 1.0" in client.ask("GET", "/metrics")[1], what="the bytes")
    assert "covaria_broker_parked_total 2.0" in client.ask("GET", "/metrics")[1]


def test_orders_over_the_bus(site: MemorySite, served: tuple[Gateway, Client]) -> None:
    _, client = served
    site.plays["ingest"] = Play(fails=Breakdown.of(InvalidInput("wrong")), times=1)
    job = client.ask("POST", "/jobs", submission(site, request={"reconstruction": {"only_mean": True}}))[1]
    site.work()
    wait_until(heard(client, job["job_id"], "failed"), what="the failure")
    dispatch = Dispatch(site.bus(), site.topology)
    dispatch.order(Order(job_id=job["job_id"], action="retry", out=job["out"]))
    wait_until(heard(client, job["job_id"], "queued"), what="the retry")
    dispatch.order(Order(job_id="stranger", action="retry", out=job["out"]))
    wait_until(
        lambda: [data for key, data in site.told() if key == "message.rejected" and data["data"]["reason"] == "order"],
        what="a refusal",
    )
    site.work("ingest", "reconstruction")
    wait_until(heard(client, job["job_id"], "finished"), what="the end")


def test_a_broker_that_is_away(site: MemorySite, served: tuple[Gateway, Client]) -> None:
    gateway, client = served
    gateway.clerk.link.bus.open = lambda: (_ for _ in ()).throw(BrokerAway("away"))  # type: ignore[method-assign]
    gateway.clerk.link.bus.close()
    status, headers, body = client.raw("POST", "/jobs", json.dumps(submission(site)).encode())
    assert (status, headers["retry-after"]) == (503, "10"), body
    assert client.ask("GET", "/jobs")[1]["jobs"] == [], "nothing was taken"
    assert client.ask("GET", "/livez")[0] == 200
    assert client.ask("GET", "/readyz")[0] == 503


def test_murfey_registers_a_job(site: MemorySite, served: tuple[Gateway, Client]) -> None:
    _, client = served
    particles = site.root / "run_data.star"
    particles.write_text("data")
    path = "/workflow/visits/cm1-2/sessions/7/register_processing_job"
    asked = {
        "tag": "raw", "source": "/m02", "recipe": "em-covaria", "experiment_type": "spa",
        "parameters": {"particles": str(particles), "zdim": "2,4", "downsample": 128, "dcid": 11, "mask": None},
    }  # fmt: skip
    assert client.ask("POST", path, asked)[0] == 200
    (job,) = client.ask("GET", "/jobs?visit=cm1-2")[1]["jobs"]
    assert job["out"] == str(site.root / "cm1-2" / "processed" / "run_data")
    assert job["origin"]["metadata"] == {"session_id": "7", "tag": "raw", "dcid": "11"}
    for change in ({"recipe": "em-spa-class2d"}, {"parameters": {}}, {"parameters": {**asked["parameters"], "rm": 1}}):
        assert client.ask("POST", path, {**asked, **change})[0] == 422


def test_tokens_and_names() -> None:
    for text in ("short:abc", ":" + "x" * 24, "x" * 30):
        with pytest.raises(InvalidInput, match="entry 1"):
            Tokens(text)
    assert Tokens(f"a:{'x' * 24}\nb:{'y' * 24}").caller("y" * 24) == Caller("b")
    names = Names()
    assert [names.label(f"m{number}") for number in range(MOST_NAMES + 2)][-3:] == [
        f"m{MOST_NAMES - 1}",
        "other",
        "other",
    ]
    assert (names.label("m3"), names.label("")) == ("m3", "none")


def test_late_events_change_nothing_that_is_over(tmp_path: Path) -> None:
    book = Book(tmp_path / "book.sqlite")

    def hear(state: str) -> str:
        event = JobEvent(job_id="j", state=state, out="/o", origin=Origin(visit="v"))  # type: ignore[arg-type]
        entry = book.hear(f"job.{state}", {"time": "2026-01-01T00:00:00Z", "data": event.model_dump(mode="json")})
        assert entry is not None
        return entry.state

    assert [hear(state) for state in ("running", "queued", "finished", "queued", "running", "failed", "running")] == [
        "running", "running", "finished", "finished", "finished", "failed", "running"
    ]  # fmt: skip
    book.close()
    again = Book(tmp_path / "book.sqlite")
    assert again.job("j") is not None and again.last() == 7
    again.close()
