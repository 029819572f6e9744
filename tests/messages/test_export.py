"""What is generated is committed, valid, and compatible with what was released."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from covaria.bus.topology import build_topology, definitions
from covaria.findings import Findings, State
from covaria.messages.event import Event, event_type, seal_event
from covaria.reference.export import asyncapi, event_schema, generated_files, work_schema

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))


@pytest.mark.parametrize("name", sorted(generated_files()))
def test_committed_files_are_current(name: str) -> None:
    assert (REPOSITORY / name).read_text() == generated_files()[name], "run `covaria schema` and commit"


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_released_messages_fit_the_schema(path: Path) -> None:
    schema = work_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(path.read_text())["data"], schema)


def test_schema_refuses_what_submission_refuses() -> None:
    data = json.loads(GOLDEN[0].read_text())["data"] | {"typing_mistake": 1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, work_schema())


def test_an_event_fits_its_schema() -> None:
    event = Event(job_id="job", stage="ingest", state="started", out="/data/out")
    found = Findings(tested=4, states=(State(name="center000", particles=3, share=1, population=0.9, low=0.8, high=1),))
    for one in (event, event.model_copy(update={"headline": found.headline(), "findings": found})):
        jsonschema.validate(
            json.loads(seal_event(event_type("ingest", "started"), "job", one, "id"))["data"], event_schema()
        )


def test_no_released_option_was_removed_or_made_stricter() -> None:
    """Every option that version 0.1.0 could send is still known, and none became required."""
    released = json.loads((Path(__file__).parent / "golden" / "0.1.0-every_option.json").read_text())["data"]
    definitions_ = work_schema()["$defs"]

    def fields(value: dict[str, Any], prefix: str = "") -> set[str]:
        found = set()
        for name, item in value.items():
            found |= fields(item, f"{prefix}{name}.") if isinstance(item, dict) else {prefix + name}
        return found

    known = {
        f"request.{stage}.{name}"
        for stage, model in (
            ("ingest", "IngestOptions"),
            ("reconstruction", "ReconstructionOptions"),
            ("density", "DensityOptions"),
            ("analysis", "AnalysisOptions"),
        )
        for name in definitions_[model]["properties"]
    }
    sent = {name for name in fields(released) if name.count(".") == 2}
    assert sent <= known
    assert definitions_["IngestOptions"]["required"] == ["particles"]
    assert definitions_["Request"]["required"] == ["out", "ingest"]
    assert all(
        "required" not in definitions_[model]
        for model in ("ReconstructionOptions", "DensityOptions", "AnalysisOptions")
    )


def test_asyncapi_names_every_queue_and_exchange() -> None:
    topology = build_topology((30.0, 300.0, 1800.0))
    document = asyncapi(topology)
    assert yaml.safe_load(generated_files()["schemas/asyncapi.yaml"]) == json.loads(json.dumps(document))
    queues = {channel["bindings"]["amqp"].get("queue", {}).get("name") for channel in document["channels"].values()}
    exchanges = {
        channel["bindings"]["amqp"].get("exchange", {}).get("name") for channel in document["channels"].values()
    }
    assert {queue.name for queue in topology.queues if queue.name.split(".")[1] not in ("retry", "parking")} <= queues
    assert {exchange.name for exchange in topology.exchanges} <= exchanges
    for operation in document["operations"].values():
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document["channels"]
    for channel in document["channels"].values():
        for message in channel["messages"].values():
            assert message["$ref"].removeprefix("#/components/messages/") in document["components"]["messages"]


def test_definitions_hold_the_whole_table() -> None:
    topology = build_topology((30.0,))
    found: Any = definitions(topology, "v")
    assert len(found["queues"]) == len(topology.queues)
    assert {queue["vhost"] for queue in found["queues"]} == {"v"}
    assert "users" not in found
