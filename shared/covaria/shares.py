"""A part of a whole, from 0 to 1."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

ROUNDING = 1e-9


def _rounded(value: object) -> object:
    """A sum of parts can miss 0 or 1 by its rounding."""
    return min(max(value, 0.0), 1.0) if isinstance(value, float) and -ROUNDING < value < 1 + ROUNDING else value


Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(_rounded)]
