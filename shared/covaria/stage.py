"""A stage is one function `run(job, context)`: it knows files and arrays, never a broker or a process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from covaria.opening import Roots
from covaria.request.model import Request
from covaria.tree.pen import Pen

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Job:
    """One unit of work: which job, and the whole request (a routing slip: a stage reads its own part)."""

    job_id: str
    request: Request


@runtime_checkable
class Checkpoints(Protocol):
    """Named results of finished steps, kept until the stage is done. Each is a dict of arrays, written atomically."""

    def load(self, name: str) -> dict[str, np.ndarray] | None: ...

    def save(self, name: str, arrays: dict[str, np.ndarray]) -> None: ...

    def forget_parts(self, name: str) -> None:
        """Step `name` is kept whole: what was kept beneath it, as `name`.part, is not needed any more."""


@runtime_checkable
class Ranks(Protocol):
    """The processes that share a stage's images: `rank` of `size`. Every call is made by all of them, in step."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def first(self) -> bool:
        """Whether this process puts together and writes what all of them found."""

    def sum(self, tensors: Iterable[torch.Tensor]) -> None:
        """Add up each tensor over all ranks, in place."""

    def least(self, value: int) -> int:
        """The smallest of all ranks' values."""

    def fill(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Complete arrays of which each rank has filled its own rows and left the others at zero."""


@runtime_checkable
class Context(Protocol):
    """What a stage may ask of the world around it: all of it, declared here. Nobody changes it while the stage runs."""

    @property
    def log(self) -> logging.Logger: ...

    @property
    def device(self) -> str:
        """ "cpu", "cuda" or "cuda:n"."""

    @property
    def memory_bytes(self) -> int:
        """What the stage may use in all; plans are made from it and it is held."""

    @property
    def checkpoints(self) -> Checkpoints: ...

    @property
    def ranks(self) -> Ranks: ...

    @property
    def roots(self) -> Roots:
        """Beneath which folders files may be opened: everything that the request or a file of it names."""

    @property
    def pen(self) -> Pen:
        """The right to write in OUT: `Tree(job.request.out, context.pen)`."""

    def progress(self, step: str, done: int, total: int, unit: str = "images") -> None:
        """Report progress; also the place where cancellation and SIGTERM are noticed.

        Raises covaria.errors.Cancelled or covaria.errors.Interrupted.
        """


Stage = Callable[[Job, Context], None]


@cache
def load_stage(name: str) -> Stage:
    """The stage registered under `name` in the entry point group covaria.stages. Raises LookupError."""
    for entry in entry_points(group="covaria.stages", name=name):
        result: Stage = entry.load()
        return result
    known = ", ".join(sorted(entry.name for entry in entry_points(group="covaria.stages")))
    raise LookupError(f"no stage named {name!r} is installed; known: {known}")
