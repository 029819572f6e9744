"""What the gateway knows of jobs: where each lies, how it stands, which events were heard. One SQLite file.

It is an index, not the truth: that is on the disk and in the events. Lost, it fills again with what comes.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from covaria.messages.job_event import JOB_STATES, JobEvent
from covaria.request.origin import Origin

MOST_EVENTS = 100_000
MOST_LISTED = 500
MOST_AT_ONCE = 200
ENDED = ("finished", "failed", "cancelled")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY, out TEXT NOT NULL, visit TEXT NOT NULL, instrument TEXT NOT NULL, origin TEXT NOT NULL,
    state TEXT NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL, headline TEXT NOT NULL,
    queued_at TEXT NOT NULL, at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS jobs_at ON jobs (at);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL, visit TEXT NOT NULL, key TEXT NOT NULL,
    document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_of ON events (job_id, seq);
"""
_COLUMNS = "job_id, out, origin, state, stage, reason, message, headline, queued_at, at"


@dataclass(frozen=True)
class Entry:
    """What is known of a job. Times are RFC 3339, UTC; queued_at is "" where nobody told."""

    job_id: str
    out: Path
    origin: Origin
    state: str
    stage: str
    reason: str
    message: str
    headline: str
    queued_at: str
    at: str


@dataclass(frozen=True)
class Heard:
    """An event as it came, and its number here."""

    seq: int
    key: str
    document: str


class Book:
    """The index. Several threads may use it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = NORMAL")
        self._base.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._base.close()

    def hear(self, key: str, document: dict[str, Any]) -> Entry | None:
        """Note an event: the job as it stands now, None of one about no job. An event may come twice, or late."""
        data, time = document["data"], str(document.get("time", ""))
        event = JobEvent.model_validate(data) if key.startswith("job.") else None
        with self._writing():
            visit = event.origin.visit if event is not None else ""
            job_id = event.job_id if event is not None else ""
            cursor = self._base.execute(
                "INSERT INTO events (job_id, visit, key, document) VALUES (?, ?, ?, ?)",
                (job_id, visit, key, json.dumps(document)),
            )
            self._base.execute("DELETE FROM events WHERE seq <= ?", ((cursor.lastrowid or 0) - MOST_EVENTS,))
            if event is None:
                return None
            self._set(event, time or _now())
        return self.job(event.job_id)

    def note_queued(self, event: JobEvent) -> None:
        """A job that was sent from here, or sent again: it waits, whatever was known of it."""
        with self._writing():
            self._base.execute("DELETE FROM jobs WHERE job_id = ?", (event.job_id,))
            self._set(event, _now())

    def _set(self, event: JobEvent, at: str) -> None:
        """A late `queued` changes nothing about a job that runs or has ended, a late `running` about a finished one."""
        known = self._base.execute("SELECT state FROM jobs WHERE job_id = ?", (event.job_id,)).fetchone()
        if known is None:
            origin = json.dumps(event.origin.given)
            who = (event.job_id, event.out, event.origin.visit, event.origin.instrument, origin)
            what = (event.state, event.stage, event.reason, event.message, event.headline)
            times = (at if event.state == "queued" else "", at)
            self._base.execute(f"INSERT INTO jobs VALUES ({','.join('?' * 12)})", (*who, *what, *times))  # nosec B608
        elif event.state == "queued":
            self._base.execute("UPDATE jobs SET queued_at = ? WHERE job_id = ? AND queued_at = ''", (at, event.job_id))
        elif not (event.state == "running" and known[0] == "finished"):
            self._base.execute(
                "UPDATE jobs SET state = ?, stage = ?, reason = ?, message = ?, headline = ?, at = ? WHERE job_id = ?",
                (event.state, event.stage, event.reason, event.message, event.headline, at, event.job_id),
            )

    def job(self, job_id: str) -> Entry | None:
        """What is known of a job."""
        with self._lock:
            row = self._base.execute(f"SELECT {_COLUMNS} FROM jobs WHERE job_id = ?", (job_id,)).fetchone()  # nosec B608
        return None if row is None else _entry(row)

    def jobs(self, asked: Mapping[str, str], visits: frozenset[str] | None, before: str, limit: int) -> list[Entry]:
        """The latest first, as far as `visits` (None: of all). asked: column -> value; before: the last one's time."""
        terms, values = _only(visits)
        terms += [f"{name} = ?" for name in asked] + (["at < ?"] if before else [])
        values += [*asked.values(), *([before] if before else [])]
        query = f"SELECT {_COLUMNS} FROM jobs WHERE {' AND '.join(terms)} ORDER BY at DESC LIMIT ?"  # nosec B608
        with self._lock:
            rows = self._base.execute(query, (*values, min(limit, MOST_LISTED))).fetchall()
        return [_entry(row) for row in rows]

    def events(self, after: int, visits: frozenset[str] | None, job_id: str = "") -> list[Heard]:
        """What was heard after number `after`, in the order of hearing, as far as `visits` (None: all)."""
        terms, values = _only(visits)
        if job_id:
            terms, values = [*terms, "job_id = ?"], [*values, job_id]
        query = f"SELECT seq, key, document FROM events WHERE {' AND '.join(terms)} AND seq > ? ORDER BY seq LIMIT ?"  # nosec B608
        with self._lock:
            rows = self._base.execute(query, (*values, after, MOST_AT_ONCE)).fetchall()
        return [Heard(*row) for row in rows]

    def last(self) -> int:
        """The number of the latest event."""
        with self._lock:
            found = self._base.execute("SELECT max(seq) FROM events").fetchone()[0]
        return int(found or 0)

    def counts(self) -> dict[str, int]:
        """Jobs in each state."""
        with self._lock:
            rows = self._base.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall()
        return {**dict.fromkeys(JOB_STATES, 0), **dict(rows)}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")


def _only(visits: frozenset[str] | None) -> tuple[list[str], list[str]]:
    if visits is None:
        return ["1"], []
    return [f"visit IN ({','.join('?' * len(visits))})"], sorted(visits)


def _entry(row: tuple[Any, ...]) -> Entry:
    job_id, out, origin, *rest = row
    return Entry(job_id, Path(out), Origin.model_validate(json.loads(origin)), *rest)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
