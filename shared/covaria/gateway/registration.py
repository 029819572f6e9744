"""A processing job as Murfey's instrument clients register one: a recipe and its parameters."""

from __future__ import annotations

from covaria.errors import InvalidInput
from covaria.gateway.models import ProcessingJob
from covaria.operations.parameters import Wanted, read_parameters
from covaria.plain import printable
from covaria.settings import Settings

RECIPE = "em-covaria"


def wanted_of(visit: str, session_id: int, asked: ProcessingJob, settings: Settings) -> Wanted:
    """What a registration asks for. The visit is that of the address. Raises InvalidInput."""
    if asked.recipe != RECIPE:
        raise InvalidInput(f"recipe {printable(asked.recipe)!r} is not served here", hint=f"the recipe is {RECIPE}")
    proposal = visit.rpartition("-")[0] or visit
    whose = {"proposal": proposal, "session_id": session_id, "tag": asked.tag}
    given = {**whose, **asked.parameters, "visit": visit}
    return read_parameters(given, settings.out_template, settings.roots)
