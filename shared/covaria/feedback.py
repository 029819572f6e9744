"""What a run tells whoever steers the microscope: how good each place is, and what more images would show."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from covaria.shares import Share

MOST_PLACES, MOST_LATENTS, LONGEST_NAME = 75, 10, 128
"""Of an event: it holds within the size of a message."""
PLACE_KINDS = ("grid_square", "hole", "micrograph", "optics_group")
PlaceKind = Literal["grid_square", "hole", "micrograph", "optics_group"]

Count = Annotated[int, Field(ge=0)]
Ends = tuple[float, float]


class Place(BaseModel):
    """The images of one place, or of all."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: Annotated[str, Field(max_length=LONGEST_NAME)]
    """GridSquare_7, FoilHole_12, the micrograph's path (its end, where it is long), the number of the optics group."""
    images: Count
    """In use."""
    contrast: float | None = None
    """Mean, 1 over all images."""
    empty: Share
    """Share of images that hold no particle, or not at their pose."""
    outliers: Share
    """Share with far too much power in a band of shells: dirt, an edge, ice."""
    latents: Annotated[tuple[float, ...], Field(max_length=MOST_LATENTS)] = ()
    """Mean coordinates along the confirmed components, of images that count."""


class Places(BaseModel):
    """The places of one kind, those with most images first."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    kind: PlaceKind
    places: Annotated[tuple[Place, ...], Field(max_length=MOST_PLACES)]
    left_out: Count = 0
    """Places with fewer images, which are not named here."""
    whole: Place
    """All images."""


class Foreseen(BaseModel):
    """At `factor` times as many images of the same kind: 90 % intervals, None where nothing is known to reckon from."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    factor: Annotated[int, Field(ge=1)]
    components: tuple[Count, Count]
    """How many are confirmed, least and most."""
    resolution_angstrom: Ends | None = None
    """Of the mean, the better end first."""
    state_resolution_angstrom: Ends | None = None
    """Of the maps of states, the middle one of them."""
    population: Ends | None = None
    """Width of the widest interval of a population."""
