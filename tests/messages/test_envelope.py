"""The envelope: what is sent can be read, what cannot be right is refused with a reason and nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from covaria.messages.envelope import MAX_BYTES, BadMessage, message_id, new_message, seal, unseal
from covaria.messages.ticket import Ticket, new_ticket, read_ticket
from covaria.messages.work import Work
from covaria.request.model import IngestOptions, Request

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))


def work(**changes: Any) -> Work:
    request = Request(out=Path("/data/out"), ingest=IngestOptions(particles=Path("/data/p.star")))
    return Work.model_validate({"request": request, "route": ("ingest", "reconstruction"), **changes})


def document(**changes: Any) -> dict[str, Any]:
    found = json.loads(seal(new_message("job", work()), "job/ingest/1/0"))
    return found | changes


def encode(value: object) -> bytes:
    return json.dumps(value).encode()


def test_round_trip() -> None:
    message = new_message("job", work(job_class="live", command_line="covaria submit p.star"), "00-abc-def-01")
    again = unseal(seal(message, message_id(message, 2, 5)), stage="ingest")
    assert again == message
    assert message_id(message, 2, 5) == "job/ingest/2/5"


def test_routing_slip_ends() -> None:
    message = new_message("job", work())
    onward = message.onward()
    assert onward is not None
    assert onward.stage == "reconstruction"
    assert onward.onward() is None
    assert unseal(seal(onward, "id"), stage="reconstruction").work == onward.work


def test_fields_of_a_newer_minor_version_travel_on() -> None:
    newer = document()
    newer["data"]["request"]["reconstruction"]["invented_later"] = 3
    newer["data"]["also_new"] = {"x": 1}
    message = unseal(encode(newer))
    onward = message.onward()
    assert onward is not None
    passed = json.loads(seal(onward, "id"))["data"]
    assert passed["also_new"] == {"x": 1}
    assert passed["request"]["reconstruction"]["invented_later"] == 3
    assert passed["route"] == ["reconstruction"]


def test_submitters_are_held_to_the_letter() -> None:
    with pytest.raises(ValidationError, match="extra"):
        Work.model_validate({"request": document()["data"]["request"], "route": ["ingest"], "priority": 9})


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_released_messages_still_parse(path: Path) -> None:
    golden = json.loads(path.read_text())
    message = unseal(encode(golden))
    assert message.data == golden["data"]
    if "every_option" in path.stem:
        assert json.loads(seal(message, "id"))["data"] == golden["data"]
        strict = Work.model_validate(golden["data"])
        assert strict == message.work


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "envelope"),
        (b"\xff\xfe\x00", "envelope"),
        (b"[1, 2]", "envelope"),
        (b"null", "envelope"),
        (b"{" * 60000, "envelope"),
        (b"[" * 60000, "envelope"),
        (b'{"specversion": NaN}', "envelope"),
        (b"1" * 20000, "envelope"),
        (b" " * (MAX_BYTES + 1), "size"),
        (encode(document(specversion="0.3")), "envelope"),
        (encode(document(type="covaria.ingest.requested.v2")), "version"),
        (encode(document(type="covaria.ingest.requested.v999999")), "version"),
        (encode(document(type="com.example.other")), "envelope"),
        (encode(document(type="covaria.density.requested.v1")), "schema"),
        (encode(document(subject="../../etc")), "envelope"),
        (encode(document(subject="a b")), "envelope"),
        (encode(document(subject="x" * 65)), "envelope"),
        (encode(document(data=[])), "envelope"),
        (encode(document(data={})), "schema"),
        (encode(document(data=document()["data"] | {"route": []})), "schema"),
        (encode(document(data=document()["data"] | {"route": ["reconstruction", "ingest"]})), "schema"),
        (encode(document(data=document()["data"] | {"route": ["ingest", "ingest"]})), "schema"),
        (encode(document(data=document()["data"] | {"route": ["make_coffee"]})), "schema"),
        (encode(document(data=document()["data"] | {"job_class": "urgent"})), "schema"),
    ],
)
def test_refused_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadMessage) as caught:
        unseal(body)
    assert caught.value.reason == reason
    assert caught.value.message


def test_message_for_another_stage() -> None:
    with pytest.raises(BadMessage, match="not for this queue"):
        unseal(encode(document()), stage="density")


def test_too_large_to_send() -> None:
    many = tuple(Path(f"/data/{'x' * 200}/{number}.cs") for number in range(400))
    request = Request(out=Path("/o"), ingest=IngestOptions(particles=Path("/p"), passthrough=many))
    with pytest.raises(BadMessage) as caught:
        seal(new_message("job", Work(request=request, route=("ingest",))), "id")
    assert caught.value.reason == "size"


def test_a_job_id_is_a_name() -> None:
    with pytest.raises(BadMessage, match="not a job id"):
        new_message("../x", work())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_are_only_ever_refused(body: bytes) -> None:
    with pytest.raises(BadMessage):
        unseal(body)


@given(st.sampled_from(sorted(document())), json_values)
def test_a_changed_attribute_is_read_or_refused(name: str, value: object) -> None:
    body = json.dumps(document(**{name: value})).encode()
    try:
        message = unseal(body)
    except BadMessage as error:
        assert error.reason in ("size", "envelope", "version", "schema")
    else:
        assert message.stage == "ingest"


# ---- headers


def test_ticket_round_trip() -> None:
    ticket = new_ticket().again("OSError: no space", memory_scale=0.5).unchanged()
    assert (ticket.attempt, ticket.sequence, ticket.memory_scale) == (2, 2, 0.5)
    assert read_ticket(ticket.headers()) == ticket
    assert 0 <= ticket.waited_s() < 5


@given(st.dictionaries(st.sampled_from([*Ticket(last_error="x").headers(), "x-death"]), json_values))
def test_headers_never_stop_a_job(headers: dict[str, object]) -> None:
    ticket = read_ticket(headers)
    assert 1 <= ticket.attempt <= 1_000_000
    assert 0 < ticket.memory_scale <= 1
    assert ticket.waited_s() >= 0
