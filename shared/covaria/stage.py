"""A stage is one function `run(job, context)`: it knows files and arrays, never a broker or a process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np

from covaria.request.model import Request


@dataclass(frozen=True)
class Job:
    """One unit of work: which job, and the whole request (a routing slip: a stage reads its own part)."""

    job_id: str
    request: Request


class Checkpoints(Protocol):
    """Named results of finished steps, kept until the stage is done. Each is a dict of arrays, written atomically."""

    def load(self, name: str) -> dict[str, np.ndarray] | None: ...

    def save(self, name: str, arrays: dict[str, np.ndarray]) -> None: ...


class Context(Protocol):
    """What a stage may ask of the world around it."""

    log: logging.Logger
    device: str
    """"cpu", "cuda" or "cuda:n"."""
    memory_bytes: int
    """What the stage may use in all; plans are made from it and it is held."""
    checkpoints: Checkpoints

    def progress(self, step: str, done: int, total: int, unit: str = "images") -> None:
        """Report progress; also the place where cancellation and SIGTERM are noticed.

        Raises covaria.errors.Cancelled or covaria.errors.Interrupted.
        """


Stage = Callable[[Job, Context], None]


def load_stage(name: str) -> Stage:
    """The stage registered under `name` in the entry point group covaria.stages. Raises LookupError."""
    for entry in entry_points(group="covaria.stages", name=name):
        result: Stage = entry.load()
        return result
    known = ", ".join(sorted(entry.name for entry in entry_points(group="covaria.stages")))
    raise LookupError(f"no stage named {name!r} is installed; known: {known}")
