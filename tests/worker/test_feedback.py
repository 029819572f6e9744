"""What a finished job tells whoever steers the microscope: complete, within a message, or not at all."""

from __future__ import annotations

import json
from typing import Any

from covaria_memory_site import MemorySite

from covaria.feedback import LONGEST_NAME, MOST_LATENTS, MOST_PLACES, PLACE_KINDS, Foreseen, Place, Places
from covaria.findings import Component, Findings, Growth, State
from covaria.messages.envelope import MAX_BYTES
from covaria.messages.feedback import ForecastEvent, FoundEvent, SquareQualityEvent
from covaria.tree import record
from covaria.tree.book import write_book

WHOLE = ("ingest", "reconstruction")
FULL = Place(
    name="\U0001f9ca" * LONGEST_NAME, images=10**9, contrast=-1.234567, empty=1 / 3, outliers=1 / 3,
    latents=(-1234.5678,) * MOST_LATENTS,
)  # fmt: skip


def finish(site: MemorySite, kinds: list[Places], **findings: Any) -> list[tuple[str, dict[str, Any]]]:
    """What is told of a job that leaves this, without `job.queued` and `job.running`."""

    def on_turn() -> None:
        tree = site.tree()
        found = Findings(used=1000, tested=4, components=(Component(z_score=9, share=1),), **findings)
        record.write_findings(tree, "reconstruction", found)
        foreseen = [Foreseen(factor=factor, components=(1, 2), population=(0.1, 0.2)) for factor in (2, 4, 8)]
        write_book(tree, tree.foreseen, {"foreseen": [one.model_dump(mode="json") for one in foreseen]})
        write_book(tree, tree.places, {"kinds": [one.model_dump(mode="json") for one in kinds]})

    site.plays["reconstruction"].on_turn = on_turn
    site.submit(site.message(route=WHOLE))
    site.work(*WHOLE)
    return site.told()[1:]


def test_findings_forecast_and_places_are_told_before_the_end(memory_site: MemorySite) -> None:
    square = Places(kind="grid_square", places=(Place(name="GridSquare_7", images=4, empty=0.25, outliers=0),),
                    whole=Place(name="all", images=4, empty=0.25, outliers=0))  # fmt: skip
    told = finish(memory_site, [square], growth=Growth(version=3, refreshed=False))
    assert [key for key, _ in told] == [
        "feedback.findings", "feedback.forecast", "feedback.square-quality", "job.finished",
    ]  # fmt: skip
    found, foreseen, quality = (body for _, body in told[:3])
    assert [body["type"] for _, body in told[:3]] == [
        "covaria.findings.v1", "covaria.forecast.v1", "covaria.square-quality.v1",
    ]  # fmt: skip
    assert FoundEvent.model_validate(found["data"]).findings.confirmed == 1
    event = ForecastEvent.model_validate(foreseen["data"])
    assert (event.version, event.images, [one.factor for one in event.foreseen]) == (3, 1000, [2, 4, 8])
    assert SquareQualityEvent.model_validate(quality["data"]).quality == square


def test_each_fits_into_a_message(memory_site: MemorySite) -> None:
    kinds = [Places(kind=kind, places=(FULL,) * MOST_PLACES, left_out=10**6, whole=FULL) for kind in PLACE_KINDS]
    states = tuple(State(name=f"center{number:03d}", particles=1, share=0.001) for number in range(500))
    told = finish(memory_site, kinds, states=states, warnings=("w" * 5000,) * 50)
    assert len(told) == 2 + len(kinds) + 1
    assert max(len(json.dumps(body, ensure_ascii=False).encode()) for _, body in told) < MAX_BYTES


def test_a_book_that_cannot_be_believed_is_passed_over(memory_site: MemorySite) -> None:
    def spoil() -> None:
        tree = memory_site.tree()
        record.write_findings(tree, "reconstruction", Findings(used=5, tested=4))
        tree.places.write_text('{"kinds": [{"kind": "grid_square", "places": "all of them"}]}')
        tree.foreseen.write_text("{")

    memory_site.plays["reconstruction"].on_turn = spoil
    memory_site.submit(memory_site.message(route=WHOLE))
    memory_site.work(*WHOLE)
    assert [key for key, _ in memory_site.told()[1:]] == ["feedback.findings", "job.finished"]
