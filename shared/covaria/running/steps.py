"""Finished steps of a long computation: made once, read back by the run that goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

from covaria.stage import Context

Arrays = TypeVar("Arrays")


def once(context: Context, name: str, kind: type[Arrays], make: Callable[[], Arrays]) -> Arrays:
    """The value of step `name`, a dataclass of arrays: read back where it was kept, else made and kept.

    What `make` kept beneath it, as `name`.part, is then forgotten. Of several ranks the first keeps it.
    """
    kept = context.checkpoints.load(name)
    if kept is not None:
        return kind(**kept)
    value = make()
    if context.ranks.first:
        context.checkpoints.save(name, arrays_of(value))
        context.checkpoints.forget_parts(name)
    return value


def arrays_of(value: Any) -> dict[str, np.ndarray]:
    """The fields of a dataclass of arrays."""
    return {field.name: np.asarray(getattr(value, field.name)) for field in fields(value)}
