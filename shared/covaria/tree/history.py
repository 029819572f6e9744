"""What is known of a job's stages, put together: one word, when and for how long, on which machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

States = Mapping[str, Mapping[str, Any]]


def job_status(planned: Sequence[str], states: States) -> str:
    """One word for the whole job: the worst news first, `queued` while a planned stage waits."""
    statuses = [states[stage]["status"] if stage in states else "queued" for stage in planned]
    for word in ("failed", "cancelled", "running"):
        if word in statuses:
            return word
    return "succeeded" if all(status == "succeeded" for status in statuses) else "queued"


def timing(planned: Sequence[str], states: States) -> dict[str, Any]:
    """From the first start to the last end; the duration is that of the work, without pauses between stages."""
    started = [state["started_at"] for state in states.values() if state.get("started_at")]
    over = job_status(planned, states) in ("succeeded", "failed", "cancelled")
    finished = [state["finished_at"] for state in states.values() if state.get("finished_at")]
    seconds = [state["seconds"] for state in states.values() if state.get("seconds") is not None]
    return {
        "started_at": min(started, default=None),
        "completed_at": max(finished, default=None) if over else None,
        "duration_seconds": round(sum(seconds), 3) if seconds else None,
    }


def environment(states: States) -> dict[str, Any]:
    """Of all stages; of what differs, the last."""
    merged: dict[str, Any] = {}
    for state in states.values():
        for key, value in state.get("environment", {}).items():
            if value or key not in merged:
                merged[key] = value
    return merged
