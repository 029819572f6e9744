"""Server-sent events: what happens to one job, or to all of a caller's; a reader who comes back misses nothing.

`id` is an event's number: a browser's EventSource sends the last one it had as Last-Event-ID by itself.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import anyio.to_thread

from covaria.gateway.book import ENDED, Heard
from covaria.gateway.callers import Caller
from covaria.gateway.desk import Desk

LOOK_S = 0.5
PROGRESS_EVERY = 2
"""Looks at the book for each look at the disk."""
BEAT_S = 15.0
MOST_STREAMS = 100

Gone = Callable[[], Awaitable[bool]]


async def all_events(desk: Desk, caller: Caller, after: int, gone: Gone) -> AsyncIterator[str]:
    """Every event about the caller's jobs, for as long as somebody reads."""
    async for text in _beating(desk, caller, after, "", gone):
        yield text


async def job_events(desk: Desk, caller: Caller, job_id: str, after: int, gone: Gone) -> AsyncIterator[str]:
    """What happens to a job, with its progress, until it has ended."""
    shown, look = "", 0
    async for text in _beating(desk, caller, after, job_id, gone):
        yield text
        entry = await anyio.to_thread.run_sync(desk.job, caller, job_id)
        look += 1
        if look % PROGRESS_EVERY == 1:
            stages = await anyio.to_thread.run_sync(desk.stages, entry)
            progress = json.dumps({"job_id": job_id, "state": entry.state, "stages": stages})
            if progress != shown:
                yield f"event: progress\ndata: {progress}\n\n"
                shown = progress
        if text == "" and entry.state in ENDED:
            return


async def _beating(desk: Desk, caller: Caller, after: int, job_id: str, gone: Gone) -> AsyncIterator[str]:
    """Events after number `after` as they are heard; "" at each look that finds none, a comment now and then."""
    silent = 0.0
    desk.metrics.streams.inc()
    try:
        while not (desk.ending() or await gone()):
            heard = await anyio.to_thread.run_sync(desk.book.events, after, caller.visits, job_id)
            for event in heard:
                after = event.seq
                yield _shown(event)
            silent = 0.0 if heard else silent + LOOK_S
            if silent >= BEAT_S:
                yield ": still here\n\n"
                silent = 0.0
            elif not heard:
                yield ""
            await anyio.sleep(LOOK_S if len(heard) == 0 else 0)
    finally:
        desk.metrics.streams.dec()


def _shown(event: Heard) -> str:
    return f"id: {event.seq}\nevent: {event.key}\ndata: {event.document}\n\n"
