"""What a job that has finished tells whoever steers the microscope."""

from __future__ import annotations

from covaria.findings import Findings
from covaria.messages.event import Event
from covaria.messages.feedback import Feedback, ForecastEvent, FoundEvent, SquareQualityEvent
from covaria.tree import Tree
from covaria.tree.book import read_if_sound
from covaria.tree.shapes import ForeseenShape, PlacesShape


def feedback_of(tree: Tree, event: Event, found: Findings) -> list[Feedback]:
    """The events of a finished job of which something is known; a book that cannot be believed is passed over."""
    whose = {"job_id": event.job_id, "out": event.out, "origin": event.origin}
    whose |= {"version": None if found.growth is None else found.growth.version}
    said = {"headline": found.headline(), "findings": found.brief()}
    told: list[Feedback] = [FoundEvent.model_validate({**whose, **said})]
    foreseen = read_if_sound(tree, tree.foreseen, ForeseenShape)
    if foreseen is not None and found.used is not None:
        facts = {"images": found.used, "foreseen": foreseen["foreseen"]}
        told.append(ForecastEvent.model_validate({**whose, **facts}))
    places = read_if_sound(tree, tree.places, PlacesShape)
    told += [SquareQualityEvent.model_validate({**whose, "quality": one}) for one in (places or {}).get("kinds", [])]
    return told
