"""The stages: their names and order, which of them a request goes through, which compute without a device."""

from __future__ import annotations

from collections.abc import Container
from typing import Literal

from covaria.request.model import Request

StageName = Literal["ingest", "reconstruction", "density", "analysis"]

STAGES: tuple[StageName, ...] = ("ingest", "reconstruction", "density", "analysis")
"""In the order in which data passes through them."""

WITHOUT_DEVICE: tuple[StageName, ...] = ("ingest", "density")
"""Stages that compute on the CPU alone and come in images without torch."""


def planned_stages(request: Request) -> tuple[StageName, ...]:
    """The stages that a whole run goes through."""
    if request.reconstruction.only_mean:
        return ("ingest", "reconstruction")
    return tuple(stage for stage in STAGES if stage != "density" or request.density.enabled)


def in_order(stages: Container[str]) -> tuple[StageName, ...]:
    """Those of STAGES that `stages` holds, in the order of the data."""
    return tuple(stage for stage in STAGES if stage in stages)
