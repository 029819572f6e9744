"""What a tracing system is told of an attempt at a stage; who listens is handed in (covaria.worker.otel, or nobody)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """One attempt at a job's stage. traceparent: what it is part of, or "". Unix time, ns."""

    name: str
    traceparent: str
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, str | int]
    failure: str = ""
    """Why it failed, for a person; "" where it did not."""

    @classmethod
    def until_now(cls, traceparent: str, seconds: float, facts: Mapping[str, object], failure: str) -> Span:
        """A span of an attempt that took `seconds` and ends now."""
        ended = time.time_ns()
        attributes = {f"covaria.{name}": v if isinstance(v, int) else str(v) for name, v in facts.items()}
        return cls(f"covaria {facts['stage']}", traceparent, ended - round(1e9 * seconds), ended, attributes, failure)


Tell = Callable[[Span], None]


def to_nobody(_: Span) -> None:
    """No tracing."""
